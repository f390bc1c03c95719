"""One leader among the operator's replicas: a Lease, by the official client's election.

kopf's peering is no lease: peers that do not see each other both go on.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, ApiException, V1Lease, V1ObjectMeta
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from recpipe_operator import metrics

log = logging.getLogger(__name__)

LEASE = "recpipe-operator"
LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS = 15, 10, 2
REQUEST_SECONDS = 4.0
"""Short of the deadline by far: a leader whose request hangs must notice that it is none any more."""


class Lock(LeaseLock):
    """The client's lock with a deadline for each request, and outages taken for refusals."""

    async def get(self, name: str, namespace: str) -> Any:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await super().get(name, namespace)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return False, ApiException(status=0, reason=str(error) or type(error).__name__)

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        """The client's own passes an argument that its API does not take (`pretty`, in 37.0)."""
        spec = self.update_lease(election_record)
        lease = V1Lease(metadata=V1ObjectMeta(name=name), spec=spec)

        async def created() -> bool:
            try:
                await self.api_instance.create_namespaced_lease(namespace, lease)
            except ApiException as error:
                log.warning("the lease could not be made: %s", error.reason)
                return False
            return True

        return await _answered(created())

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        return await _answered(super().update(name, namespace, updated_record))

    async def release(self) -> None:
        """Lets another replica lead at once, where this one still holds the lease."""
        await self.get(self.name, self.namespace)  # what is remembered is from before the last renewal
        lease = self.lease_reference
        if lease is None or lease.spec is None or lease.spec.holder_identity != self.identity:
            return
        lease.spec.holder_identity = ""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                await self.api_instance.replace_namespaced_lease(self.name, self.namespace, lease)
        except (ApiException, aiohttp.ClientError, OSError, TimeoutError) as error:
            log.info("the lease was not released and runs out by itself: %s", error)


async def _answered(request: Coroutine[Any, Any, bool]) -> bool:
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return await request
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        log.warning("the lease could not be written: %s", str(error) or type(error).__name__)
        return False


async def lead(
    client: ApiClient,
    namespace: str,
    identity: str,
    stop: asyncio.Event,
    work: Callable[[], Coroutine[Any, Any, None]],
) -> bool:
    """Works while this replica leads, until `stop` or the end of the work; False where the lease was lost."""
    lock = Lock(LEASE, namespace, identity, client)
    working: list[asyncio.Task[None]] = []
    ended = asyncio.Event()

    async def started() -> None:
        metrics.LEADER.set(1)
        log.info("%s leads", identity)
        working.append(asyncio.ensure_future(work()))
        try:
            await asyncio.wait(working)
        finally:
            ended.set()

    async def stopped() -> None:
        log.error("%s has lost the lease", identity)

    election = asyncio.create_task(
        LeaderElection(Config(lock, LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, started, stopped)).run()
    )
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(ended.wait())]
    await asyncio.wait([election, *waits], return_when=asyncio.FIRST_COMPLETED)
    lost = election.done()
    metrics.LEADER.set(0)
    for task in (*working, election, *waits):
        task.cancel()
    await asyncio.gather(*working, election, *waits, return_exceptions=True)
    if not lost:
        await lock.release()
    for task in (*working, election):
        if not task.cancelled() and (error := task.exception()):
            raise error
    return not lost
