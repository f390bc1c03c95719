"""What the server counts, for Prometheus.

TensorFlow Serving exports under the same path, in names of its own without the version.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every counter and histogram

_LATENCY_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)


class Metrics:
    """The server's metrics, in a registry of their own.

    Only models and versions that the server has are named in labels, so that no client can make them grow: a request
    for another one counts under an empty model.
    """

    PATH = "/monitoring/prometheus/metrics"  # TensorFlow Serving's default

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "recpipe_serving_requests",
            "Predict requests, by the status code of the answer.",
            ["model", "version", "code"],
            registry=self._registry,
        )
        self._latency = Histogram(
            "recpipe_serving_request_seconds",
            "Time to answer a Predict request, waiting included.",
            ["model"],
            buckets=_LATENCY_SECONDS,
            registry=self._registry,
        )
        self._batch = Histogram(
            "recpipe_serving_batch_requests",
            "Predict requests that were run together.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self._registry,
        )
        self._loaded = Gauge(
            "recpipe_serving_version_available",
            "1 for each version that is available.",
            ["model", "version"],
            registry=self._registry,
        )
        self._load_seconds = Histogram(
            "recpipe_serving_load_seconds",
            "Time to load and warm a version, by the status code of the attempt.",
            ["model", "code"],
            buckets=(0.1, 0.3, 1, 3, 10, 30, 100),
            registry=self._registry,
        )

    def request(self, model: str, version: int | None, code: str, seconds: float) -> None:
        self._requests.labels(model, "" if version is None else version, code).inc()
        self._latency.labels(model).observe(seconds)

    def batch(self, requests: int) -> None:
        self._batch.observe(requests)

    def load(self, model: str, code: str, seconds: float) -> None:
        self._load_seconds.labels(model, code).observe(seconds)

    def available(self, model: str, version: int) -> None:
        self._loaded.labels(model, version).set(1)

    def ended(self, model: str, version: int) -> None:
        """Forget a version's series: versions come and go for as long as the server runs."""
        self._loaded.remove_by_labels({"model": model, "version": str(version)})
        self._requests.remove_by_labels({"model": model, "version": str(version)})

    def page(self) -> bytes:
        """The metrics in Prometheus's text format."""
        return generate_latest(self._registry)
