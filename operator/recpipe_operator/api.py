"""The Kubernetes API, as far as the operator needs it: plain objects in and out, server-side apply, errors by kind.

On the transport of the official client, without its models: objects stay the dictionaries that the API
speaks, and 700 classes are not looked at.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from recpipe_operator import metrics
from recpipe_operator.settings import FIELD_MANAGER, GROUP, KIND, PLURAL, VERSION

Object = dict[str, Any]

REQUEST_SECONDS = 15.0
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

PLURALS = {
    "ConfigMap": "configmaps",
    "Secret": "secrets",
    "Service": "services",
    "Event": "events",
    "Pod": "pods",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Deployment": "deployments",
    "StatefulSet": "statefulsets",
    "CronJob": "cronjobs",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers",
    "NetworkPolicy": "networkpolicies",
    "Ingress": "ingresses",
    "ServiceMonitor": "servicemonitors",
    KIND: PLURAL,
}


class ApiError(Exception):
    """The API server's refusal, in its words; `status` is 0 where it gave no answer."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status, self.reason, self.message = status, reason, message
        super().__init__(f"{reason}: {message}")


class Reference(NamedTuple):
    """Which object."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Reference":
        metadata = found["metadata"]
        return cls(found["apiVersion"], found["kind"], metadata["namespace"], metadata["name"])

    @property
    def collection(self) -> str:
        root = "/api" if "/" not in self.api_version else "/apis"
        return f"{root}/{self.api_version}/namespaces/{self.namespace}/{PLURALS[self.kind]}"

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.name}"

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def pipeline_reference(namespace: str, name: str) -> Reference:
    return Reference(f"{GROUP}/{VERSION}", KIND, namespace, name)


async def configuration(kubeconfig: str | None) -> Configuration:
    """From a file where one is named, else as Kubernetes gives it to pods."""
    found = Configuration()
    if kubeconfig:
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=kubeconfig, client_configuration=found, persist_config=False
        )
    else:
        config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
    return found


class Api:
    """Every call has a deadline and none is repeated: the next reconciliation is the repetition."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def get(self, wanted: Reference) -> Object | None:
        """None where there is no such object."""
        return await self._found("GET", wanted.path)

    async def metadata(self, wanted: Reference) -> Object | None:
        """None where there is no such object; its content, such as a Secret's, is not sent."""
        found = await self._found("GET", wanted.path, accept=METADATA_ONLY)
        return found["metadata"] if found else None

    async def version(self, wanted: Reference) -> str | None:
        """The object's resource version."""
        metadata = await self.metadata(wanted)
        return metadata["resourceVersion"] if metadata else None

    async def apply(self, wanted: Object, *, manager: str = FIELD_MANAGER, subresource: str = "") -> Object:
        """Server-side apply: makes the object, or the fields given in it, as they are wanted."""
        path = Reference.of(wanted).path + (f"/{subresource}" if subresource else "")
        query = [("fieldManager", manager), ("force", "true")]
        found: Object = await self._send(
            "PATCH", path, query, wanted, content_type="application/apply-patch+yaml"
        )
        return found

    async def create(self, wanted: Object) -> Object | None:
        """None where one of that name exists."""
        try:
            path = Reference.of(wanted).collection
            found: Object = await self._send("POST", path, [("fieldManager", FIELD_MANAGER)], wanted)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return None
            raise
        return found

    async def merge(self, wanted: Reference, patch: Object) -> Object | None:
        """A merge patch; None where the object has gone. A `resourceVersion` in it makes it conditional."""
        return await self._found(
            "PATCH", wanted.path, body=patch, content_type="application/merge-patch+json"
        )

    async def delete(self, wanted: Reference, uid: str | None = None) -> None:
        """With what it owns, later; only that very object where a uid is given."""
        body: Object = {"propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        await self._found("DELETE", wanted.path, body=body)

    async def serves(self, group_version: str) -> bool:
        """Whether the cluster has an API."""
        return await self._found("GET", f"/apis/{group_version}") is not None

    async def _found(self, method: str, path: str, **content: Any) -> Object | None:
        try:
            found: Object = await self._send(method, path, **content)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    async def _send(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Any:
        request = await self._client.param_serialize(
            method,
            path,
            query_params=query or [],
            header_params={"Content-Type": content_type, "Accept": accept},
            body=body,
            auth_settings=["BearerToken"],
        )
        metrics.API_REQUESTS.labels(method).inc()
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                response = await self._client.call_api(*request)
                text = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            said = str(error) or type(error).__name__
            raise ApiError(0, "ApiServerUnreachable", f"{method} {path}: {said}") from error
        if response.status >= 400:
            raise _failure(response.status, text)
        return json.loads(text)


def _failure(status: int, text: bytes) -> ApiError:
    try:
        said = json.loads(text)
        return ApiError(status, str(said["reason"]), str(said["message"]))
    except (ValueError, LookupError, TypeError):
        return ApiError(status, f"Http{status}", text.decode(errors="replace")[:500])
