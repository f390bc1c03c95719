"""A node asks for what it needs before it starts, and leaves alone what is another's."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ..conftest import CLUSTER, ROOT

RANGE = "198.18.250.0/24"  # kept for benchmarks of networks; no node has it


@pytest.fixture
def kube(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from kube import machine, node, processes

    return SimpleNamespace(machine=machine, node=node, home=processes.Home)


@pytest.fixture
def theirs(kube: Any, tmp_path: Path) -> Iterator[str]:
    """The bridge of another node, with an address."""
    name: str = kube.node._bridge(kube.home(tmp_path / "other"))
    add = ["ip", "link", "add", name, "type", "bridge"]
    if not shutil.which("ip") or subprocess.run(add, check=False, capture_output=True).returncode:
        pytest.skip("needs root and leave to make network interfaces, as a node does")
    subprocess.run(["ip", "address", "add", "198.18.250.1/24", "dev", name], check=True)
    yield name
    subprocess.run(["ip", "link", "delete", name], check=True)


def test_each_thing_that_a_machine_lacks_is_named(
    kube: Any, theirs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    always = set(kube.machine.lacks(kube.home(tmp_path), [theirs], RANGE))
    monkeypatch.setattr(kube.machine, "MEMORY_BYTES", 1e18)
    monkeypatch.setattr(kube.machine, "CONTROLLERS", ("cpu", "telepathy"))
    now = kube.machine.lacks(kube.home(tmp_path), [], RANGE)
    lacking = "\n".join(each for each in now if each not in always)
    assert f"the range {RANGE} for pods: {theirs} has it" in lacking
    assert "/sys/fs/cgroup has no telepathy" in lacking
    assert "GB of memory: it has" in lacking
    assert len(lacking.splitlines()) == 3


def test_the_range_of_a_node_that_was_killed_is_free(kube: Any, theirs: str, tmp_path: Path) -> None:
    assert theirs in kube.node._abandoned()
    alive = os.environ | {"RECPIPE_CLUSTER_HOME": str(tmp_path / "other")}
    command = [sys.executable, "-c", "print(flush=True); input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=alive, text=True, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        assert theirs not in kube.node._abandoned()
        process.communicate("\n")


def test_the_network_of_another_node_stays_when_a_cluster_goes_down(theirs: str, tmp_path: Path) -> None:
    (tmp_path / "mine" / "cni").mkdir(parents=True)
    subprocess.run([CLUSTER, "down", "--home", tmp_path / "mine"], check=True)
    assert not subprocess.run(["ip", "link", "show", theirs], check=False, capture_output=True).returncode
