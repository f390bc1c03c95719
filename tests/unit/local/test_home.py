"""The folder of a pipeline on this machine."""

from pathlib import Path

from recpipe.local.home import Home


def made(path: Path) -> Home:
    home = Home(path)
    home.create()
    return home


def test_keys_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    keys = {role: made(tmp_path).key(role) for role in ("public", "private")}
    assert keys["public"] != keys["private"]
    assert {role: made(tmp_path).key(role) for role in keys} == keys
    assert {(tmp_path / "keys" / role).stat().st_mode & 0o777 for role in keys} == {0o600}


def test_a_command_line_takes_a_key_as_it_is(tmp_path: Path) -> None:
    keys = [made(tmp_path / str(number)).key(role) for number in range(10) for role in ("public", "private")]
    assert all(key.isalnum() for key in keys)
