"""How topics are named, and what a folder of credentials may hold."""

from datetime import timedelta
from pathlib import Path

import pytest

from recpipe.pulsar import Credentials, TopicName
from recpipe.pulsar.credentials import InvalidCredentialsError
from recpipe.pulsar.topics import Retention


def test_a_topic_has_one_name_in_the_protocol_and_one_in_paths() -> None:
    topic = TopicName("public", "default", "shop-events")
    assert str(topic) == "persistent://public/default/shop-events"
    assert topic.path == "public/default/shop-events"
    assert TopicName("public", "default", "odd name?").path == "public/default/odd%20name%3F"


@pytest.mark.parametrize("name", ["shop-events", "shop-events-partition-0", "shop-events-partition-11"])
def test_a_partitions_name_gives_its_topic(name: str) -> None:
    assert TopicName.parse(f"persistent://public/default/{name}") == ("public", "default", "shop-events")


def test_retention_is_in_whole_minutes_and_never_shorter_than_asked() -> None:
    assert Retention.of(timedelta(hours=168)) == Retention(10_080)
    assert Retention.of(timedelta(seconds=61)) == Retention(2)


def test_an_empty_folder_and_none_ask_for_nothing(tmp_path: Path) -> None:
    for credentials in (Credentials(), Credentials(tmp_path)):
        assert credentials.token() is None
        assert credentials.oauth2() is None
        assert credentials.trusted() is None
        assert credentials.certificate() is None


def test_client_credentials_that_lack_something_are_named_without_their_content(tmp_path: Path) -> None:
    (tmp_path / "oauth2.json").write_text('{"issuer_url": "https://id.example", "client_secret": "s3cret"}')
    with pytest.raises(InvalidCredentialsError, match=r"oauth2\.json.*client_id") as caught:
        Credentials(tmp_path).oauth2()
    assert "s3cret" not in str(caught.value)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken")
    (tmp_path / "oauth2.json").write_text(
        '{"issuer_url": "https://id.example", "client_id": "shop", "client_secret": "s3cret"}'
    )
    credentials = Credentials(tmp_path)
    assert "s3cret" not in repr(credentials.oauth2())
    assert "t0ken" not in repr(credentials)


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_text("certificate")
    with pytest.raises(InvalidCredentialsError, match="go together"):
        Credentials(tmp_path).certificate()
