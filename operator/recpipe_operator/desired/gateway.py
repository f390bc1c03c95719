"""The edge: stateless replicas behind a Service, and where it is wanted an Ingress."""

from recpipe_operator.desired.common import (
    GATEWAY_PORT,
    KEYS,
    MODEL_PORT,
    Context,
    Object,
    autoscaler,
    container,
    disruption_budget,
    http_probe,
    pipeline_annotations,
    pipeline_arguments,
    pipeline_environment,
    pipeline_mounts,
    pipeline_volumes,
    pod,
    service,
    spread,
)

STARTS_WITHIN = 3_600
"""Seconds: a Pulsar or store that is away at the start is no reason to start again."""


def gateway(context: Context) -> list[Object]:
    spec = context.pipeline.spec.gateway
    keys = context.keys_secret if spec.authentication.enabled else None
    environment = [
        *pipeline_environment(context),
        *([{"name": "RECPIPE_KEYS_DIR", "value": KEYS}] if keys else []),
    ]
    target = f"dns:///{context.name('serving')}.{context.namespace}:{MODEL_PORT}"
    main = container(
        "gateway",
        context.settings.images.gateway,
        context,
        spec.resources,
        {"http": GATEWAY_PORT},
        mounts=pipeline_mounts(context) | ({"keys": KEYS} if keys else {}),
        command=["python", "-m", "recpipe_gateway"],
        args=[
            *pipeline_arguments(context),
            *("--model-target", target, "--bind", "0.0.0.0", "--port", str(GATEWAY_PORT)),
        ],
        env=environment,
        # Ready once it has reached what it needs, and from then on while it runs: what is away for one replica
        # is away for all, and they answer degraded, which no replica in the Service could.
        startupProbe=http_probe("/readyz", "http", period=2, failures=STARTS_WITHIN // 2),
        livenessProbe=http_probe("/healthz", "http", period=10),
        readinessProbe=http_probe("/healthz", "http"),
        # Out of the Service's endpoints before the last request, so that none is refused.
        lifecycle={"preStop": {"exec": {"command": ["sleep", "5"]}}},
    )
    volumes = [
        *pipeline_volumes(context),
        *([{"name": "keys", "secret": {"secretName": keys}}] if keys else []),
    ]
    template = pod(
        context,
        "gateway",
        [main],
        volumes,
        pipeline_annotations(context, keys),
        topologySpreadConstraints=spread(context, "gateway"),
        terminationGracePeriodSeconds=30,
    )
    deployment = {
        **({} if spec.autoscaling else {"replicas": spec.replicas}),
        "selector": {"matchLabels": context.selector("gateway")},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": template,
    }
    return [
        service(context, "gateway", {"http": GATEWAY_PORT}),
        context.object("apps/v1", "Deployment", "gateway", spec=deployment),
        disruption_budget(context, "gateway"),
        *autoscaler(context, "gateway"),
        *_ingress(context),
    ]


def _ingress(context: Context) -> list[Object]:
    """Metrics and probes stay inside: only what browsers and backends ask for is let through."""
    wanted = context.pipeline.spec.gateway.ingress
    if wanted is None:
        return []
    backend = {"service": {"name": context.name("gateway"), "port": {"name": "http"}}}
    paths = [
        {"path": "/v1", "pathType": "Prefix", "backend": backend},
        {"path": "/tracker.js", "pathType": "Exact", "backend": backend},
        {"path": "/openapi.json", "pathType": "Exact", "backend": backend},
    ]
    tls = [{"hosts": [wanted.host], "secretName": wanted.tls_secret}] if wanted.tls_secret else []
    spec = {
        **({"ingressClassName": wanted.class_name} if wanted.class_name else {}),
        "rules": [{"host": wanted.host, "http": {"paths": paths}}],
        **({"tls": tls} if tls else {}),
    }
    return [context.object("networking.k8s.io/v1", "Ingress", "gateway", spec=spec)]
