"""`recpipe deploy`, `delete` and `functions`: a pipeline on a Pulsar cluster, without Kubernetes."""

import asyncio
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from recpipe.cli._common import (
    FAILURE,
    AdminUrl,
    CredentialsFolder,
    PipelineFile,
    explained,
    on_cluster,
    out,
)
from recpipe.connections import STORE, STORE_VARIABLE
from recpipe.pipeline_file import load_pipeline
from recpipe.spec import DeletionPolicy, RecommenderPipeline

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the changes and make none.")]
_COLOURS = {"+": "green", "~": "yellow", "-": "red", "!": "bold red"}


def register(app: typer.Typer) -> None:
    app.command()(deploy)
    app.command()(delete)
    functions = typer.Typer(help="The package that Pulsar's function workers run.", no_args_is_help=True)
    functions.command()(package)
    app.add_typer(functions, name="functions")


def deploy(
    file: PipelineFile,
    dry_run: DryRun = False,
    store: Annotated[
        str | None,
        typer.Option(
            help="Where functions find the store's URL: env:NAME, file:PATH, secret:NAME, or a URL without "
            "password.",
            show_default=f"{STORE}, or secret:{STORE_VARIABLE} where the spec names store.urlSecret",
        ),
    ] = None,
    parallelism: Annotated[int, typer.Option(min=1, help="Instances of each function.")] = 1,
    package: Annotated[
        Path | None,
        typer.Option(help="A package of `recpipe functions package`.", show_default="made of this version"),
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds for the functions to start; 0: do not wait.")] = 60.0,
    admin_url: AdminUrl = None,
    credentials: CredentialsFolder = None,
) -> None:
    """Make a Pulsar cluster match a pipeline: topics, schemas, policies, subscriptions, functions.

    Each change is one line: `+` makes, `~` alters, `!` cannot be had. Doing it again changes nothing.

    Example: `recpipe deploy -f pipeline.yaml --dry-run` (exit code 1 where something cannot be had)
    """
    from recpipe.pulsar import Admin, Credentials
    from recpipe.pulsar.deployment import apply, desired, observe, plan, until_running
    from recpipe.pulsar.function_settings import desired_functions
    from recpipe_functions.package import build

    async def carry_out(pipeline: RecommenderPipeline) -> list[str]:
        code = package.read_bytes() if package else build()
        functions = desired_functions(
            pipeline, code, store or store_reference(pipeline), parallelism=parallelism
        )
        wanted = desired(pipeline, functions)
        async with Admin(pipeline.spec.pulsar.admin_url, Credentials(credentials)) as admin:
            changes, obstacles = plan(wanted, await observe(admin, wanted))
            _show((*map(str, changes), *(f"! {obstacle}" for obstacle in obstacles)))
            if not dry_run:
                await apply(admin, changes)
                if wait:
                    with out.status("waiting for the functions …"):
                        await until_running(admin, wanted, wait)
        return obstacles

    with explained():
        if asyncio.run(carry_out(on_cluster(load_pipeline(file), admin_url))):
            raise typer.Exit(FAILURE)


def delete(
    file: PipelineFile,
    dry_run: DryRun = False,
    admin_url: AdminUrl = None,
    credentials: CredentialsFolder = None,
) -> None:
    """Take a pipeline off its Pulsar cluster: its functions, and its data under `deletionPolicy: Delete`.

    Example: `recpipe delete -f pipeline.yaml --dry-run`
    """
    from recpipe.pulsar import Admin, Credentials
    from recpipe.pulsar.deployment import apply, desired, observe, removal
    from recpipe.pulsar.function_settings import desired_functions

    async def carry_out(pipeline: RecommenderPipeline) -> None:
        wanted = desired(pipeline, desired_functions(pipeline, b"", store_reference(pipeline)))
        policy = pipeline.spec.deletion_policy
        async with Admin(pipeline.spec.pulsar.admin_url, Credentials(credentials)) as admin:
            changes = removal(await observe(admin, wanted), policy)
            _show(map(str, changes))
            if not dry_run:
                await apply(admin, changes)
        if policy is DeletionPolicy.RETAIN:
            out.print("topics and their data stay: deletionPolicy is Retain", highlight=False)

    with explained():
        asyncio.run(carry_out(on_cluster(load_pipeline(file), admin_url)))


def package(output: Annotated[Path, typer.Argument(help="Where the zip is written.")]) -> None:
    """Write clean and features as one zip: the same source gives the same bytes.

    Example: `recpipe functions package functions.zip`
    """
    from recpipe_functions.package import build

    with explained():
        content = build()
        output.write_bytes(content)
    out.print(
        f"{output}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}", soft_wrap=True
    )


def store_reference(pipeline: RecommenderPipeline) -> str:
    """Where functions find the store's URL, if nothing else is said."""
    return f"secret:{STORE_VARIABLE}" if pipeline.spec.store.url_secret else STORE


def _show(lines: Iterable[str]) -> None:
    shown = [*lines] or ["nothing to change"]
    for line in shown:
        out.print(line, style=_COLOURS.get(line[0]), highlight=False, soft_wrap=True, markup=False)
