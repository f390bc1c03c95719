"""The operator's process: `python -m recpipe_operator` in a pod, or with `--kubeconfig` anywhere.

Settings are environment variables: RECPIPE_IMAGE_GATEWAY, RECPIPE_IMAGE_LEARNER, RECPIPE_IMAGE_SERVING,
RECPIPE_IMAGE_PULL_POLICY, RECPIPE_IMAGE_PULL_SECRETS (names, comma-separated), RECPIPE_FUNCTIONS_PACKAGE (the zip of
`recpipe functions package`), RECPIPE_FUNCTIONS_STORE (where functions find the URL of a store in a Secret:
`secret:RECPIPE_STORE_URL` on Pulsar's Kubernetes runtime, which is the default, else `env:NAME` or `file:PATH` of the
workers), RECPIPE_NAMESPACES (comma-separated; all if empty),
RECPIPE_OPERATOR_NAMESPACE, RECPIPE_RESYNC_SECONDS, RECPIPE_DELETION_GRACE_SECONDS, RECPIPE_LOG_LEVEL.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys

import kopf
import uvloop
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException

from recpipe_operator.api import Api, configuration
from recpipe_operator.handlers import Objects, register
from recpipe_operator.leader import lead
from recpipe_operator.loops import Loops
from recpipe_operator.reconcile import Reconciler
from recpipe_operator.server import listening
from recpipe_operator.settings import Settings

USAGE_ERROR, LEASE_LOST = 2, 3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m recpipe_operator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m recpipe_operator --kubeconfig ~/.kube/config",
    )
    parser.add_argument("--kubeconfig", help="instead of the pod's service account")
    parser.add_argument("--bind", default="0.0.0.0", help="of probes and metrics (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8081, help="of probes and metrics (default: %(default)s)")
    parser.add_argument(
        "--identity",
        default=socket.gethostname(),
        help="of this replica in the Lease (default: the host's name)",
    )
    return parser.parse_args()


async def main(given: argparse.Namespace, settings: Settings) -> int:
    """Waits for its turn to lead, and leads until it is stopped; the exit code."""
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    found = await configuration(given.kubeconfig)
    async with listening(given.bind, given.port), ApiClient(found) as client:

        async def work() -> None:
            await operate(client, found, settings, stop)

        led = await lead(client, settings.namespace, given.identity, stop, work)
    return 0 if led else LEASE_LOST


async def operate(client: ApiClient, found: Configuration, settings: Settings, stop: asyncio.Event) -> None:
    """Runs kopf and the loops until `stop`."""
    api, objects = Api(client), Objects()
    reconciler = Reconciler(api, objects.of, settings)
    loops = Loops(reconciler.reconcile)
    registry = kopf.OperatorRegistry()
    kopf_settings = register(registry, loops, objects)

    @kopf.on.login(registry=registry)
    async def login(**_: object) -> kopf.ConnectionInfo:
        token = (await found.auth_settings()).get("BearerToken", {}).get("value", "")
        return kopf.ConnectionInfo(
            server=found.host,
            ca_path=found.ssl_ca_cert,
            certificate_path=found.cert_file,
            private_key_path=found.key_file,
            scheme="Bearer" if token else None,
            token=(token or "").split(" ", 1)[-1] or None,
        )

    try:
        await kopf.operator(
            registry=registry,
            settings=kopf_settings,
            clusterwide=not settings.watched,
            namespaces=list(settings.watched),
            stop_flag=stop,
        )
    finally:
        await reconciler.close()


def run() -> int:
    given = arguments()
    logging.basicConfig(
        level=os.environ.get("RECPIPE_LOG_LEVEL", "INFO"),
        format="%(asctime)s %(levelname)-7s operator %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return uvloop.run(main(given, Settings.of(os.environ)))
    except (ValueError, OSError, ConfigException) as error:
        sys.stderr.write(f"recpipe_operator: {error}\n")
        return USAGE_ERROR


if __name__ == "__main__":
    sys.exit(run())
