"""`recpipe train`: learn anew from retained history."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.progress import MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from recpipe.admission import Admission, NotAdmittedError, Receipt
from recpipe.catalogue import ITEM_DECODER, Item
from recpipe.cli._common import FAILURE, USAGE_ERROR, PipelineFile, err, explained, out
from recpipe.connections import BUS_HELP, CREDENTIALS_HELP, STORE_HELP, Connections
from recpipe.local.home import Home, NotRunningError
from recpipe.pipeline_file import load_pipeline
from recpipe.records import Event, FeatureRow
from recpipe.spec import RecommenderPipeline
from recpipe.store import Keys
from recpipe.worker import OUTAGES

if TYPE_CHECKING:
    from recpipe_model.learner.training import Training


def register(app: typer.Typer) -> None:
    app.command()(train)


@dataclass(frozen=True)
class Trained:
    """What came of it."""

    learned: int
    items: int
    seconds: float
    events_per_second: float
    refused: int
    """Of the file: lines that are no events of this pipeline, duplicates, and what cleaning rejected."""
    hit_rate: float
    popularity_hit_rate: float
    tested: int
    version: int
    """0 where none was published."""


def train(
    file: PipelineFile,
    events: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Events from before the bus, one JSON object a line, by time."
        ),
    ] = None,
    items: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Metadata of the file's items, NDJSON.")
    ] = None,
    users: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Profiles of the file's users, NDJSON.")
    ] = None,
    bus_url: Annotated[
        str | None,
        typer.Option(help=BUS_HELP, show_default="that of the pipeline that runs on this machine"),
    ] = None,
    store_url: Annotated[str | None, typer.Option(help=STORE_HELP)] = None,
    pulsar_credentials: Annotated[Path | None, typer.Option(metavar="DIR", help=CREDENTIALS_HELP)] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="The learner's folder.", show_default="HOME/checkpoints")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="Base path of the versions.", show_default="HOME/models")
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(help="Folder of the pipeline on this machine.", show_default=".recpipe/NAME"),
    ] = None,
    test_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of events tested before they are learned.")
    ] = 0.1,
    publish: Annotated[bool, typer.Option(help="Publish a version of the model.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Learn anew from retained history: for backfill, recovery and scheduled retraining.

    Replays a file of events, then everything that the bus still holds, through the very learner that learns
    live. The model is published as a version and left among the learner's checkpoints: a learner that runs
    takes it up within seconds, with what has come since; one that starts later begins with it.

    Example: `recpipe train -f pipeline.yaml --events 2025.jsonl --items items.ndjson`

    Example: `recpipe train -f pipeline.yaml --bus-url pulsar --checkpoints /data/checkpoints --models /data/models`
    """
    from recpipe_model.learner.publisher import PublishError

    with explained():
        pipeline = load_pipeline(file)
        folder = Home.of(pipeline.name, home)
        try:
            connections = _connections(folder, bus_url, store_url, pulsar_credentials)
        except NotRunningError as error:
            if events is None:
                raise NotRunningError(f"{error}; or give --bus-url or --events") from error
            connections = None
        except ValueError as error:
            err.print(str(error), style="red", highlight=False, soft_wrap=True)
            raise typer.Exit(USAGE_ERROR) from error
        history = History(pipeline, events, items, users)
        job = _train(
            pipeline,
            history,
            connections,
            checkpoints or folder.checkpoints,
            (models or folder.models) if publish else None,
            test_rate,
            quiet=as_json,
        )
        try:
            trained = asyncio.run(job)
        except (*OUTAGES, PublishError) as error:
            err.print(str(error), style="red", highlight=False, soft_wrap=True)
            raise typer.Exit(FAILURE) from error
    if as_json:
        out.print_json(data=asdict(trained))
    else:
        out.print(
            f"{trained.learned:,} events of {trained.items:,} items learned in {trained.seconds:.1f} s "
            f"({trained.events_per_second:,.0f} events/s), {trained.refused:,} refused; HR@10 "
            f"{trained.hit_rate:.4f} beside {trained.popularity_hit_rate:.4f} by popularity alone, on "
            f"{trained.tested:,} tested",
            highlight=False,
        )
        out.print(f"published version {trained.version}" if trained.version else "no version was published")
    if not trained.learned:
        err.print("there was nothing to learn from", style="red")
        raise typer.Exit(FAILURE)


