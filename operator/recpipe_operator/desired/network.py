"""Who may call whom: each part takes connections from those that need it, and from nobody else."""

import re
from urllib.parse import urlsplit

from recpipe_operator.desired.common import (
    GATEWAY_PORT,
    METRICS_PORT,
    MODEL_PORT,
    REST_PORT,
    STORE_PORT,
    Context,
    Object,
)
from recpipe_operator.settings import PIPELINE

INSIDE: Object = {"namespaceSelector": {}}
"""Any pod of the cluster."""


def network(context: Context) -> list[Object]:
    ours = {"podSelector": {"matchLabels": {PIPELINE: context.pipeline.name}}}
    gateway = {"podSelector": {"matchLabels": context.selector("gateway")}}
    policies = [
        _policy(context, "gateway", [_from([], GATEWAY_PORT)]),
        _policy(context, "learner", [_from([INSIDE], METRICS_PORT)]),
        _policy(context, "serving", [_from([gateway], MODEL_PORT), _from([INSIDE], REST_PORT)]),
    ]
    if context.managed_store:
        # It has no password, as function workers could not be told one: this policy keeps others out.
        callers = [ours, _namespace(context.settings.namespace), *_function_workers(context)]
        policies.append(_policy(context, "store", [_from(callers, STORE_PORT)], calls_nobody=True))
    return policies


def _policy(context: Context, part: str, ingress: list[Object], *, calls_nobody: bool = False) -> Object:
    spec = {
        "podSelector": {"matchLabels": context.selector(part)},
        "policyTypes": ["Ingress", "Egress"] if calls_nobody else ["Ingress"],
        "ingress": ingress,
    }
    return context.object("networking.k8s.io/v1", "NetworkPolicy", part, spec=spec)


def _from(peers: list[Object], port: int) -> Object:
    return {"ports": [{"protocol": "TCP", "port": port}], **({"from": peers} if peers else {})}


def _namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _function_workers(context: Context) -> list[Object]:
    """The namespace of Pulsar, which its URL tells; any pod of the cluster where it does not."""
    host = urlsplit(context.pipeline.spec.pulsar.admin_url).hostname or ""
    found = re.fullmatch(r"[a-z0-9-]+(?:\.([a-z0-9-]+)(?:\.svc(?:\.[a-z0-9.-]+)?)?)?", host)
    return [_namespace(found[1] or context.namespace)] if found else [INSIDE]
