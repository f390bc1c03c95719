"""A pipeline of its own for a benchmark: started, filled, measured, stopped, removed."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from recpipe.local import Home, Supervisor
from recpipe.local.parts import plan
from recpipe.pipeline_file import load_pipeline

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


@asynccontextmanager
async def pipeline_running(text: str = PIPELINE) -> AsyncIterator[Home]:
    """A fresh pipeline on free ports, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="recpipe-bench-") as folder:
        file = Path(folder) / "pipeline.yaml"
        file.write_text(text)
        pipeline = load_pipeline(file)
        home = Home(Path(folder) / pipeline.name)
        home.create()
        async with Supervisor(plan(pipeline, file, home), home):
            yield home
