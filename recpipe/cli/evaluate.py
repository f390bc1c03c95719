"""`recpipe evaluate`: how good recommendations would have been on a file of events."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from recpipe.cli._common import USAGE_ERROR, err, explained, out
from recpipe.horizon import Horizon
from recpipe.pipeline_file import load_pipeline

if TYPE_CHECKING:
    from recpipe_model.evaluation import Figures, Report


class Protocol(StrEnum):
    PREQUENTIAL = "prequential"
    NEXT_ITEM = "next-item"
    LEAVE_ONE_OUT = "leave-one-out"
    TIME_SPLIT = "time-split"
    SHARE_SPLIT = "75/25"


STREAMING = (Protocol.PREQUENTIAL, Protocol.NEXT_ITEM)
TRAINING_SHARE = 0.75


def register(app: typer.Typer) -> None:
    app.command()(evaluate)


def evaluate(
    protocol: Annotated[
        Protocol, typer.Option(help="How events are tested; see above.")
    ] = Protocol.PREQUENTIAL,
    events: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Events, one JSON object a line.")
    ] = None,
    train: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="next-item: events to learn from.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="next-item: events to predict.")
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Metadata, NDJSON: item_id, title, categories, attributes."
        ),
    ] = None,
    pipeline: Annotated[
        Path | None,
        typer.Option(
            "--pipeline", "-f", help="Take weights, item ids, minWeight and dimensions from this YAML."
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=1000, help="Length of a list.")] = 10,
    min_weight: Annotated[
        float | None, typer.Option(help="Leave out events below it.", show_default="the pipeline's, else 0")
    ] = None,
    learn: Annotated[bool, typer.Option("--learn", help="next-item: learn from test events too.")] = False,
    baselines: Annotated[
        str,
        typer.Option(help="Beside popularity: isgd, item-knn; als, bpr where nothing is streamed. By comma."),
    ] = "",
    slices: Annotated[
        str, typer.Option("--slice", help="prequential: new-user, new-item (needs --items). By comma.")
    ] = "",
    horizon: Annotated[
        Horizon | None,
        typer.Option(
            help="What the hybrid is asked: what comes next, or what the user likes at all.",
            show_default="taste for 75/25, else next",
        ),
    ] = None,
    quantile: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="time-split: share of time to train on.")
    ] = 0.8,
    lists: Annotated[
        int, typer.Option(min=0, help="Lists kept of a stream for coverage, Gini, novelty and diversity.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of the models, splits, negatives and intervals.")] = 0,
    plot: Annotated[
        Path | None,
        typer.Option(help="Write hit rate over the stream (prequential, next-item) to this picture."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure recommendations on a file of events, with popularity always beside.

    Events are in the public format (user_id, session_id, event_type, timestamp, page_url,
    additional_data; optional item_id). Without `-f` an event weighs `additional_data.rating` or
    `additional_data.weight`, else what its type does (unknown types 1). Events are taken in the file's
    order where timestamps never fall, else sorted stably by time.

    **Protocols**

    - `prequential`: test each event, then learn from it. Ranks all items seen so far less the user's
      history; an item never seen is a miss; a user's first event and repeats are learned, not tested.

    - `next-item`: learn from `--train`, then at each position of every session of `--test` from the
      second on rank all training items, those of the session included.

    - `leave-one-out`: each user's last item among 100 sampled ones that the user never touched.

    - `time-split`: train before a quantile of the events' times, rank all items for what comes after.

    - `75/25`: train on a random 75% of each user's events, rank all items for the rest.

    Example: `recpipe evaluate --events events.jsonl --min-weight 4 --items items.ndjson --json`

    Example: `recpipe evaluate --train a.jsonl --test b.jsonl --protocol next-item --k 20 --baselines item-knn`

    Exit code 2 where an option or a line of a file is wrong.
    """
    from recpipe_model import evaluation as ev
    from recpipe_model.evaluation.plot import open_plot, save_plot
    from recpipe_model.hybrid import Settings

    with _usage_errors():
        _only(protocol, learn, "--learn", Protocol.NEXT_ITEM)
        _only(protocol, bool(slices), "--slice", Protocol.PREQUENTIAL)
        _only(protocol, plot is not None, "--plot", *STREAMING)
        paths = _files(protocol, {"--events": events, "--train": train, "--test": test})
        figure = open_plot(plot) if plot else None
        spec = load_pipeline(pipeline).spec if pipeline else None
        least = min_weight if min_weight is not None else spec.model.min_weight if spec else 0.0
        ids = ev.Ids()
        catalogue = ev.read_items(items, ids) if items else {}
        read = ev.read_events(
            *paths, ids=ids, events=spec.events if spec else None, need_session=protocol is Protocol.NEXT_ITEM
        )
        streams = [stream.positives(least) for stream in read]
        settings = Settings(dimensions=spec.model.dimensions) if spec else Settings()
        asked = horizon or (Horizon.TASTE if protocol is Protocol.SHARE_SPLIT else Horizon.NEXT)
        roster = ev.Roster(ids, catalogue, _listed(baselines), settings, seed, asked)
        passes = 2 if "new-item" in slices else 1
        stream = streams[0]
        with _progress(passes * sum(map(len, streams))) as step:
            match protocol:
                case Protocol.PREQUENTIAL:
                    report = ev.prequential(
                        stream, roster, k=k, step=step, lists=lists, slices=_listed(slices)
                    )
                case Protocol.NEXT_ITEM:
                    report = ev.next_item(
                        stream, streams[1], roster, k=k, step=step, lists=lists, learns=learn
                    )
                case Protocol.LEAVE_ONE_OUT:
                    report = ev.leave_one_out(stream, roster, k=k, step=step)
                case Protocol.TIME_SPLIT:
                    report = ev.rank_all(stream, ev.by_time(stream, quantile), roster, k=k, step=step)
                case Protocol.SHARE_SPLIT:
                    split = ev.by_user(stream, TRAINING_SHARE, seed)
                    report = ev.rank_all(stream, split, roster, k=k, step=step)
        if plot and figure:
            save_plot(figure, report.curves, k, plot)
    setting = {
        "protocol": protocol.value,
        "horizon": asked.value,
        "k": k,
        "min_weight": least,
        "order": "sorted by time" if any(part.sorted for part in read) else "as in the file",
        "without_item": sum(part.without_item for part in read),
        "below_min_weight": sum(map(len, read)) - sum(map(len, streams)),
    }
    if as_json:
        out.print_json(data=setting | report.as_dict())
    else:
        _print_tables(report, setting)


