"""The supervisor starts parts, restarts what dies, gives up on what keeps dying, and stops all."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from recpipe.local import Home, Supervisor, SupervisorError
from recpipe.local.home import Endpoints, NotRunningError
from recpipe.local.parts import Part, Plan

ENDPOINTS = Endpoints(
    "p", "http://127.0.0.1:1", "127.0.0.1:2", "http://127.0.0.1:3", "redis://127.0.0.1:4", {}, {}
)


async def always() -> bool:
    return True


def part(name: str, code: str, ready: Callable[[], Awaitable[bool]] = always) -> Part:
    return Part(name, [sys.executable, "-c", code], ready)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


SLEEPER = part("sleeper", "import time; time.sleep(60)")


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_part_is_started_again_and_announced(home: Home) -> None:
    async with Supervisor(Plan([SLEEPER], ENDPOINTS), home):
        first = home.endpoints().pids["sleeper"]
        os.kill(first, signal.SIGKILL)
        await until(lambda: home.endpoints().pids["sleeper"] != first)
        second = home.endpoints().pids["sleeper"]
        assert alive(second)
    assert not alive(second)
    with pytest.raises(NotRunningError, match="recpipe run"):
        home.endpoints()


async def test_a_part_that_ends_while_starting_shows_the_end_of_its_log(home: Home) -> None:
    async def never() -> bool:
        return False

    broken = part("broken", "raise SystemExit('no such model')", never)
    with pytest.raises(SupervisorError, match=r"(?s)broken ended while starting.*no such model"):
        async with Supervisor(Plan([SLEEPER, broken], ENDPOINTS), home):
            pass


async def test_a_part_that_keeps_dying_is_given_up(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recpipe.local.supervisor.RESTARTS", 3)
    monkeypatch.setattr("recpipe.local.supervisor.LONGEST_PAUSE_SECONDS", 0.05)
    dying = part("dying", "raise SystemExit('again')")
    async with Supervisor(Plan([SLEEPER, dying], ENDPOINTS), home) as supervisor:
        with pytest.raises(SupervisorError, match=r"(?s)dying ended 3 times.*again"):
            await asyncio.wait_for(supervisor.watch(), 20)


async def test_who_stops_watching_does_not_stop_others_from_watching(home: Home) -> None:
    async with Supervisor(Plan([SLEEPER], ENDPOINTS), home) as supervisor:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(supervisor.watch(), 0.05)


async def test_a_part_that_ignores_sigterm_is_killed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recpipe.local.supervisor.STOP_SECONDS", 0.2)
    flag = home.path / "deaf"

    async def deaf() -> bool:
        return flag.exists()

    code = "import signal, time, pathlib; signal.signal(15, signal.SIG_IGN)\n"
    code += f"pathlib.Path({str(flag)!r}).touch(); time.sleep(60)"
    async with Supervisor(Plan([part("deaf", code, deaf)], ENDPOINTS), home) as supervisor:
        pid = supervisor.pids["deaf"]
    assert not alive(pid)


def test_the_folder_and_its_keys_are_private(home: Home) -> None:
    assert home.path.stat().st_mode & 0o077 == 0
    assert (home.keys / "private").stat().st_mode & 0o077 == 0
    assert home.key("public") != home.key("private")
    kept = home.key("public")
    home.create()
    assert home.key("public") == kept
