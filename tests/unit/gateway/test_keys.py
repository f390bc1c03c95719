"""API keys: where they come from and what they open."""

from pathlib import Path

import pytest
from starlette.datastructures import Headers, QueryParams

from recpipe_gateway.answers import Refusal
from recpipe_gateway.keys import ApiKeys, KeysError, Role

PUBLIC, PRIVATE = "public-key-0123456789", "private-key-0123456789"
KEYS = ApiKeys(PUBLIC, PRIVATE)


def role(needed: Role = Role.PUBLIC, key_in_url: str | None = None, **headers: str) -> Role:
    query = None if key_in_url is None else QueryParams({"key": key_in_url})
    return KEYS.authorize(Headers(headers), query, needed)


def refused(*args: Role, **kwargs: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        role(*args, **kwargs)
    return caught.value


def test_either_header_carries_a_key() -> None:
    assert role(authorization=f"Bearer {PUBLIC}") is Role.PUBLIC
    assert role(authorization=f"bearer {PRIVATE}") is Role.PRIVATE
    assert KEYS.authorize(Headers({"x-api-key": PRIVATE}), None, Role.PRIVATE) is Role.PRIVATE


def test_the_public_key_only_sends_events() -> None:
    assert refused(Role.PRIVATE, authorization=f"Bearer {PUBLIC}").status == 403


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong-key-0123456789", f"Basic {PRIVATE}", "Bearer kéy"]
)
def test_no_key_and_a_wrong_key_are_unauthorized(header: str) -> None:
    assert refused(authorization=header).status == 401


def test_what_anyone_may_do_needs_no_key() -> None:
    assert role(Role.ANYONE) is Role.ANYONE


def test_the_url_carries_the_public_key_and_never_the_private_one() -> None:
    assert role(key_in_url=PUBLIC) is Role.PUBLIC
    assert refused(key_in_url=PRIVATE).status == 403
    assert refused(key_in_url="wrong").status == 401


def test_a_refusal_does_not_repeat_the_key() -> None:
    assert "wrong-key" not in str(refused(authorization="Bearer wrong-key-0123456789"))


def test_keys_come_from_the_environment_or_from_files(tmp_path: Path) -> None:
    (tmp_path / "public").write_text(PUBLIC + "\n")
    (tmp_path / "private").write_text(PRIVATE)
    from_files = ApiKeys.load({"RECPIPE_KEYS_DIR": str(tmp_path)})
    from_environment = ApiKeys.load({"RECPIPE_PUBLIC_KEY": PUBLIC, "RECPIPE_PRIVATE_KEY": PRIVATE})
    for keys in (from_files, from_environment):
        assert keys.role_of(PUBLIC) is Role.PUBLIC
        assert keys.role_of(PRIVATE) is Role.PRIVATE


@pytest.mark.parametrize(
    ("public", "private", "problem"),
    [
        ("", PRIVATE, "no public API key: set RECPIPE_PUBLIC_KEY"),
        (PUBLIC, "", "no private API key: set RECPIPE_PRIVATE_KEY"),
        (PUBLIC, PUBLIC, "the same"),
        ("short", PRIVATE, "the public key has 5 characters"),
    ],
)
def test_missing_equal_and_short_keys_are_told_apart(public: str, private: str, problem: str) -> None:
    with pytest.raises(KeysError, match=problem):
        ApiKeys.load({"RECPIPE_PUBLIC_KEY": public, "RECPIPE_PRIVATE_KEY": private})
