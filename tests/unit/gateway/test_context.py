"""The device and the hour of a request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recpipe_functions.features import context as features
from recpipe_gateway.context import device_of, hour_of


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
            "mobile",
        ),
        (
            "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/130.0 Mobile Safari/537.36",
            "mobile",
        ),
        ("Mozilla/5.0 (Linux; Android 15; SM-X910) AppleWebKit/537.36 Chrome/130.0 Safari/537.36", "tablet"),
        ("Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "tablet"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0", "desktop"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 Safari/605.1.15", "desktop"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0", "desktop"),
        ("python-httpx/0.28", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_device_is_taken_from_the_user_agent(agent: str, device: str) -> None:
    assert device_of(agent) == device


def test_the_hour_is_utc() -> None:
    assert hour_of(1_764_014_399) == 19
    assert hour_of(1_764_014_400) == 20


MARKS = [
    "iPad",
    "Tablet",
    "Android",
    "Mobile",
    "iPhone",
    "TV",
    "Windows NT",
    "Linux",
    "X11",
    "Macintosh",
    " ",
    "\n",
]


@given(st.lists(st.sampled_from(MARKS), max_size=6).map("".join))
def test_asking_and_learning_name_the_same_device(agent: str) -> None:
    assert device_of(agent) == features.device_of(agent)
