"""`recpipe import` and `recpipe recommend`: the catalogue in, recommendations out."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from recpipe.cli._common import HomeFolder, explained, gateway_client, out, running_home


def register(app: typer.Typer) -> None:
    app.command(name="import")(import_items)
    app.command()(recommend)


def import_items(
    file: Annotated[Path, typer.Argument(help="NDJSON: item_id, title, categories, attributes.")],
    home: HomeFolder = None,
) -> None:
    """Import items into the running pipeline's catalogue.

    Example: `recpipe import items.ndjson`
    """

    async def main() -> int:
        async with gateway_client(running_home(home)) as client:
            return await client.import_items(file.read_bytes().splitlines())

    with explained():
        out.print(f"{asyncio.run(main()):,} items imported")


def recommend(
    user: Annotated[str, typer.Argument(help="User id; one never seen gets what a new user gets.")],
    k: Annotated[int, typer.Option("-k", help="How many.")] = 10,
    home: HomeFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the gateway's answer.")] = False,
) -> None:
    """Ask the running pipeline for a user's recommendations, with the reasons.

    Example: `recpipe recommend 196 -k 5`
    """

    async def main() -> dict[str, Any]:
        async with gateway_client(running_home(home)) as client:
            return await client.recommendations(user, k, titles="true")

    with explained():
        answer = asyncio.run(main())
    if as_json:
        out.print_json(data=answer)
    else:
        out.print(recommendation_table(answer))


def recommendation_table(answer: dict[str, Any]) -> Table:
    """One answer as a table: title, score, and the strongest parts of the score."""
    note = f" (degraded: {answer['degraded']})" if answer["degraded"] else ""
    table = Table("#", "item", "title", "score", "why", title=f"for user {answer['user_id']}{note}")
    for number, item in enumerate(answer["items"], 1):
        why = sorted(item.get("why", {}).items(), key=lambda part: -part[1])[:3]
        reasons = ", ".join(f"{name} {share:+.2f}" for name, share in why)
        table.add_row(str(number), item["item_id"], item.get("title", ""), f"{item['score']:.3f}", reasons)
    return table
