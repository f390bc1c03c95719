"""What the operator says of itself to Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

RECONCILES = Counter("recpipe_operator_reconciles_total", "Reconciliations, by how they ended.", ["outcome"])
RECONCILE_SECONDS = Histogram(
    "recpipe_operator_reconcile_seconds",
    "Length of a reconciliation.",
    buckets=(0.01, 0.05, 0.2, 1, 5, 20, 60, 120),
)
API_REQUESTS = Counter(
    "recpipe_operator_api_requests_total", "Requests to the Kubernetes API, watches left out.", ["method"]
)
WRITES = Counter("recpipe_operator_changes_total", "Changes made, by where.", ["system"])
PIPELINES = Gauge("recpipe_operator_pipelines", "Pipelines that are looked after.")
NOT_READY = Gauge("recpipe_operator_pipelines_not_ready", "Those of them that are not ready.")
LEADER = Gauge("recpipe_operator_leader", "1 where this replica holds the Lease.")
