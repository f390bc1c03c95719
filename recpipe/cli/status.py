"""`recpipe status`: a running pipeline at a glance."""

import asyncio
from typing import Annotated

import httpx
import msgspec
import typer
from rich.table import Table

from recpipe.cli._common import HomeFolder, explained, out, running_home
from recpipe.cli.replay import Counts, Gauge
from recpipe.local.home import Home
from recpipe.status import LearnerStatus


def register(app: typer.Typer) -> None:
    app.command()(status)


def status(
    home: HomeFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show the running pipeline: parts, counts by stage, live quality.

    Example: `recpipe status --home .recpipe/shop`
    """
    with explained():
        folder = running_home(home)
        parts, counts, learner = asyncio.run(_read(folder))
    if as_json:
        out.print_json(data={"parts": parts, "counts": vars(counts), "learner": msgspec.to_builtins(learner)})
        return
    table = Table("part", "pid", "answers", title=f"{folder.path.name} at {folder.endpoints().gateway}")
    for name, pid in folder.endpoints().pids.items():
        table.add_row(name, str(pid), {True: "[green]yes", False: "[red]no"}.get(parts.get(name, True), ""))
    out.print(table)
    stages = Table(*vars(counts), title="events since the pipeline began")
    stages.add_row(*(f"{count:,}" for count in vars(counts).values()))
    out.print(stages)
    out.print(quality_table(learner))


async def _read(home: Home) -> tuple[dict[str, bool], Counts, LearnerStatus]:
    async with httpx.AsyncClient(timeout=2.0) as client:
        parts = {name: await _answers(client, url) for name, url in home.endpoints().metrics.items()}
    gauge = Gauge(home)
    try:
        counts, learner = await gauge.read()
    finally:
        await gauge.close()
    return parts, counts, learner


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code in {httpx.codes.OK, httpx.codes.UNAUTHORIZED}
    except httpx.HTTPError:
        return False


def quality_table(learner: LearnerStatus) -> Table:
    """Prequential quality: each event tested before it was learned from."""
    k = learner.hybrid.k
    table = Table("", f"HR@{k}", f"NDCG@{k}", "tested", title="live quality (prequential)")
    for name, quality in (("hybrid", learner.hybrid), ("popularity", learner.popularity)):
        table.add_row(name, f"{quality.hit_rate:.4f}", f"{quality.ndcg:.4f}", f"{quality.tested:,}")
    return table
