"""What objects of every part have alike: names, labels, owners, pods that may do little."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml

from recpipe.connections import STORE_VARIABLE
from recpipe.spec import KIND, ManagedStore, RecommenderPipeline, Resources
from recpipe_operator.settings import FIELD_MANAGER, PIPELINE, Settings

Object = dict[str, Any]

PIPELINE_FILE = "/etc/recpipe/pipeline/pipeline.yaml"
CREDENTIALS = "/etc/recpipe/pulsar"
KEYS = "/etc/recpipe/keys"
MODELS = "/models"
USER = 10001
"""Of every container; the group that volumes are given to."""

STORE_PORT, MODEL_PORT, REST_PORT, GATEWAY_PORT, METRICS_PORT = 6379, 8500, 8501, 8080, 9090

DEPLOYMENT_ONLY = {
    "model": {
        "resources": True,
        "retrain_schedule": True,
        "storage": {"size", "storage_class", "access_mode"},
    },
    "serving": {"image", "replicas", "autoscaling", "resources"},
    "gateway": {"replicas": True, "autoscaling": True, "resources": True, "ingress": True},
    "store": True,
    "paused": True,
    "deletion_policy": True,
}
"""Parts of the spec that no process reads: a change of them restarts nothing."""
READ_AGAIN = {"version", "labels"}
"""Parts of `serving` that the learner looks up when it drops a version: a change of them restarts nothing either."""


@dataclass(frozen=True)
class Context:
    """A pipeline and what its objects depend on beside its spec."""

    pipeline: RecommenderPipeline
    uid: str
    settings: Settings
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Versions of the Secrets that pods read once, by name: a new one rolls them."""
    service_monitors: bool = False
    """Whether the cluster has the API of the Prometheus operator."""

    @cached_property
    def read_by_pods(self) -> Object:
        """The resource without what no process reads; not to be changed."""
        spec = self.pipeline.spec.model_dump(
            mode="json",
            by_alias=True,
            exclude_none=True,
            exclude=DEPLOYMENT_ONLY,  # type: ignore[arg-type]
        )
        return {
            "apiVersion": self.pipeline.api_version,
            "kind": self.pipeline.kind,
            "metadata": {"name": self.pipeline.name, "namespace": self.namespace},
            "spec": spec,
        }

    @property
    def namespace(self) -> str:
        return self.pipeline.metadata.namespace

    def name(self, part: str) -> str:
        """Parts have no `-` in their names: so no two pipelines ever want an object of the same name."""
        return f"{self.pipeline.name}-{part}"

    def labels(self, part: str) -> dict[str, str]:
        return {
            "app.kubernetes.io/name": "recpipe",
            "app.kubernetes.io/component": part,
            "app.kubernetes.io/managed-by": FIELD_MANAGER,
            PIPELINE: self.pipeline.name,
        }

    def selector(self, part: str) -> dict[str, str]:
        return {PIPELINE: self.pipeline.name, "app.kubernetes.io/component": part}

    def object(
        self,
        api_version: str,
        kind: str,
        part: str,
        *,
        name: str | None = None,
        kept: bool = False,
        **content: Any,
    ) -> Object:
        """An object that goes with the pipeline, unless it is `kept`: data has no owner."""
        owner = {
            "apiVersion": self.pipeline.api_version,
            "kind": KIND,
            "name": self.pipeline.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        metadata = {
            "name": name or self.name(part),
            "namespace": self.namespace,
            "labels": self.labels(part),
            **({} if kept else {"ownerReferences": [owner]}),
        }
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}

    @property
    def keys_secret(self) -> str:
        return self.pipeline.spec.gateway.authentication.secret or self.name("keys")

    @property
    def managed_store(self) -> ManagedStore | None:
        """The store to run; None where there is one already."""
        wanted = self.pipeline.spec.store
        return None if wanted.url_secret else wanted.managed or ManagedStore()

    @property
    def model_volume(self) -> Object:
        """Where versions are; learner and serving mount it as MODELS."""
        return {"name": "models", "persistentVolumeClaim": {"claimName": self.name("models")}}

    @property
    def model_group(self) -> dict[str, str]:
        """A label of all pods that share the models' volume."""
        return {"recpipe.dev/models": self.pipeline.name}

    @property
    def model_affinity(self) -> Object:
        """All on one node where only one may mount the volume; the first pod chooses, for it matches itself."""
        if self.pipeline.spec.model.storage.access_mode == "ReadWriteMany":
            return {}
        term = {"labelSelector": {"matchLabels": self.model_group}, "topologyKey": "kubernetes.io/hostname"}
        return {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}

    @property
    def store_url(self) -> str | None:
        """Of the store that the operator runs; None where a Secret has it."""
        if self.pipeline.spec.store.url_secret:
            return None
        return f"redis://{self.name('store')}.{self.namespace}:{STORE_PORT}/0"


def pipeline_file(context: Context) -> str:
    """The resource as the pods read it."""
    return str(yaml.dump(context.read_by_pods, Dumper=yaml.CSafeDumper, sort_keys=True))  # 5 times as fast


def digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def config_map(context: Context, part: str, data: dict[str, str], *, name: str | None = None) -> Object:
    return context.object("v1", "ConfigMap", part, name=name, data=data)


