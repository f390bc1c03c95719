"""Kubernetes Events: what happened to a pipeline, for `kubectl describe`."""

import logging
from datetime import UTC, datetime

from recpipe_operator.api import Api, ApiError, Object
from recpipe_operator.settings import FIELD_MANAGER

log = logging.getLogger(__name__)

LENGTH = 1_000
"""An Event's message is refused from 1 KiB."""


async def post(api: Api, resource: Object, kind: str, reason: str, message: str) -> None:
    """One Event; a failure is only logged, as nothing depends on it."""
    metadata = resource["metadata"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}.", "name": "", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "type": kind,
        "reason": reason,
        "message": message[:LENGTH],
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        await api.create(event)
    except ApiError as error:
        log.warning("no Event %s for %s: %s", reason, metadata["name"], error)
