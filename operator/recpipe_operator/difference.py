"""Whether an object that is there has all that is wanted of it.

Fields that others set (the API server's defaults, an autoscaler's replicas, injected containers) make no
difference, and neither does the way in which a quantity is written.
"""

from typing import Any

from recpipe_operator import quantity

QUANTITIES = {"cpu", "memory", "storage"}
KEYS = {
    "containers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "topologySpreadConstraints": ("topologyKey",),
    "ownerReferences": ("uid",),
}
"""Lists to which others may add elements, as server-side apply has it; all others are ours whole."""


def agrees(wanted: Any, found: Any, field: str = "") -> bool:
    """Whether `found` has everything of `wanted`; `field` is the name of the field that holds them."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return not wanted and found is None
        return all(agrees(value, found.get(name), name) for name, value in wanted.items())
    if isinstance(wanted, list):
        return _lists_agree(wanted, found or [], field)
    if field in QUANTITIES and isinstance(wanted, str) and isinstance(found, str):
        return quantity.parse(wanted) == quantity.parse(found)
    return bool(wanted == found)


def _lists_agree(wanted: list[Any], found: list[Any], field: str) -> bool:
    if field not in KEYS:
        return len(wanted) == len(found) and all(map(agrees, wanted, found))
    (key,) = KEYS[field]
    by_key = {each.get(key): each for each in found}
    return all(agrees(each, by_key.get(each[key])) for each in wanted)
