"""`recpipe status`: a running pipeline at a glance, on this machine or on a Pulsar cluster."""

import asyncio
from pathlib import Path
from typing import Annotated

import httpx
import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from recpipe.cli._common import (
    FAILURE,
    AdminUrl,
    CredentialsFolder,
    HomeFolder,
    explained,
    on_cluster,
    out,
    running_home,
)
from recpipe.cli.deploy import store_reference
from recpipe.cli.replay import Counts, Gauge
from recpipe.local.home import Home
from recpipe.pipeline_file import load_pipeline
from recpipe.pulsar import Admin, Credentials
from recpipe.pulsar.deployment import desired
from recpipe.pulsar.function_settings import desired_functions
from recpipe.pulsar.status import DeploymentStatus, read_status
from recpipe.spec import RecommenderPipeline
from recpipe.status import LearnerStatus


def register(app: typer.Typer) -> None:
    app.command()(status)


def status(
    home: HomeFolder = None,
    file: Annotated[
        Path | None, typer.Option("--pipeline", "-f", help="A pipeline that is deployed on Pulsar.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    admin_url: AdminUrl = None,
    credentials: CredentialsFolder = None,
) -> None:
    """Show a running pipeline: parts, counts by stage, live quality; of one on Pulsar topics and functions.

    Example: `recpipe status --home .recpipe/shop`, or `recpipe status -f pipeline.yaml` (exit code 1 where a
    topic is missing or an instance of a function does not run)
    """
    with explained():
        if file is not None:
            _show_deployment(on_cluster(load_pipeline(file), admin_url), credentials, as_json)
            return
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


def _show_deployment(pipeline: RecommenderPipeline, credentials: Path | None, as_json: bool) -> None:
    wanted = desired(pipeline, desired_functions(pipeline, b"", store_reference(pipeline)))

    async def read() -> DeploymentStatus:
        async with Admin(pipeline.spec.pulsar.admin_url, Credentials(credentials)) as admin:
            return await read_status(admin, wanted)

    found = asyncio.run(read())
    if as_json:
        out.print_json(data=msgspec.to_builtins(found) | {"healthy": found.healthy})
    else:
        out.print(deployment_table(found, f"{pipeline.name} at {pipeline.spec.pulsar.admin_url}"))
    if not found.healthy:
        raise typer.Exit(FAILURE)


def deployment_table(found: DeploymentStatus, title: str) -> Table:
    """Topics, backlogs, functions and exceptions."""
    table = Table("on Pulsar", "state", "in/s", "not yet read", "exceptions", title=title)
    for topic in found.topics:
        state = f"{topic.partitions} partitions" if topic.partitions else "[red]missing"
        backlogs = ", ".join(f"{each.records:,} by {group}" for group, each in topic.progress.items())
        table.add_row(_short(topic.name), state, f"{topic.records_per_second:,.1f}", backlogs, "")
    for function in found.functions:
        colour = "green" if 0 < function.instances == function.running else "red"
        restarts = f", {function.restarts} restarts" if function.restarts else ""
        state = f"[{colour}]{function.running} of {function.instances} run[/]{restarts}"
        raised = "\n".join(escape(text[:200]) for text in function.exceptions)
        table.add_row(_short(function.name), state, "", f"{function.received:,} received", raised)
    return table


def _short(name: str) -> str:
    return name.rpartition("/")[2]


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
