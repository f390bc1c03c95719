"""The client stays light, and says which argument is wrong before anything is sent."""

import asyncio
import subprocess
import sys

import numpy as np
import pytest

from recpipe_model.client import AsyncPredictClient, PredictClient, Unavailable

NOWHERE = "127.0.0.1:1"


def test_importing_it_does_not_import_tensorflow():
    code = "import sys, recpipe_model.client as c; print(*{m.partition('.')[0] for m in sys.modules})"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert not {"tensorflow", "tensorflow_serving", "keras", "numba"} & set(modules.stdout.split())


def test_it_can_live_in_a_process_with_the_generated_modules_for_the_same_messages():
    code = "import recpipe_model.client\nimport tensorflow_serving.apis.model_pb2\nimport recpipe_model.server.wire"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"inputs": {"x": [[1], [1, 2]]}}, "input 'x'"),
        ({"timeout": 0}, "timeout must be more than 0 seconds, not 0"),
        ({"version": 1, "label": "stable"}, r"version \(1\) or a label \('stable'\)"),
    ],
)
def test_a_wrong_argument_is_named(arguments, problem):
    arguments = {"inputs": {"x": np.ones(3)}, "timeout": 1} | arguments
    with PredictClient(NOWHERE) as client, pytest.raises(ValueError, match=problem):
        client.predict("m", "", **arguments)


def test_a_server_that_is_not_there_is_unavailable():
    with PredictClient(NOWHERE) as client, pytest.raises(Unavailable):
        client.predict("m", "", {}, timeout=5)

    async def call():
        async with AsyncPredictClient(NOWHERE) as client:
            await client.predict("m", "", {}, timeout=5)

    with pytest.raises(Unavailable):
        asyncio.run(call())
