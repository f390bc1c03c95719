"""What must hold of the tree itself."""

import json
import re
import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.splitlines()]


def test_the_folder_operator_is_no_package() -> None:
    """A package of that name at the root would shadow the standard library's, and Python would not start."""
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_requirements_name_versions_and_no_host() -> None:
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.lstrip().startswith("#"):
            assert re.fullmatch(r"[A-Za-z0-9._\[\],-]+==[^ ;]+( ; .+)?", line), line


def test_no_file_is_large_or_a_data_set() -> None:
    assert not [
        path
        for path in tracked()
        if path.suffix in {".csv", ".inter", ".jsonl", ".ndjson", ".whl", ".npz", ".npy"}
    ]
    assert not [path for path in tracked() if path.exists() and path.stat().st_size > 500_000]


def test_every_role_has_an_extra_of_its_own() -> None:
    extras = set(metadata.metadata("recpipe").get_all("Provides-Extra") or [])
    assert {"gateway", "functions", "model", "local", "dev"} <= extras


def test_avro_schemas_are_json_with_documented_fields() -> None:
    for path in (ROOT / "recpipe" / "schemas").glob("*.avsc"):
        assert all(field["doc"] for field in json.loads(path.read_text())["fields"]), path
