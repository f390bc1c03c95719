"""`recpipe bench`: what the parts do on this machine, each beside a baseline in the same run."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from recpipe.cli._common import AdminUrl, BusKind, CredentialsFolder, ServiceUrl, err, explained, out

if TYPE_CHECKING:
    from recpipe.bench.running import Cluster

Bus = Annotated[BusKind, typer.Option(help="What carries the events.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


def register(app: typer.Typer) -> None:
    benches = typer.Typer(
        help="Measure this machine; each figure beside a baseline in the same run.", no_args_is_help=True
    )
    for command in (serving, recommend, freshness, ingest, hotkey, learning, state, export):
        benches.command()(command)
    app.add_typer(benches, name="bench")


def serving(
    items: Annotated[int, typer.Option(help="Items in the model.")] = 50_000,
    dimensions: Annotated[int, typer.Option(help="Width of the embedding.")] = 64,
    seconds: Annotated[int, typer.Option(help="Length of each load.")] = 10,
    rate: Annotated[float, typer.Option(help="Requests a second of the steady load.")] = 1_000.0,
    as_json: AsJson = False,
) -> None:
    """Predict requests a second of the model server on one core, by 32 callers and then at a steady rate.

    Baseline: a plain top-k dot product.

    Example: `recpipe bench serving --json`
    """
    from recpipe.bench.serving import measure_serving

    _print("serving", lambda: asdict(measure_serving(items, dimensions, seconds, rate)), as_json)


def recommend(
    items: Annotated[int, typer.Option(help="Items in the catalogue.")] = 5_000,
    events: Annotated[int, typer.Option(help="Events learned before the load.")] = 20_000,
    seconds: Annotated[int, typer.Option(help="Length of wrk's loads.")] = 10,
    rate: Annotated[float, typer.Option(help="Requests a second of the steady load.")] = 500.0,
    as_json: AsJson = False,
) -> None:
    """GET /v1/recommendations from wrk at 8 connections, then at a steady rate around a change of the model.

    Baseline: GET /healthz.

    Example: `recpipe bench recommend --json`
    """
    from recpipe.bench.recommend import measure_recommend

    _print("recommend", lambda: asdict(asyncio.run(measure_recommend(items, events, seconds, rate))), as_json)


def freshness(
    events: Annotated[int, typer.Option(help="Clicks to follow.")] = 500,
    bus: Bus = BusKind.VALKEY,
    rate: Annotated[int, typer.Option(help="Other events a second meanwhile, on pulsar.")] = 200,
    pulsar_url: ServiceUrl = None,
    pulsar_admin_url: AdminUrl = None,
    pulsar_credentials: CredentialsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Time from a click to a recommendation that knows of it, and from a new item's first event or import to one
    that holds it; baseline: one answer's time.

    On pulsar with the share of each hop.

    Example: `recpipe bench freshness --json`, or `eval $(tools/pulsar up)` and `recpipe bench freshness --bus pulsar`
    """
    from recpipe.bench.freshness import measure
    from recpipe.bench.hops import measure_hops

    def figures() -> Mapping[str, Any]:
        if bus is BusKind.VALKEY:
            return asdict(asyncio.run(measure(events)))
        cluster = _cluster(pulsar_url, pulsar_admin_url, pulsar_credentials)
        return asdict(asyncio.run(measure_hops(cluster, events, rate)))

    _print("freshness", figures, as_json)


