"""Settings come from the environment, and a wrong one is named."""

from pathlib import Path

import pytest

from recpipe_operator.settings import Settings


def test_images_come_from_the_chart() -> None:
    images = Settings.of(
        {
            "RECPIPE_IMAGE_GATEWAY": "r/g:1",
            "RECPIPE_IMAGE_SERVING": "r/s:1",
            "RECPIPE_IMAGE_PULL_SECRETS": "a, b",
        }
    ).images
    assert (images.gateway, images.serving, images.pull_secrets) == ("r/g:1", "r/s:1", ("a", "b"))
    assert images.learner.startswith("recpipe/learner:")


@pytest.mark.parametrize("text", ["soon", "0", "nan", "1e9"])
def test_a_wrong_interval_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="RECPIPE_RESYNC_SECONDS"):
        Settings.of({"RECPIPE_RESYNC_SECONDS": text})


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="RECPIPE_FUNCTIONS_PACKAGE"):
        Settings.of({"RECPIPE_FUNCTIONS_PACKAGE": str(tmp_path / "functions.zip")})