def _connections(
    home: Home, bus_url: str | None, store_url: str | None, credentials: Path | None
) -> Connections:
    """As the flags say, or those of the pipeline that runs from `home`."""
    if bus_url is None:
        return Connections.of(home.endpoints().store)
    return Connections.of(bus_url, store_url, credentials)


class History:
    """Files of events, items and profiles, as the rows that cleaning and features would have made of them."""

    def __init__(
        self, pipeline: RecommenderPipeline, events: Path | None, items: Path | None, users: Path | None
    ) -> None:
        self._pipeline, self._events = pipeline, events
        self.items: list[Item] = [ITEM_DECODER.decode(line) for line in _lines(items)]
        self._users = [msgspec.json.decode(line, type=dict[str, str]) for line in _lines(users)]
        self._malformed = 0
        self._cleaning: Counter[str] = Counter()

    @property
    def refused(self) -> int:
        return self._malformed + self._cleaning["clean.rejected"] + self._cleaning["clean.duplicate"]

    def rows(self) -> Iterator[FeatureRow]:
        from recpipe_functions.backfill import Backfill

        profiles = {profile.pop("user_id"): profile for profile in self._users}
        backfill = Backfill(self._pipeline, {item.item_id: item for item in self.items}, profiles)
        self._cleaning = backfill.tally
        return backfill.rows(self._admitted())

    def _admitted(self) -> Iterator[Event]:
        """The file's events, each as if it had arrived when it happened."""
        admission = Admission(self._pipeline.spec.events)
        for line in _lines(self._events):
            try:
                event = admission.admit(line, Receipt(0))
            except NotAdmittedError:
                self._malformed += 1
            else:
                event["ingested_at"] = event["timestamp"]
                yield event


def _lines(file: Path | None) -> Iterator[bytes]:
    if file is not None:
        with file.open("rb") as lines:
            yield from (line for line in lines if line.strip())


async def _train(
    pipeline: RecommenderPipeline,
    history: History,
    connections: Connections | None,
    checkpoints: Path,
    models: Path | None,
    test_rate: float,
    quiet: bool,
) -> Trained:
    from recpipe_model.learner.live import LiveState
    from recpipe_model.learner.training import Training

    known: list[str] = []
    if connections:
        store = connections.store()
        known = await LiveState(store, Keys(pipeline.name)).names()
        await store.aclose()
    training, begun = Training(pipeline, checkpoints, known, test_rate), time.perf_counter()
    columns = (TextColumn("learning"), MofNCompleteColumn(), TextColumn("events"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=quiet) as progress:
        task = progress.add_task("learning", total=None)
        for learned in training.learn_file(history.items, history.rows()):
            progress.update(task, completed=learned)
        if connections:
            await _learn_bus(training, pipeline, connections, progress, task)
    status, seconds = training.status, time.perf_counter() - begun
    version = 0
    if status.learned:
        version = await training.publish(models) if models else 0
        training.save()
    return Trained(
        learned=status.learned,
        items=status.items,
        seconds=seconds,
        events_per_second=status.learned / seconds,
        refused=history.refused,
        hit_rate=status.hybrid.hit_rate,
        popularity_hit_rate=status.popularity.hit_rate,
        tested=status.hybrid.tested,
        version=version,
    )


async def _learn_bus(
    training: "Training",
    pipeline: RecommenderPipeline,
    connections: Connections,
    progress: Progress,
    task: TaskID,
) -> None:
    bus = connections.bus(pipeline)
    try:
        async for learned in training.learn_bus(bus):
            progress.update(task, completed=learned)
    finally:
        await bus.close()
