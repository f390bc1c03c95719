"""The whole pipeline as one program on a real Pulsar: an event over HTTP changes what is recommended."""

import asyncio
import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from recpipe.client import Client
from recpipe.local.home import Home, NotRunningError
from recpipe.pulsar import Admin
from recpipe.spec import Pulsar
from recpipe.state import UserState
from recpipe.store import Keys, connect

PIPELINE = """\
apiVersion: recpipe.dev/v1alpha1
kind: RecommenderPipeline
metadata: {{name: {name}}}
spec:
  events: {{partitions: 2}}
  pulsar: {{namespace: {namespace}}}
"""
PATIENCE_SECONDS = 150.0


def event(user: str, item: str) -> bytes:
    moment = datetime.now(UTC).isoformat()
    return json.dumps({"user_id": user, "event_type": "click", "timestamp": moment, "item_id": item}).encode()


async def endpoints_of(home: Home, process: asyncio.subprocess.Process) -> None:
    """Waits until the program says that it is up."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while process.returncode is None:
            with suppress(NotRunningError):
                home.endpoints()
                return
            await asyncio.sleep(0.2)
    raise AssertionError(f"ended with {process.returncode}")


@pytest.mark.slow
async def test_an_event_over_http_changes_what_is_recommended(
    cluster: Pulsar, namespace: str, admin: Admin, tmp_path: Path
) -> None:
    name = "whole-run"
    file, home = tmp_path / "pipeline.yaml", Home(tmp_path / "home")
    file.write_text(PIPELINE.format(name=name, namespace=namespace))
    command = [sys.executable, "-m", "recpipe.cli", "run", "--pipeline", str(file), "--home", str(home.path)]
    command += [
        "--bus",
        "pulsar",
        "--pulsar-url",
        cluster.service_url,
        "--pulsar-admin-url",
        cluster.admin_url,
    ]
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await endpoints_of(home, process)
        running = await admin.functions.all(cluster.tenant, namespace)
        assert sorted(running) == [f"{name}-clean", f"{name}-features"]
        async with Client(home.endpoints().gateway, home.key("private")) as client:
            history = [event(f"user-{n}", item) for n in range(20) for item in ("lamp", "shade", "bulb")]
            async for sent in client.send(history):
                assert (sent.accepted, sent.rejected) in {(len(history), 0)}
            answer: dict[str, Any] = {}
            async for _ in client.send([event("ann", "lamp")]):
                pass
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not {"shade", "bulb"} <= {each["item_id"] for each in answer.get("items", ())}:
                    answer = await client.recommendations("ann", 5)
                    await asyncio.sleep(0.05)
            assert answer["events"] == 1
        async with connect(home.endpoints().store) as store:
            state = UserState.decode(await store.get(Keys(name).state("ann")))
        assert [touch.item_id for touch in state.history()] == ["lamp"]
    finally:
        if process.returncode is None:
            process.terminate()
        code = await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)
    assert code == 0
    assert await admin.functions.all(cluster.tenant, namespace) == []
