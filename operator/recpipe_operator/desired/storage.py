"""Volumes for what must outlive pods, and the resource as pods read it.

Claims have no owner: they are deleted by name, and only under `deletionPolicy: Delete`.
"""

from recpipe_operator.desired.common import Context, Object, config_map, pipeline_file


def storage(context: Context) -> list[Object]:
    spec = context.pipeline.spec
    wanted = spec.model.storage
    managed = context.managed_store
    return [
        config_map(context, "pipeline", {"pipeline.yaml": pipeline_file(context)}),
        _claim(context, "models", wanted.size, wanted.access_mode, wanted.storage_class),
        _claim(context, "checkpoints", CHECKPOINTS, "ReadWriteOnce", wanted.storage_class),
        *(
            [_claim(context, "store", managed.storage, "ReadWriteOnce", wanted.storage_class)]
            if managed
            else []
        ),
    ]


CHECKPOINTS = "5Gi"
"""Two checkpoints and one being written: 2 GiB a million items of 64 dimensions."""


def _claim(context: Context, part: str, size: str, access_mode: str, storage_class: str | None) -> Object:
    return context.object(
        "v1",
        "PersistentVolumeClaim",
        part,
        kept=True,
        spec={
            "accessModes": [access_mode],
            "resources": {"requests": {"storage": size}},
            **({"storageClassName": storage_class} if storage_class else {}),
        },
    )
