"""`recpipe bench`: what the parts do on this machine, each beside a baseline in the same run."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from recpipe.cli._common import explained, out

AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


def register(app: typer.Typer) -> None:
    benches = typer.Typer(
        help="Measure this machine; each figure beside a baseline in the same run.", no_args_is_help=True
    )
    for command in (serving, recommend, freshness, ingest, state):
        benches.command()(command)
    app.add_typer(benches, name="bench")


def serving(
    items: Annotated[int, typer.Option(help="Items in the model.")] = 50_000,
    dimensions: Annotated[int, typer.Option(help="Width of the embedding.")] = 64,
    seconds: Annotated[int, typer.Option(help="Length of each load.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Predict requests a second and latency of the model server; baseline: a plain top-k dot product.

    Example: `recpipe bench serving --json`
    """
    from recpipe.bench.serving import measure_serving

    _print("serving", lambda: asdict(measure_serving(items, dimensions, seconds)), as_json)


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
    events: Annotated[int, typer.Option(help="Clicks to follow.")] = 500, as_json: AsJson = False
) -> None:
    """Time from posting a click to a recommendation that knows of it; baseline: one answer's time.

    Example: `recpipe bench freshness --json`
    """
    from recpipe.bench.freshness import measure

    _print("freshness", lambda: asdict(asyncio.run(measure(events))), as_json)


def ingest(
    events: Annotated[int, typer.Option(help="Events to send.")] = 50_000,
    items: Annotated[int, typer.Option(help="Items in the catalogue.")] = 5_000,
    as_json: AsJson = False,
) -> None:
    """Events a second from HTTP to learned; baseline: the bytes through the bus alone.

    Example: `recpipe bench ingest --json`
    """
    from recpipe.bench.ingest import measure_ingest

    _print("ingest", lambda: asdict(asyncio.run(measure_ingest(events, items))), as_json)


def state(
    users: Annotated[int, typer.Option(help="Users, each with a 50-item history.")] = 100_000,
    as_json: AsJson = False,
) -> None:
    """Bytes a user in the store; baseline: the same histories as JSON.

    Example: `recpipe bench state --json`
    """
    from recpipe.bench.state import measure_state

    _print("state", lambda: asdict(asyncio.run(measure_state(users))), as_json)


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
