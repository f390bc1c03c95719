"""The store that the operator runs where none is given: one Valkey that logs every write."""

from recpipe.spec import Resources
from recpipe_operator.desired.common import STORE_PORT, Context, Object, container, pod, service
from recpipe_operator.quantity import mebibytes

FREE_SHARE = 0.25
"""Of the memory limit, for what Valkey needs beside its data while it rewrites its log."""


def store(context: Context) -> list[Object]:
    managed = context.managed_store
    if managed is None:
        return []
    limit = mebibytes(managed.memory)
    probe = {"exec": {"command": ["valkey-cli", "ping"]}, "timeoutSeconds": 3, "periodSeconds": 5}
    valkey = container(
        "valkey",
        managed.image,
        context,
        Resources(cpu="250m", memory=managed.memory),
        {"redis": STORE_PORT},
        mounts={},
        writable={"data": "/data"},
        command=["valkey-server"],
        args=[
            *("--port", str(STORE_PORT), "--dir", "/data", "--protected-mode", "no"),
            # Written to the log before each answer, synced each second.
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            *("--maxmemory", f"{int(limit * (1 - FREE_SHARE))}mb", "--maxmemory-policy", "noeviction"),
        ],
        startupProbe=probe | {"failureThreshold": 60},  # a log of a gigabyte takes a minute to read
        readinessProbe=probe | {"failureThreshold": 3},
        livenessProbe=probe | {"failureThreshold": 6},
    )
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": context.name("store")}}]
    spec = {
        "replicas": 1,
        "serviceName": context.name("store"),
        "selector": {"matchLabels": context.selector("store")},
        "template": pod(context, "store", [valkey], volumes, {}),
    }
    return [
        service(context, "store", {"redis": STORE_PORT}),
        context.object("apps/v1", "StatefulSet", "store", spec=spec),
    ]
