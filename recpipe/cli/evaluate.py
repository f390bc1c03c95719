"""`recpipe evaluate`."""

import typer


def register(app: typer.Typer) -> None: ...