@contextmanager
def _usage_errors() -> Iterator[None]:
    from recpipe_model.evaluation import InputError

    with explained():
        try:
            yield
        except InputError as error:
            err.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
            raise typer.Exit(USAGE_ERROR) from error


def _only(protocol: Protocol, given: bool, option: str, *protocols: Protocol) -> None:
    """Raises where an option is given that the protocol would pass over in silence."""
    from recpipe_model.evaluation import InputError

    if given and protocol not in protocols:
        raise InputError(f"{option}: has no meaning for {protocol}; it goes with {' and '.join(protocols)}")


def _files(protocol: Protocol, given: Mapping[str, Path | None]) -> list[Path]:
    """The files that the protocol reads, in order."""
    from recpipe_model.evaluation import InputError

    wanted = ["--train", "--test"] if protocol is Protocol.NEXT_ITEM else ["--events"]
    for option, path in given.items():
        if (path is not None) != (option in wanted):
            raise InputError(f"{option}: {protocol} reads {' and '.join(wanted)}, and no other events")
    return [path for path in given.values() if path is not None]


def _listed(names: str) -> tuple[str, ...]:
    """Names between commas; popularity always takes part and needs no naming."""
    return tuple(name for each in names.split(",") if (name := each.strip()) and name != "popularity")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("events", total=total)
        yield lambda events: bar.advance(task, events)


def _print_tables(report: "Report", setting: Mapping[str, Any]) -> None:
    """Methods side by side, then each slice, then what was counted."""
    asked = f"{setting['protocol']}, horizon {setting['horizon']}"
    out.print(_table(f"{asked}, events of weight {setting['min_weight']:g} or more", report))
    for slice_name, parts in report.slices.items():
        for part_name, part in parts.items():
            title = f"{slice_name}, {part_name}: {part.counts['tests']:,} tests".replace("_", " ")
            out.print(_table(title, part))
    counts = {**report.counts, **{name: setting[name] for name in ("without_item", "below_min_weight")}}
    out.print(", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in counts.items()))
    out.print(f"Events taken {setting['order']}; in brackets the 95% bootstrap interval.", highlight=False)


def _table(title: str, report: "Report") -> Table:
    """A row for each metric, a column for each method."""
    table = Table("", *report.methods, title=title)
    for metric in report.methods.get("hybrid", {}):
        if metric != "confidence":
            table.add_row(metric, *(_cell(metric, figures) for figures in report.methods.values()))
    return table


def _cell(metric: str, figures: "Figures") -> str:
    value = figures[metric]
    if interval := figures["confidence"].get(metric):
        return f"{value:.4f} [{interval[0]:.3f}, {interval[1]:.3f}]"
    return f"{value:,.0f}" if metric in ("lists", "us_per_event") else f"{value:.4f}"
