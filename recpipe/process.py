"""What every part's process does alike: logging, metrics, signals, the event loop."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import uvloop
from prometheus_client import start_http_server


def run(
    main: Callable[[asyncio.Event], Awaitable[None]], *, part: str, metrics_port: int | None = None
) -> None:
    """Runs one part until SIGTERM or SIGINT sets its stop event; serves metrics where a port is given."""
    logging.basicConfig(
        level=os.environ.get("RECPIPE_LOG_LEVEL", "INFO"),
        format=f"%(asctime)s %(levelname)-7s {part} %(message)s",
        stream=sys.stderr,
    )
    if metrics_port is not None:
        start_http_server(metrics_port, addr=os.environ.get("RECPIPE_METRICS_ADDRESS", "127.0.0.1"))

    async def supervised() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        await main(stop)

    # What was imported lives as long as the process: each visit of all of it takes tens of milliseconds.
    gc.freeze()
    uvloop.run(supervised())
