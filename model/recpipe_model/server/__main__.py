"""`python -m recpipe_model.server`: TensorFlow Serving's API on one machine, under TensorFlow Serving's flags."""

import argparse
import ctypes
import logging
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from recpipe.priority import take_turns

_TCMALLOC = "libtcmalloc_minimal.so.4"


def parse_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """Flags are named as tensorflow_model_server's where those exist; underscores and dashes are the same."""
    parser = argparse.ArgumentParser(prog="python -m recpipe_model.server", description=__doc__)
    model = parser.add_argument_group("models")
    model.add_argument("--model-name", default="default", help="name of the only model")
    model.add_argument("--model-base-path", type=_path, help="its directory, of integer version directories")
    model.add_argument(
        "--model-config-file",
        type=_path,
        help="a ModelServerConfig in text format, instead of the two above: several models, policies, labels",
    )
    model.add_argument(
        "--file-system-poll-wait-seconds",
        type=_at_least(float, 0),
        default=1.0,
        help="between looks for new versions; 0 looks once (default: %(default)s)",
    )
    model.add_argument(
        "--max-num-load-retries",
        type=_at_least(int, 0),
        default=5,
        help="for a version that fails to load (default: %(default)s)",
    )
    model.add_argument(
        "--load-retry-interval-micros",
        type=_at_least(int, 0),
        default=60_000_000,
        help="between those (default: %(default)s)",
    )
    model.add_argument(
        "--allow-version-labels-for-unavailable-models",
        type=_boolean,
        nargs="?",
        const=True,
        default=False,
        help="let a configuration reload put a new label on a version that has yet to load",
    )
    listen = parser.add_argument_group("listening")
    listen.add_argument("--bind", default="127.0.0.1", help="address (default: %(default)s)")
    listen.add_argument(
        "--port", type=_port, default=8500, help="gRPC; 0 takes a free port (default: %(default)s)"
    )
    listen.add_argument("--rest-api-port", type=_port, help="REST; 0 takes a free port (default: no REST)")
    listen.add_argument(
        "--monitoring-config-file",
        type=_path,
        help="taken for compatibility: metrics are always at /monitoring/prometheus/metrics of the REST port",
    )
    listen.add_argument(
        "--ready-file", type=_path, help="written once listening: JSON with the ports and the pid"
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--grpc-workers",
        type=_at_least(int, 1),
        default=min(len(os.sched_getaffinity(0)), 2) if sys.platform == "linux" else 2,
        help="threads that run models for gRPC (default: %(default)s, one on one core)",
    )
    limits.add_argument(
        "--max-requests",
        type=_at_least(int, 1),
        default=512,
        help="Predict requests running or waiting, above which one is refused (default: %(default)s)",
    )
    limits.add_argument(
        "--grpc-channel-arguments",
        type=_channel_arguments,
        default=[],
        help="such as grpc.max_connection_age_ms=2000, separated by commas",
    )
    limits.add_argument(
        "--rest-api-num-threads",
        type=_at_least(int, 1),
        default=32,
        help="REST connections, above which connections are refused (default: %(default)s)",
    )
    limits.add_argument(
        "--rest-api-timeout-in-ms",
        type=_at_least(int, 1),
        default=30_000,
        help="for a REST request to arrive (default: %(default)s)",
    )
    limits.add_argument(
        "--tensorflow-intra-op-parallelism",
        type=_at_least(int, 1),
        default=1,
        help="threads for one operation of a model (default: %(default)s)",
    )
    limits.add_argument(
        "--drain-seconds",
        type=_at_least(float, 0),
        default=10.0,
        help="after SIGTERM, for the requests in progress (default: %(default)s)",
    )
    flags = parser.parse_args([_dashed(argument) for argument in arguments])
    if flags.model_base_path is None and flags.model_config_file is None:
        parser.error("give --model-base-path or --model-config-file")
    return flags


def main() -> int:
    flags = parse_flags(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _use_tcmalloc()
    # A sixth less CPU time a call, measured with grpcio 1.85; versions that lack the choice only say so in the log.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    if flags.grpc_workers == 1:
        # The worker shares its core with the threads that take requests: what comes meanwhile is taken after, together.
        take_turns()
    from .app import serve  # imported late: gRPC reads that then, and --help need not wait for TensorFlow

    return serve(flags)


def _use_tcmalloc() -> None:
    """Starts this process anew with tcmalloc, where that is installed.

    A graph of small operations allocates all the time: a fifth less for 500 of them than with glibc's, measured.
    """
    if "LD_PRELOAD" in os.environ or not sys.platform.startswith("linux"):
        return
    try:
        ctypes.CDLL(_TCMALLOC)
    except OSError:
        logging.getLogger(__name__).info("%s is not installed: requests take longer without", _TCMALLOC)
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"LD_PRELOAD": _TCMALLOC})  # noqa: S606


def _dashed(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


def _path(text: str) -> Path:
    return Path(text).absolute()


def _boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give 0 to 65535")
    return int(text)


def _at_least(kind: Callable[[str], float], least: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is out of range: give {least} or more")
        return value

    return parse


def _channel_arguments(text: str) -> list[tuple[str, int | str]]:
    options: list[tuple[str, int | str]] = []
    for item in filter(None, text.split(",")):
        name, equals, value = item.partition("=")
        if not equals:
            raise argparse.ArgumentTypeError(f"{item!r} is not of the form name=value")
        options.append((name, int(value) if value.lstrip("-").isdigit() else value))
    return options


if __name__ == "__main__":
    sys.exit(main())
