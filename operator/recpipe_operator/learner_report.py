"""What the learner says of itself, which it leaves in the store; and what is deleted there with a pipeline."""

import asyncio
import time
from base64 import b64decode

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recpipe.spec import Serving
from recpipe.status import LearnerStatus
from recpipe.store import Keys, connect
from recpipe_operator.api import Api, Reference
from recpipe_operator.conditions import Finding
from recpipe_operator.desired.common import Context
from recpipe_operator.objects import Problem

READ_SECONDS = 3.0
FORGET_SECONDS = 60.0
BATCH = 1_000
SILENT_SECONDS = 30.0
BEHIND_SECONDS = 60.0
STALE_INTERVALS = 3
SHORTEST_STALE_SECONDS = 300.0


async def learner_status(api: Api, context: Context) -> LearnerStatus | Finding:
    """The newest report; or why there is none."""
    try:
        async with asyncio.timeout(READ_SECONDS), await _store(api, context) as store:
            found = await store.get(Keys(context.pipeline.name).learner)
            return msgspec.json.decode(found, type=LearnerStatus) if found else LearnerStatus()
    except (RedisError, OSError, TimeoutError, ValueError) as error:
        message = f"the store does not answer the operator ({type(error).__name__}); see its pod or URL"
        return Finding.unknown("StoreUnreachable", message)


async def forget(api: Api, context: Context) -> int:
    """Deletes everything that a pipeline has in the store; raises RedisError, OSError or TimeoutError."""
    deleted = 0
    async with asyncio.timeout(FORGET_SECONDS), await _store(api, context) as store:
        batch: list[bytes] = []
        async for key in store.scan_iter(match=Keys(context.pipeline.name).all, count=BATCH):
            batch.append(key)
            if len(batch) == BATCH:
                deleted += await store.unlink(*batch)
                batch = []
        if batch:
            deleted += await store.unlink(*batch)
    return deleted


async def _store(api: Api, context: Context) -> Redis:
    url, secret = context.store_url, context.pipeline.spec.store.url_secret
    if secret:
        found = await api.get(Reference("v1", "Secret", context.namespace, secret))
        if found is None or "url" not in (found.get("data") or {}):
            raise ValueError("no Secret with the store's URL")
        url = b64decode(found["data"]["url"]).decode().strip()
    return connect(url or "", answer_seconds=READ_SECONDS, retries=0)


def missing_versions(report: LearnerStatus | Finding, serving: Serving) -> list[Problem]:
    """Versions that the spec names and that were dropped, or never were."""
    if isinstance(report, Finding) or not report.versions:
        return []
    kept = ", ".join(map(str, report.versions))
    return [
        Problem(
            "VersionMissing",
            f"spec.serving names version {version}, but kept are {kept}: name one of those, or none",
        )
        for version in sorted(serving.named_versions - set(report.versions))
    ]


def model_fresh(report: LearnerStatus | Finding, publish_seconds: float, now: float | None = None) -> Finding:
    """Whether what is served is near what is known: the learner reports, is in time, and publishes."""
    if isinstance(report, Finding):
        return report
    now = time.time() if now is None else now
    if report.reported_at == 0:
        return Finding.unknown("NoReport", "the learner has not reported yet")
    if (silent := now - report.reported_at) > SILENT_SECONDS:
        return Finding.false("LearnerSilent", f"no report from the learner for {silent:.0f} s; see its pod")
    if report.model_version == 0:
        message = (
            f"no model version yet: {report.learned} events learned; the first comes after the first events"
        )
        return Finding.false("NoModelYet", message)
    if report.lag_seconds > BEHIND_SECONDS:
        message = f"the learner is {report.lag_seconds:.0f} s behind; give it CPU with spec.model.resources"
        return Finding.false("LearnerBehind", message)
    stale = max(STALE_INTERVALS * publish_seconds, SHORTEST_STALE_SECONDS)
    if report.events_per_second > 0 and (age := now - report.published_at) > stale:
        message = (
            f"version {report.model_version} is {age:.0f} s old while events arrive; see the learner's log"
        )
        return Finding.false("PublishingFails", message)
    return Finding.true("VersionPublished", f"version {report.model_version}")


def drifted(report: LearnerStatus | Finding) -> Finding:
    if isinstance(report, Finding):
        return report
    if report.reported_at == 0:
        return Finding.unknown("NoReport", "the learner has not reported yet")
    if report.drifted:
        return Finding.true("DriftDetected", f"{report.drift_reason}; see spec.model.retrainSchedule")
    return Finding.false("Stable", "quality and traffic are as they were")
