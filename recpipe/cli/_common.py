"""Options that many commands share, and how a command ends in an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recpipe.client import Client, GatewayError
from recpipe.connections import CREDENTIALS_HELP
from recpipe.local.home import Home, NotRunningError
from recpipe.pipeline_file import InvalidPipelineError
from recpipe.pulsar.errors import AdminError
from recpipe.spec import Pulsar, RecommenderPipeline

out = Console()
err = Console(stderr=True)

PipelineFile = Annotated[Path, typer.Option("--pipeline", "-f", help="The RecommenderPipeline's YAML file.")]
HomeFolder = Annotated[
    Path | None, typer.Option("--home", help="Folder of the running pipeline.", show_default=".recpipe/NAME")
]

AdminUrl = Annotated[
    str | None,
    typer.Option(
        "--pulsar-admin-url",
        envvar="PULSAR_ADMIN_URL",
        help="Instead of the file's spec.pulsar.adminUrl.",
        metavar="URL",
    ),
]
ServiceUrl = Annotated[
    str | None,
    typer.Option(
        "--pulsar-url",
        envvar="PULSAR_URL",
        help="Instead of the file's spec.pulsar.serviceUrl.",
        metavar="URL",
    ),
]
CredentialsFolder = Annotated[
    Path | None,
    typer.Option(
        "--pulsar-credentials", envvar="PULSAR_CREDENTIALS", metavar="DIR", help=CREDENTIALS_HELP.capitalize()
    ),
]


class BusKind(StrEnum):
    """What carries a pipeline's events."""

    VALKEY = "valkey"
    PULSAR = "pulsar"


USAGE_ERROR, FAILURE = 2, 1


@contextmanager
def explained() -> Iterator[None]:
    """Ends the command with one clear line for an error that a person can mend."""
    try:
        yield
    except (InvalidPipelineError, NotRunningError, ValueError) as error:
        err.print(str(error), style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(USAGE_ERROR) from error
    except (GatewayError, AdminError, OSError) as error:
        err.print(str(error), style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(FAILURE) from error


def running_home(folder: Path | None) -> Home:
    """The folder named, or the only one under .recpipe that has a running pipeline."""
    if folder is not None:
        return Home(folder)
    candidates = [path.parent.parent for path in Path(".recpipe").glob("*/run/endpoints.json")]
    if len(candidates) == 1:
        return Home(candidates[0])
    found = ", ".join(str(path) for path in candidates) or "none"
    raise NotRunningError(f"which pipeline? Running under .recpipe: {found}. Name one with --home.")


def on_cluster(
    pipeline: RecommenderPipeline, admin_url: str | None, service_url: str | None = None
) -> RecommenderPipeline:
    """The pipeline on another Pulsar than its file names, where one is given."""
    urls = {"admin_url": admin_url, "service_url": service_url}
    given = Pulsar.model_validate(
        pipeline.spec.pulsar.model_dump() | {name: url for name, url in urls.items() if url}
    )
    return pipeline.model_copy(update={"spec": pipeline.spec.model_copy(update={"pulsar": given})})


def gateway_client(home: Home, role: str = "private") -> Client:
    return Client(home.endpoints().gateway, home.key(role))
