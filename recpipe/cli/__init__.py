"""The command line: each command in a module of its own, loaded when it is called."""

import typer

from recpipe.cli import bench, catalogue, deploy, evaluate, pipelines, replay, run, status, train

app = typer.Typer(
    name="recpipe",
    help="Recommendations that react to the last click, as a Kubernetes resource.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
)
for module in (run, replay, catalogue, status, deploy, pipelines, evaluate, train, bench):
    module.register(app)
