"""`recpipe replay`: a file of events through a running pipeline, counted at every stage."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from recpipe.bus import ValkeyBus
from recpipe.cli._common import FAILURE, HomeFolder, explained, gateway_client, out, running_home
from recpipe.client import Sent
from recpipe.local.home import Home
from recpipe.status import LearnerStatus
from recpipe.store import Keys, connect

DRAIN_POLL_SECONDS = 0.2
DRAIN_WITHOUT_PROGRESS_SECONDS = 60.0


def register(app: typer.Typer) -> None:
    app.command()(replay)


@dataclass(frozen=True)
class Counts:
    """How many events have passed each stage."""

    admitted: int = 0
    refused: int = 0
    clean: int = 0
    duplicate: int = 0
    rejected: int = 0
    rows: int = 0
    learned: int = 0

    def since(self, before: "Counts") -> "Counts":
        mine, theirs = vars(self), vars(before)
        return Counts(**{name: mine[name] - theirs[name] for name in mine})

    @property
    def drained(self) -> bool:
        """Whether everything admitted has come out at the far end; a crash may make a stage count twice."""
        cleaned = self.clean + self.duplicate + self.rejected
        return cleaned >= self.admitted and self.rows >= self.clean and self.learned >= self.clean


@dataclass(frozen=True)
class Replayed:
    """A whole replay: what was sent, what became of it, and how long it took."""

    sent: Sent
    counts: Counts
    status: LearnerStatus
    sending_seconds: float
    seconds: float

    @property
    def lost(self) -> int:
        """Events that were acknowledged and did not come out; below zero never."""
        return max(self.sent.accepted, self.counts.admitted) - (
            self.counts.learned + self.counts.duplicate + self.counts.rejected
        )


class Gauge:
    """Reads the counts of a running pipeline."""

    def __init__(self, home: Home) -> None:
        keys = Keys(home.endpoints().pipeline)
        self._client = connect(home.endpoints().store)
        self._bus, self._keys = ValkeyBus(self._client, keys), keys

    async def read(self) -> tuple[Counts, LearnerStatus]:
        tally = await self._bus.tally()
        value = await self._client.get(self._keys.learner)
        status = msgspec.json.decode(value, type=LearnerStatus) if value else LearnerStatus()
        counts = Counts(
            admitted=tally.get("gateway.accepted", 0),
            refused=tally.get("gateway.rejected", 0),
            clean=tally.get("clean.accepted", 0),
            duplicate=tally.get("clean.duplicate", 0),
            rejected=tally.get("clean.rejected", 0),
            rows=tally.get("features.rows", 0),
            learned=status.learned,
        )
        return counts, status

    async def close(self) -> None:
        await self._bus.close()


async def replay_events(home: Home, file: Path) -> Replayed:
    """Sends a file's events in order and waits until all have been learned from, showing progress."""
    events = file.read_bytes().splitlines()
    gauge = Gauge(home)
    before, _ = await gauge.read()
    begun = time.monotonic()
    sent = Sent()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out) as progress:
        sending = progress.add_task("sent   ", total=len(events), rate=0.0, note="")
        learning = progress.add_task("learned", total=len(events), rate=0.0, note="")

        async def show() -> None:
            while True:
                counts, status = await gauge.read()
                done = counts.since(before)
                note = f"HR@{status.hybrid.k} {status.hybrid.hit_rate:.3f}, popularity {status.popularity.hit_rate:.3f}"
                rate = done.learned / (time.monotonic() - begun)
                progress.update(learning, completed=done.learned, rate=rate, note=note)
                await asyncio.sleep(0.5)

        showing = asyncio.create_task(show())
        try:
            async with gateway_client(home) as client:
                async for sent in client.send(events):
                    rate = sent.total / (time.monotonic() - begun)
                    progress.update(sending, completed=sent.total, rate=rate)
            sending_seconds = time.monotonic() - begun
            counts, status = await _drained(gauge, before)
        finally:
            showing.cancel()
        seconds = time.monotonic() - begun
        progress.update(learning, completed=counts.learned)
    await gauge.close()
    return Replayed(sent, counts, status, sending_seconds, seconds)


async def _drained(gauge: Gauge, before: Counts) -> tuple[Counts, LearnerStatus]:
    """Waits until all is learned, or until nothing has moved for a minute."""
    last, moved = Counts(), time.monotonic()
    while True:
        now, status = await gauge.read()
        counts = now.since(before)
        if counts != last:
            last, moved = counts, time.monotonic()
        if counts.drained or time.monotonic() - moved > DRAIN_WITHOUT_PROGRESS_SECONDS:
            return counts, status
        await asyncio.sleep(DRAIN_POLL_SECONDS)


def counts_table(replayed: Replayed) -> Table:
    """The way through, stage by stage, so that a loss would show."""
    sent, counts = replayed.sent, replayed.counts
    table = Table("stage", "in", "on", "duplicate", "rejected", title="what became of the events")
    table.add_row("sent", f"{sent.total:,}", f"{sent.accepted:,}", "", f"{sent.rejected:,}")
    again = counts.admitted - sent.accepted
    table.add_row("gateway", f"{sent.total + again:,}", f"{counts.admitted:,}", "", f"{counts.refused:,}")
    table.add_row(
        "clean", f"{counts.admitted:,}", f"{counts.clean:,}", f"{counts.duplicate:,}", f"{counts.rejected:,}"
    )
    table.add_row("features", f"{counts.clean:,}", f"{counts.rows:,}", "", "")
    table.add_row("learner", f"{counts.rows:,}", f"{counts.learned:,}", "", "")
    verdict = "[green]none lost" if not replayed.lost else f"[red]{replayed.lost:,} lost"
    table.caption = f"{verdict}[/]; stored twice after a lost answer: {again:,}"
    return table


def replay(
    file: Annotated[Path, typer.Argument(help="Events in the public format, one JSON object a line.")],
    home: HomeFolder = None,
) -> None:
    """Send a file of events through the running pipeline and account for every one.

    Example: `recpipe replay events.jsonl` (exit code 1 if any accepted event was lost)
    """
    with explained():
        replayed = asyncio.run(replay_events(running_home(home), file))
    out.print(counts_table(replayed))
    out.print(
        f"{replayed.counts.learned / replayed.seconds:,.0f} events/s from the first request to the last learned"
    )
    if replayed.lost:
        raise typer.Exit(FAILURE)