def ingest(
    events: Annotated[int, typer.Option(help="Events to send.")] = 50_000,
    items: Annotated[int, typer.Option(help="Items in the catalogue.")] = 5_000,
    bus: Bus = BusKind.VALKEY,
    pulsar_url: ServiceUrl = None,
    pulsar_admin_url: AdminUrl = None,
    pulsar_credentials: CredentialsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Events a second from HTTP to learned; baseline: the bytes through the bus alone.

    On pulsar also through the Functions alone, beside trivial ones, and what each process costs an event.

    Example: `recpipe bench ingest --json`, or `eval $(tools/pulsar up)` and `recpipe bench ingest --bus pulsar`
    """
    from recpipe.bench.ingest import measure_ingest, measure_ingest_on_pulsar

    def figures() -> Mapping[str, Any]:
        if bus is BusKind.VALKEY:
            return asdict(asyncio.run(measure_ingest(events, items)))
        cluster = _cluster(pulsar_url, pulsar_admin_url, pulsar_credentials)
        return asdict(asyncio.run(measure_ingest_on_pulsar(cluster, events, items)))

    _print("ingest", figures, as_json)


def hotkey(
    seconds: Annotated[int, typer.Option(help="Length of each load.")] = 15,
    rate: Annotated[int, typer.Option(help="Events a second of all other users together.")] = 200,
    pulsar_url: ServiceUrl = None,
    pulsar_admin_url: AdminUrl = None,
    pulsar_credentials: CredentialsFolder = None,
    as_json: AsJson = False,
) -> None:
    """What others wait for while one user floods a pipeline on Pulsar, with and without the gateway's limit.

    Baseline: the same others with nobody flooding.

    Example: `eval $(tools/pulsar up)` and `recpipe bench hotkey --json`
    """
    from recpipe.bench.hotkey import measure_hotkey

    def figures() -> Mapping[str, Any]:
        cluster = _cluster(pulsar_url, pulsar_admin_url, pulsar_credentials)
        return asdict(asyncio.run(measure_hotkey(cluster, seconds, rate)))

    _print("hotkey", figures, as_json)


def _cluster(service_url: str | None, admin_url: str | None, credentials: Path | None) -> "Cluster":
    from recpipe.bench.running import Cluster
    from recpipe.spec import Pulsar

    if not (service_url and admin_url):
        raise ValueError(
            "which Pulsar? Give --pulsar-url and --pulsar-admin-url, or run `eval $(tools/pulsar up)` before"
        )
    return Cluster(Pulsar(service_url=service_url, admin_url=admin_url), credentials)


def learning(
    sizes: Annotated[
        str, typer.Option(help="Items in the catalogue, by comma.")
    ] = "1000,10000,100000,1000000",
    as_json: AsJson = False,
) -> None:
    """Microseconds an event and memory by size of the catalogue; baseline: ISGD. Takes 4 GiB at a million.

    Example: `recpipe bench learning --json`

    Example: `recpipe bench learning --sizes 1000,10000`
    """
    from recpipe.bench.learning import measure_learning

    try:
        counts = [int(size) for size in sizes.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 100:
        raise typer.BadParameter(f"{sizes!r}: give numbers of items, 100 at least, by comma")
    show = err.status("learning")
    with show:
        _print("learning", lambda: asdict(measure_learning(counts, show.update)), as_json)


def state(
    users: Annotated[int, typer.Option(help="Users, each with a 50-item history.")] = 100_000,
    as_json: AsJson = False,
) -> None:
    """Bytes a user in the store; baseline: the same histories as JSON.

    Example: `recpipe bench state --json`
    """
    from recpipe.bench.state import measure_state

    _print("state", lambda: asdict(asyncio.run(measure_state(users))), as_json)


def export(
    items: Annotated[int, typer.Option(help="Items in the model.")] = 1_000_000,
    dimensions: Annotated[int, typer.Option(help="Width of the embedding.")] = 64,
    seconds: Annotated[float, typer.Option(help="Length of the baseline.")] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Time, size and memory of publishing a model, and what learning feels of it; baseline: learning alone.

    A million items take some minutes to learn, and 8 GiB. Example: `recpipe bench export --items 100000 --json`
    """
    from recpipe.bench.export import measure_export

    _print("export", lambda: asdict(measure_export(items, dimensions, seconds)), as_json)


def _print(name: str, measure: Callable[[], Mapping[str, Any]], as_json: bool) -> None:
    with explained():
        out.quiet = as_json
        figures = measure()
        out.quiet = False
    if as_json:
        out.print_json(data=figures)
        return
    table = Table("figure", "value", title=f"recpipe bench {name}")
    for figure, value in _flat(figures):
        table.add_row(
            figure, f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"
        )
    out.print(table)


def _flat(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in figures.items():
        rows += _flat(value, f"{prefix}{name} ") if isinstance(value, Mapping) else [(prefix + name, value)]
    return rows