def service(context: Context, part: str, ports: Mapping[str, int], *, headless: bool = False) -> Object:
    return context.object(
        "v1",
        "Service",
        part,
        spec={
            "selector": context.selector(part),
            "ports": [
                {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}
                for name, port in ports.items()
            ],
            **({"clusterIP": "None"} if headless else {}),
        },
    )


def container(
    name: str,
    image: str,
    context: Context,
    resources: Resources,
    ports: Mapping[str, int],
    *,
    mounts: Mapping[str, str],
    writable: Mapping[str, str] | None = None,
    **content: Any,
) -> Object:
    """One container that may change nothing but its writable mounts (by volume name)."""
    mounted = [{"name": volume, "mountPath": path, "readOnly": True} for volume, path in mounts.items()]
    mounted += [
        {"name": volume, "mountPath": path}
        for volume, path in ({"tmp": "/tmp"} | dict(writable or {})).items()
    ]
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": context.settings.images.pull_policy,
        "ports": [{"name": each, "containerPort": port, "protocol": "TCP"} for each, port in ports.items()],
        # No limit of CPU: throttling would cost latency and save nothing.
        "resources": {
            "requests": {"cpu": resources.cpu, "memory": resources.memory},
            "limits": {"memory": resources.memory},
        },
        "volumeMounts": mounted,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **content,
    }


def pod(
    context: Context,
    part: str,
    containers: list[Object],
    volumes: list[Object],
    annotations: Mapping[str, str],
    **content: Any,
) -> Object:
    """A pod template. `annotations` hold digests of what is read once, so that a change rolls the pods."""
    secrets = context.settings.images.pull_secrets
    return {
        "metadata": {"labels": context.labels(part), "annotations": dict(annotations)},
        "spec": {
            "containers": containers,
            "volumes": [*volumes, {"name": "tmp", "emptyDir": {}}],
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **({"imagePullSecrets": [{"name": name} for name in secrets]} if secrets else {}),
            **content,
        },
    }


def spread(context: Context, part: str) -> list[Object]:
    """Over nodes and zones, as far as there are several."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": context.selector(part)},
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]


def disruption_budget(context: Context, part: str) -> Object:
    return context.object(
        "policy/v1",
        "PodDisruptionBudget",
        part,
        spec={"maxUnavailable": 1, "selector": {"matchLabels": context.selector(part)}},
    )


def autoscaler(context: Context, part: str) -> list[Object]:
    section = context.pipeline.spec.gateway if part == "gateway" else context.pipeline.spec.serving
    if (scaling := section.autoscaling) is None:
        return []
    target = {"type": "Utilization", "averageUtilization": scaling.target_cpu_percent}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": context.name(part)},
        "minReplicas": scaling.min_replicas,
        "maxReplicas": scaling.max_replicas,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    return [context.object("autoscaling/v2", "HorizontalPodAutoscaler", part, spec=spec)]


def pipeline_volumes(context: Context) -> list[Object]:
    """What every one of our own processes reads: the resource, and who it is to Pulsar."""
    credentials = context.pipeline.spec.pulsar.credentials_secret
    return [
        {"name": "pipeline", "configMap": {"name": context.name("pipeline")}},
        *([{"name": "pulsar", "secret": {"secretName": credentials}}] if credentials else []),
    ]


def pipeline_mounts(context: Context) -> dict[str, str]:
    credentials = context.pipeline.spec.pulsar.credentials_secret
    return {
        "pipeline": PIPELINE_FILE.rpartition("/")[0],
        **({"pulsar": CREDENTIALS} if credentials else {}),
    }


def pipeline_arguments(context: Context) -> list[str]:
    credentials = context.pipeline.spec.pulsar.credentials_secret
    return [
        *("--pipeline", PIPELINE_FILE),
        *("--bus-url", "pulsar"),
        *(("--pulsar-credentials", CREDENTIALS) if credentials else ()),
    ]


def pipeline_environment(context: Context) -> list[Object]:
    """Where the store is: by reference where the URL may hold a password."""
    secret = context.pipeline.spec.store.url_secret
    store: Object = (
        {"valueFrom": {"secretKeyRef": {"name": secret, "key": "url"}}}
        if secret
        else {"value": context.store_url}
    )
    return [
        {"name": STORE_VARIABLE, **store},
        {"name": "RECPIPE_METRICS_ADDRESS", "value": "0.0.0.0"},
        {"name": "HOME", "value": "/tmp"},
    ]


def pipeline_annotations(context: Context, *secrets: str | None) -> dict[str, str]:
    """Digest of what is read once: the resource, and the named Secrets' versions."""
    versions = {
        name: context.secrets.get(name, "")
        for name in (*secrets, context.pipeline.spec.store.url_secret)
        if name
    }
    resource = context.read_by_pods
    spec = resource["spec"]
    serving = {name: value for name, value in spec["serving"].items() if name not in READ_AGAIN}
    once = resource | {"spec": spec | {"serving": serving}}
    return {"recpipe.dev/read-at-start": digest([once, versions])}


def http_probe(path: str, port: str, *, period: int = 5, failures: int = 3, timeout: int = 2) -> Object:
    return {
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }
