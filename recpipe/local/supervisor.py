"""Starts the parts in order, restarts what dies, stops all of them in reverse."""

import asyncio
import logging
import os
import time
from collections import deque
from dataclasses import replace
from functools import partial
from pathlib import Path

from recpipe.local.home import Home
from recpipe.local.parts import Part, Plan, environment

log = logging.getLogger(__name__)

READY_SECONDS = 90.0
READY_POLL_SECONDS = 0.1
STOP_SECONDS = 15.0
RESTARTS = 10
RESTARTS_WITHIN_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


class SupervisorError(RuntimeError):
    """A part does not start or stay up; the message says which, and shows the end of its log."""


class Supervisor:
    """Keeps a plan's parts running.

    Example:
        async with Supervisor(plan, home) as supervisor:
            await supervisor.watch()  # returns never; raises SupervisorError when a part stays down
    """

    def __init__(self, plan: Plan, home: Home) -> None:
        self._plan, self._home = plan, home
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._failed: asyncio.Future[None] | None = None
        self._keepers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Supervisor":
        self._failed = asyncio.get_running_loop().create_future()
        try:
            for part in self._plan.parts:  # one after the other only where the next needs it
                await self._start(part)
                if part.name == "valkey":
                    await self._until_ready(part)
            await asyncio.gather(*(self._until_ready(part) for part in self._plan.parts))
        except BaseException:
            await self.stop()
            raise
        self._keepers = [asyncio.create_task(self._keep(part)) for part in self._plan.parts]
        self._announce()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def watch(self) -> None:
        """Waits until a part stays down; raises SupervisorError then."""
        assert self._failed is not None
        await asyncio.shield(self._failed)  # one watcher's end is not the others'

    @property
    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._running.items()}

    async def stop(self) -> None:
        """Ends all parts, the last started first: each by SIGTERM, and by SIGKILL after a deadline."""
        for keeper in self._keepers:
            keeper.cancel()
        for part in reversed(self._plan.parts):
            process = self._running.pop(part.name, None)
            if process is None or process.returncode is not None:
                continue
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                log.warning("%s does not stop; killing it", part.name)
                process.kill()
                await process.wait()
        self._home.withdraw()

    def _announce(self) -> None:
        self._home.announce(replace(self._plan.endpoints, pids=self.pids))

    async def _start(self, part: Part) -> None:
        with self._log(part).open("ab") as output:
            self._running[part.name] = await asyncio.create_subprocess_exec(
                *part.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(part),
                # A Ctrl-C is for the supervisor, which stops the parts in order. Not a session for each: Linux
                # shares the processor between sessions equally (autogroup), whatever niceness says.
                process_group=0,
                preexec_fn=partial(os.nice, part.niceness),
            )

    async def _until_ready(self, part: Part) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not await part.ready():
            if self._running[part.name].returncode is not None:
                raise SupervisorError(f"{part.name} ended while starting:\n{self._tail(part)}")
            if time.monotonic() > deadline:
                raise SupervisorError(
                    f"{part.name} is not ready after {READY_SECONDS:.0f} s:\n{self._tail(part)}"
                )
            await asyncio.sleep(READY_POLL_SECONDS)

    async def _keep(self, part: Part) -> None:
        """Restarts a part whenever it ends, with growing pauses; gives up when it ends too often."""
        ends: deque[float] = deque(maxlen=RESTARTS)
        pause = FIRST_PAUSE_SECONDS
        while True:
            code = await self._running[part.name].wait()
            now = time.monotonic()
            if len(ends) == RESTARTS and now - ends[0] < RESTARTS_WITHIN_SECONDS:
                self._give_up(part)
                return
            pause = FIRST_PAUSE_SECONDS if not ends or now - ends[-1] > RESTARTS_WITHIN_SECONDS else pause * 2
            ends.append(now)
            log.warning("%s ended with %s; starting it again", part.name, code)
            await asyncio.sleep(min(pause, LONGEST_PAUSE_SECONDS))
            await self._start(part)
            self._announce()

    def _give_up(self, part: Part) -> None:
        message = (
            f"{part.name} ended {RESTARTS} times within {RESTARTS_WITHIN_SECONDS:.0f} s:\n{self._tail(part)}"
        )
        if self._failed and not self._failed.done():
            self._failed.set_exception(SupervisorError(message))

    def _log(self, part: Part) -> Path:
        return self._home.logs / f"{part.name}.log"

    def _tail(self, part: Part, lines: int = 15) -> str:
        text = self._log(part).read_text(errors="replace") if self._log(part).exists() else ""
        return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])
