"""`recpipe run`: the whole pipeline on this machine."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.logging import RichHandler
from rich.table import Table

from recpipe.bench.figures import Latency
from recpipe.cli._common import (
    FAILURE,
    AdminUrl,
    BusKind,
    CredentialsFolder,
    PipelineFile,
    ServiceUrl,
    err,
    explained,
    gateway_client,
    on_cluster,
    out,
)
from recpipe.cli.catalogue import recommendation_table
from recpipe.cli.replay import Replayed, counts_table, replay_events
from recpipe.local import Home, Supervisor, SupervisorError
from recpipe.local.functions import functions_running
from recpipe.local.parts import plan
from recpipe.pipeline_file import load_pipeline, write_pipeline


def register(app: typer.Typer) -> None:
    app.command()(run)


def run(
    file: PipelineFile,
    items: Annotated[Path | None, typer.Option(help="NDJSON of items to import first.")] = None,
    users: Annotated[
        Path | None, typer.Option(help="NDJSON of profiles (`user_id` and strings) to load first.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Events to send through, one JSON object a line.")
    ] = None,
    show: Annotated[
        str, typer.Option(help="Users whose recommendations to print after the replay, with commas.")
    ] = "",
    once: Annotated[bool, typer.Option("--once", help="End after the replay instead of staying up.")] = False,
    home: Annotated[
        Path | None,
        typer.Option(help="Folder for data, models, keys and logs.", show_default=".recpipe/NAME"),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what earlier runs left in the folder.")
    ] = False,
    store_url: Annotated[
        str | None, typer.Option(help="A Valkey or Redis that runs already (no Cluster).")
    ] = None,
    bus: Annotated[
        BusKind,
        typer.Option(help="What carries the events; on pulsar, clean and features run as its Functions."),
    ] = BusKind.VALKEY,
    pulsar_url: ServiceUrl = None,
    pulsar_admin_url: AdminUrl = None,
    pulsar_credentials: CredentialsFolder = None,
    bind: Annotated[str, typer.Option(help="Address the gateway listens on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="The gateway's port.", show_default="8080, or a free one")
    ] = None,
) -> None:
    """Run a pipeline on this machine: Valkey, functions, learner, model server and gateway.

    Example: `recpipe run -f examples/shop.yaml`, or on the Pulsar that the file or the options name
    `recpipe run -f examples/shop.yaml --bus pulsar`
    """
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=err, show_path=False)]
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with explained():
        pipeline = load_pipeline(file)
        folder = Home.of(pipeline.name, home)
        if fresh:
            folder.clear()
        folder.create()
        if on_pulsar := bus is BusKind.PULSAR:
            pipeline = on_cluster(pipeline, pulsar_admin_url, pulsar_url)
            file = write_pipeline(pipeline, folder.pipeline)
        parts = plan(
            pipeline,
            file,
            folder,
            store_url=store_url,
            bind=bind,
            port=port,
            on_pulsar=on_pulsar,
            pulsar_credentials=pulsar_credentials,
        )
        functions = (
            functions_running(
                pipeline, folder.keep_store_url(parts.endpoints.store), pulsar_credentials, fresh=fresh
            )
            if on_pulsar
            else nullcontext()
        )

        async def main() -> bool:
            stop = asyncio.Event()
            for name in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(name, stop.set)
            out.print("starting the parts …")
            async with functions, Supervisor(parts, folder) as supervisor:
                job = _job(folder, items=items, users=users, replay=replay, show=show)
                complete = bool(await _first(job, supervisor.watch(), stop.wait()))
                if not once and not stop.is_set():
                    _invite(folder)
                    await _first(supervisor.watch(), stop.wait())
                out.print("stopping the parts …")
            return complete

        try:
            complete = asyncio.run(main())
        except SupervisorError as error:
            err.print(str(error), style="red", highlight=False, soft_wrap=True)
            err.print(f"whole logs are in {folder.logs}", highlight=False)
            raise typer.Exit(FAILURE) from error
    if not complete:
        raise typer.Exit(FAILURE)


async def _first(*coroutines: Coroutine[Any, Any, object]) -> object:
    """The result, or the error, of what ends first; the others are cancelled."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return next(task.result() for task in tasks if task in done)


async def _job(home: Home, *, items: Path | None, users: Path | None, replay: Path | None, show: str) -> bool:
    """Imports, replays and reports; whether every event is accounted for."""
    if items:
        async with gateway_client(home) as client:
            out.print(f"{await client.import_items(items.read_bytes().splitlines()):,} items imported")
    if users:
        out.print(f"{await _load_profiles(home, users):,} profiles loaded")
    if replay is None:
        return True
    replayed = await replay_events(home, replay)
    async with gateway_client(home) as client:
        await client.model_served()  # its first version may still be written
    from recpipe.bench.freshness import measure_answers, measure_freshness

    effect = await measure_freshness(home, events=200)
    answers = await measure_answers(home, requests=500)
    out.print(counts_table(replayed))
    out.print(_summary(replayed, effect, answers))
    for user in filter(None, show.split(",")):
        async with gateway_client(home) as client:
            out.print(recommendation_table(await client.recommendations(user, 5, titles="true")))
    return not replayed.lost and replayed.counts.drained


async def _load_profiles(home: Home, users: Path) -> int:
    profiles = [msgspec.json.decode(line, type=dict[str, str]) for line in users.read_bytes().splitlines()]
    async with gateway_client(home) as client:
        for profile in profiles:
            await client.put_profile(profile.pop("user_id"), profile)
    return len(profiles)


def _summary(replayed: Replayed, effect: Latency, answers: Latency) -> Table:
    """The one table of the main job."""
    status, k = replayed.status, replayed.status.hybrid.k
    table = Table("figure", "value", "beside it", title="the run in figures")
    table.add_row(
        "events/s, first request to last learned",
        f"{replayed.counts.learned / replayed.seconds:,.0f}",
        f"{replayed.sent.total / replayed.sending_seconds:,.0f} admitted over HTTP",
    )
    for name, hybrid, popularity in (
        (f"HR@{k}", status.hybrid.hit_rate, status.popularity.hit_rate),
        (f"NDCG@{k}", status.hybrid.ndcg, status.popularity.ndcg),
    ):
        table.add_row(
            f"{name} of the hybrid, prequential", f"{hybrid:.4f}", f"{popularity:.4f} by popularity alone"
        )
    tested = status.hybrid.tested / max(status.learned, 1)
    table.add_row(
        "events tested before learning", f"{status.hybrid.tested:,}", f"{tested:.0%} of those learned"
    )
    table.add_row(
        "event to changed recommendation", f"{effect.p50_ms:.1f} ms p50", f"{effect.p99_ms:.1f} ms p99"
    )
    table.add_row("recommendation", f"{answers.p50_ms:.1f} ms p50", f"{answers.p99_ms:.1f} ms p99")
    return table


def _invite(home: Home) -> None:
    """Says where the pipeline is and how to talk to it."""
    gateway, keys = home.endpoints().gateway, home.keys
    out.print(f"\n[bold]{gateway}[/] is up; keys are in {keys}. Try:\n", highlight=False, soft_wrap=True)
    out.print(
        f"""  curl -H "Authorization: Bearer $(cat {keys}/private)" '{gateway}/v1/recommendations?user_id=196&k=5'
  curl -H "Authorization: Bearer $(cat {keys}/public)" {gateway}/v1/events \\
       --json '{{"user_id": "me", "event_type": "click", "timestamp": "{_now()}", "item_id": "50"}}'
  recpipe recommend me --home {home.path}

Ctrl-C stops it.""",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
