"""What the gateway counts, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("recpipe_gateway_requests_total", "Requests answered.", ["path", "method", "status"])
REQUEST_SECONDS = Histogram(
    "recpipe_gateway_request_seconds",
    "From the request's head to its answer.",
    ["path"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0),
)
EVENTS = Counter("recpipe_gateway_events_total", "Events by verdict: accepted, or why not.", ["verdict"])
STREAMS = Gauge("recpipe_gateway_streams", "WebSockets open.")
RECOMMENDATIONS = Counter(
    "recpipe_gateway_recommendations_total",
    "Answers, by the part that was missing (none: empty).",
    ["degraded"],
)
PREDICT_SECONDS = Histogram(
    "recpipe_gateway_predict_seconds",
    "One call of the model.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
)
PREDICT_BATCH = Histogram(
    "recpipe_gateway_predict_batch", "Requests in one call of the model.", buckets=(1, 2, 4, 8, 16, 32)
)
IMPRESSIONS = Counter("recpipe_gateway_impressions_total", "Impressions: stored or dropped.", ["fate"])
LIVE_AGE = Gauge("recpipe_gateway_live_age_seconds", "Since the live inputs were last read from the store.")
