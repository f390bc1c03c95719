"""`recpipe evaluate`: how good recommendations would have been on a file of events."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from recpipe.cli._common import USAGE_ERROR, err, explained, out
from recpipe.pipeline_file import load_pipeline
from recpipe.spec import RecommenderPipeline

if TYPE_CHECKING:
    from recpipe_model.evaluation import Figures, Report, Roster, Stream


class Protocol(StrEnum):
    PREQUENTIAL = "prequential"
    NEXT_ITEM = "next-item"
    LEAVE_ONE_OUT = "leave-one-out"
    TIME_SPLIT = "time-split"
    SHARE_SPLIT = "75/25"


STREAMING = (Protocol.PREQUENTIAL, Protocol.NEXT_ITEM)
InputFile = typer.Option(exists=True, dir_okay=False, readable=True)


def register(app: typer.Typer) -> None:
    app.command()(evaluate)


def evaluate(
    protocol: Annotated[Protocol, typer.Option(help="How events are tested; see above.")] = Protocol.PREQUENTIAL,
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
        typer.Option(exists=True, dir_okay=False, help="Metadata, NDJSON: item_id, title, categories, attributes."),
    ] = None,
    pipeline: Annotated[
        Path | None,
        typer.Option("--pipeline", "-f", help="Take weights, item ids, minWeight and dimensions from this YAML."),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=1000, help="Length of a list.")] = 10,
    min_weight: Annotated[
        float | None, typer.Option(help="Leave out events below it.", show_default="the pipeline's, else 0")
    ] = None,
    learn: Annotated[bool, typer.Option("--learn", help="next-item: learn from test events too.")] = False,
    baselines: Annotated[
        str, typer.Option(help="Beside popularity: isgd, item-knn; als, bpr where nothing is streamed. By comma.")
    ] = "",
    slices: Annotated[
        str, typer.Option("--slice", help="prequential: new-user, new-item (needs --items). By comma.")
    ] = "",
    quantile: Annotated[float, typer.Option(min=0.0, max=1.0, help="time-split: share of time to train on.")] = 0.8,
    lists: Annotated[
        int, typer.Option(min=0, help="Lists kept of a stream for coverage, Gini, novelty and diversity.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of the models, splits, negatives and intervals.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="Write hit rate over the stream (prequential, next-item) to this picture.")
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
    from recpipe_model.evaluation import InputError

    with explained():
        spec = load_pipeline(pipeline) if pipeline else None
    try:
        streaming = protocol in STREAMING
        _refuse("--learn", learn and protocol is not Protocol.NEXT_ITEM, "next-item")
        _refuse("--slice", bool(slices) and protocol is not Protocol.PREQUENTIAL, "prequential")
        _refuse("--plot", plot is not None and not streaming, "prequential and next-item")
        least = min_weight if min_weight is not None else spec.spec.model.min_weight if spec else 0.0
        files = _files(protocol, events, train, test)
        streams, roster = _read(files, items, spec, least, protocol, _listed(baselines), seed)
        total = sum(map(len, streams)) * (2 if "new-item" in slices else 1)
        with _progress(total) as step:
            report = _run(protocol, streams, roster, step, k, lists, _listed(slices), learn, quantile, seed)
        if plot:
            from recpipe_model.evaluation.plot import save_plot

            save_plot(report.curves, k, plot)
    except InputError as error:
        err.print(str(error), style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(USAGE_ERROR) from error
    setting = {
        "protocol": protocol.value,
        "k": k,
        "min_weight": least,
        "order": "sorted by time" if any(stream.sorted for stream in streams) else "as in the file",
        "without_item": sum(stream.without_item for stream in streams),
    }
    figures = report.figures | setting
    if as_json:
        out.print_json(data=figures)
    else:
        print_tables(figures)
