"""The server's parts put together: from flags to a drained exit."""

import argparse
import gc
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from recpipe_model.client import VersionState

from .config import ModelConfig, max_batch_rows, read_config_file
from .grpc_server import GrpcServer
from .http_server import HttpServer
from .metrics import Metrics
from .predictor import Predictor
from .rest import RestApi
from .servable import Servable
from .status import StatusError
from .store import ModelStore
from .versions import Version
from .warmup import warm_up

_log = logging.getLogger(__name__)

_SWITCH_SECONDS = 0.0005
"""A tenth of Python's own: while a version loads, each request waits so long for the interpreter, more than once."""


def serve(flags: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT, and end the process; returns its exit status if it cannot start."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    sys.setswitchinterval(_SWITCH_SECONDS)
    metrics = Metrics()

    def load(version: Version[Servable]) -> Servable:
        started = time.perf_counter()
        code = "OK"
        try:
            return _load(version.path, flags.tensorflow_intra_op_parallelism)
        except StatusError as error:
            code = error.code.name
            raise
        finally:
            metrics.load(version.model, code, time.perf_counter() - started)

    def changed(version: Version[Servable]) -> None:
        if version.state is VersionState.AVAILABLE:
            metrics.available(version.model, version.number)
        elif version.state is VersionState.END:
            metrics.ended(version.model, version.number)
        grpc_server.report_health(store.ready())

    store = ModelStore(
        load,
        poll_seconds=flags.file_system_poll_wait_seconds,
        max_load_retries=flags.max_num_load_retries,
        retry_seconds=flags.load_retry_interval_micros / 1e6,
        on_change=changed,
    )
    predictor = Predictor(store, metrics)
    grpc_server = GrpcServer(
        predictor,
        store,
        workers=flags.grpc_workers,
        max_requests=flags.max_requests,
        label_unavailable=flags.allow_version_labels_for_unavailable_models,
        options=flags.grpc_channel_arguments,
    )
    http_server = None
    try:
        configs = _configs(flags)
        grpc_port = grpc_server.start(f"{flags.bind}:{flags.port}")
        if flags.rest_api_port is not None:
            http_server = HttpServer(
                (flags.bind, flags.rest_api_port),
                RestApi(predictor, metrics).answer,
                max_connections=flags.rest_api_num_threads,
                timeout=flags.rest_api_timeout_in_ms / 1e3,
            )
            http_server.start()
    except (StatusError, OSError, RuntimeError) as error:  # gRPC raises RuntimeError for a port in use
        _log.error("cannot start: %s", error)
        return 1
    store.start(configs)
    rest_port = None if http_server is None else http_server.port
    _log.info("listening on %s: gRPC port %d, REST port %s", flags.bind, grpc_port, rest_port)
    if flags.ready_file is not None:
        _announce(flags.ready_file, {"pid": os.getpid(), "grpc_port": grpc_port, "rest_port": rest_port})
    # TensorFlow's million objects live as long as the process: collecting garbage need not visit them.
    gc.freeze()

    stop.wait()
    _log.info("stopping: %s seconds for the requests in progress", flags.drain_seconds)
    deadline = time.monotonic() + flags.drain_seconds
    grpc_server.stop(flags.drain_seconds)
    if http_server is not None:
        http_server.stop(max(deadline - time.monotonic(), 0.0))
    if flags.ready_file is not None:
        flags.ready_file.unlink(missing_ok=True)
    store.close(timeout=max(deadline - time.monotonic(), 0.0))
    logging.shutdown()
    # The interpreter's own exit would wait for whatever a model still computes past the deadline.
    os._exit(0)


def _load(path: Path, intra_op_threads: int) -> Servable:
    servable = Servable(path, intra_op_threads=intra_op_threads, max_batch_rows=max_batch_rows(path))
    try:
        warm_up(servable, path)
    except StatusError:
        servable.close()
        raise
    return servable


def _configs(flags: argparse.Namespace) -> list[ModelConfig]:
    if flags.model_config_file is not None:
        return read_config_file(flags.model_config_file)
    return [ModelConfig(flags.model_name, flags.model_base_path)]


def _announce(path: Path, content: dict[str, int | None]) -> None:
    """Write the ready file, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(content))
    draft.replace(path)
