"""A pipeline of its own for a benchmark: started, filled, measured, stopped, removed."""

import os
import re
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from recpipe.local import Home, Supervisor
from recpipe.local.functions import functions_running
from recpipe.local.parts import plan
from recpipe.pipeline_file import load_pipeline, write_pipeline
from recpipe.spec import DeletionPolicy, Pulsar, RecommenderPipeline

PIPELINE = """\
apiVersion: recpipe.dev/v1alpha1
kind: RecommenderPipeline
metadata: {name: bench}
spec:
  cleaning:
    bots: {enabled: false}  # generated users are faster than people
  gateway:
    userEventsPerSecond: 100000
"""


@dataclass(frozen=True)
class Cluster:
    """A Pulsar to measure on."""

    pulsar: Pulsar
    credentials: Path | None = None

    def pipeline(self, file: Path) -> RecommenderPipeline:
        """The pipeline in `file`, on this cluster and under a name that nothing else there has."""
        pipeline = load_pipeline(file)
        spec = pipeline.spec.model_copy(update={"pulsar": self.pulsar})
        metadata = pipeline.metadata.model_copy(update={"name": f"{pipeline.name}-{uuid.uuid4().hex[:8]}"})
        return pipeline.model_copy(update={"spec": spec, "metadata": metadata})


@asynccontextmanager
async def pipeline_running(
    text: str = PIPELINE, cluster: Cluster | None = None, only: frozenset[str] | None = None
) -> AsyncIterator[Home]:
    """A fresh pipeline on free ports, in a temporary folder; on a cluster, it leaves nothing behind there.

    `only` names the parts of this machine to start.
    """
    with tempfile.TemporaryDirectory(prefix="recpipe-bench-") as folder:
        file = Path(folder) / "pipeline.yaml"
        file.write_text(text)
        pipeline = cluster.pipeline(file) if cluster else load_pipeline(file)
        home = Home(Path(folder) / pipeline.name)
        home.create()
        write_pipeline(pipeline, home.pipeline)
        credentials = cluster.credentials if cluster else None
        parts = plan(
            pipeline, home.pipeline, home, on_pulsar=cluster is not None, pulsar_credentials=credentials
        )
        if only is not None:
            parts.parts[:] = [part for part in parts.parts if part.name in only]
        store = home.keep_store_url(parts.endpoints.store)
        functions = (
            functions_running(pipeline, store, credentials, data=DeletionPolicy.DELETE)
            if cluster
            else nullcontext()
        )
        async with functions, Supervisor(parts, home):
            yield home


def cpu_seconds(home: Home) -> dict[str, float]:
    """Processor time so far of every process of a pipeline, and of the broker that `tools/pulsar up` named."""
    endpoints = home.endpoints()
    pids = dict(endpoints.pids)
    if "PULSAR_PID" in os.environ:
        pids["broker"] = int(os.environ["PULSAR_PID"])
    found = {name: _cpu(psutil.Process(pid)) for name, pid in pids.items()}
    for process in psutil.process_iter():
        command = " ".join(_command(process))
        if match := re.search(rf'"{endpoints.pipeline}-(clean|features)"', command):
            found[match[1]] = found.get(match[1], 0.0) + _cpu(process)
    return found


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
