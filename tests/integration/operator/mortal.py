"""An operator that is killed between every two writes: `python mortal.py ARGUMENTS OF THE OPERATOR`.

Every life is a fork of a process that has imported everything: it makes one write, to Kubernetes' objects or to
Pulsar, and is killed when it comes to its second. What a life wrote is a line of standard output.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from recpipe.pulsar.rest import Rest
from recpipe_operator import __main__ as operator
from recpipe_operator.api import Api

Send = Callable[..., Awaitable[Any]]


def live() -> None:
    """One life."""
    begun, done = False, asyncio.Event()

    def mortal(send: Send) -> Send:
        async def sent(self: object, method: str, path: str, *arguments: Any, **named: Any) -> Any:
            nonlocal begun
            if method == "GET":
                return await send(self, method, path, *arguments, **named)
            if begun:
                await done.wait()
                os.kill(os.getpid(), signal.SIGKILL)
            begun = True
            try:
                return await send(self, method, path, *arguments, **named)
            finally:
                print(method, path, flush=True)
                done.set()

        return sent

    Api._send = mortal(Api._send)  # type: ignore[method-assign]
    Rest._send_to_owner = mortal(Rest._send_to_owner)  # type: ignore[method-assign]
    os._exit(operator.run())


def main() -> None:
    children: list[int] = []

    def end(*_: object) -> None:
        for child in children:
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    while True:
        if (child := os.fork()) == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            live()
        children[:] = [child]
        _, status = os.waitpid(child, 0)
        children.clear()
        if not os.WIFSIGNALED(status):
            sys.exit(f"a life ended by itself: {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
