"""TensorFlow Serving: the model's configuration, the Deployment and how to reach it.

The image is TensorFlow Serving's own, or any that takes `tensorflow_model_server`'s flags. Only
arguments are given, so that the image's entry point stays.
"""

from typing import Any

from recpipe_operator.desired.common import (
    MODEL_PORT,
    MODELS,
    REST_PORT,
    Context,
    Object,
    autoscaler,
    config_map,
    container,
    digest,
    disruption_budget,
    http_probe,
    pod,
    service,
    spread,
)

CONFIGURATION = "/etc/serving"
PORTS = {"grpc": MODEL_PORT, "rest": REST_PORT}
METRICS_PATH = "/monitoring/prometheus/metrics"
FIRST_MODEL_SECONDS = 86_400
"""Before the first version there is nothing to serve, which is no reason to start again."""


def serving(context: Context) -> list[Object]:
    spec, name = context.pipeline.spec.serving, context.pipeline.name
    files = {
        "models.config": message(model_server_config(context)),
        "monitoring.config": message({"prometheus_config": {"enable": True, "path": METRICS_PATH}}),
    }
    ready = http_probe(f"/v1/models/{name}/metadata", "rest", timeout=5)  # 200 once a version is loaded
    alive = {"tcpSocket": {"port": "grpc"}, "periodSeconds": 10, "timeoutSeconds": 2}
    server = container(
        "serving",
        spec.image or context.settings.images.serving,
        context,
        spec.resources,
        PORTS,
        mounts={"configuration": CONFIGURATION, "models": MODELS},
        args=[
            f"--port={MODEL_PORT}",
            f"--rest_api_port={REST_PORT}",
            f"--model_config_file={CONFIGURATION}/models.config",
            f"--monitoring_config_file={CONFIGURATION}/monitoring.config",
            "--file_system_poll_wait_seconds=1",
            "--allow_version_labels_for_unavailable_models=true",
        ],
        startupProbe=alive | {"failureThreshold": FIRST_MODEL_SECONDS // 10},
        livenessProbe=alive | {"failureThreshold": 3},
        readinessProbe=ready,
    )
    volumes = [
        {"name": "configuration", "configMap": {"name": context.name("serving")}},
        context.model_volume,
    ]
    template = pod(
        context,
        "serving",
        [server],
        volumes,
        {"recpipe.dev/read-at-start": digest(files)},
        topologySpreadConstraints=spread(context, "serving"),
        terminationGracePeriodSeconds=30,
        **context.model_affinity,
    )
    template["metadata"]["labels"] |= context.model_group
    deployment = {
        **({} if spec.autoscaling else {"replicas": spec.replicas}),
        "selector": {"matchLabels": context.selector("serving")},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": template,
    }
    return [
        config_map(context, "serving", files),
        # Headless: gRPC keeps its connections, so the client has to see every replica.
        service(context, "serving", PORTS, headless=True),
        context.object("apps/v1", "Deployment", "serving", spec=deployment),
        disruption_budget(context, "serving"),
        *autoscaler(context, "serving"),
    ]


def model_server_config(context: Context) -> dict[str, Any]:
    """A ModelServerConfig: the newest version; one version to roll back to; or all of them, for labels."""
    spec = context.pipeline.spec.serving
    if spec.version is not None:
        policy: dict[str, Any] = {"specific": {"versions": sorted(spec.named_versions)}}
    else:
        policy = {"all": {}} if spec.labels else {"latest": {"num_versions": 1}}
    config: dict[str, Any] = {
        "name": context.pipeline.name,
        "base_path": MODELS,
        "model_platform": "tensorflow",
        "model_version_policy": policy,
    }
    if spec.labels:
        config["version_labels"] = [
            {"key": key, "value": value} for key, value in sorted(spec.labels.items())
        ]
    return {"model_config_list": {"config": [config]}}


def message(fields: dict[str, Any], indent: str = "") -> str:
    """A protocol buffer in text format."""
    lines = []
    for name, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                lines.append(f"{indent}{name} {{\n{message(each, indent + '  ')}{indent}}}\n")
            else:
                lines.append(f"{indent}{name}: {_scalar(each)}\n")
    return "".join(lines)


def _scalar(value: bool | int | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
