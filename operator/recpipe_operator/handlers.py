"""kopf's part: it watches pipelines and their objects, and every handler does no more than wake a loop.

Only objects that bear our label are asked for, so that a large cluster costs nothing.
"""

from collections.abc import Iterable
from typing import Any

import kopf

from recpipe_operator.api import Object
from recpipe_operator.loops import Loops
from recpipe_operator.settings import GROUP, PIPELINE, PLURAL, VERSION

WATCHED: tuple[tuple[str, str] | tuple[str, str, str], ...] = (
    ("v1", "pods"),
    ("v1", "configmaps"),
    ("v1", "services"),
    ("v1", "persistentvolumeclaims"),
    ("apps", "v1", "deployments"),
    ("apps", "v1", "statefulsets"),
    ("batch", "v1", "cronjobs"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("autoscaling", "v2", "horizontalpodautoscalers"),
    ("networking.k8s.io", "v1", "networkpolicies"),
    ("networking.k8s.io", "v1", "ingresses"),
)
INDEX = "objects"
INACTIVE_SECONDS = 70.0


class Objects:
    """The newest known state of every object of every pipeline; kopf keeps it."""

    def __init__(self) -> None:
        self._index: kopf.Index[tuple[str, str], Object] | None = None

    def fill_from(self, index: "kopf.Index[tuple[str, str], Object]") -> None:
        self._index = index

    def of(self, namespace: str, pipeline: str) -> Iterable[Object]:
        """Objects of one pipeline."""
        key = (namespace, pipeline)
        return tuple(self._index[key]) if self._index is not None and key in self._index else ()


def register(registry: kopf.OperatorRegistry, loops: Loops, objects: Objects) -> kopf.OperatorSettings:
    """Registers all handlers; the settings to run kopf with."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # kopf's log messages are no Events of a pipeline
    settings.scanning.disabled = True  # no watch of CRDs and namespaces: what is watched is known
    settings.peering.standalone = True  # a Lease says who leads
    settings.watching.inactivity_timeout = INACTIVE_SECONDS
    settings.watching.chunk_size = 200
    settings.networking.request_timeout = 30.0

    @kopf.on.startup(registry=registry)
    async def started(objects_index: Any = None, **known: Any) -> None:
        objects.fill_from(known[INDEX])

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def pipeline_changed(event: Any, body: kopf.Body, **_: Any) -> None:
        resource = plain(body)
        if event["type"] == "DELETED":
            loops.gone(resource)
        else:
            loops.seen(resource)

    for where in WATCHED:
        settings.watching.label_selectors[where] = PIPELINE

        @kopf.index(*where, id=INDEX, labels={PIPELINE: kopf.PRESENT}, registry=registry)
        async def remembered(body: kopf.Body, **_: Any) -> dict[tuple[str, str], Object]:
            return {_pipeline_of(body): plain(body)}

        @kopf.on.event(*where, labels={PIPELINE: kopf.PRESENT}, registry=registry)
        async def object_changed(body: kopf.Body, **_: Any) -> None:
            loops.touched(_pipeline_of(body))

    return settings


def plain(body: Any) -> Object:
    """As the API gave it, without the record of who set which field, which is most of it."""
    found = {name: body[name] for name in body}
    found["metadata"] = {
        name: value for name, value in dict(body["metadata"]).items() if name != "managedFields"
    }
    return found


def _pipeline_of(body: Any) -> tuple[str, str]:
    metadata = body["metadata"]
    return metadata["namespace"], metadata["labels"][PIPELINE]
