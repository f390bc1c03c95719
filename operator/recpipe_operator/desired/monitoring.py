"""What the Prometheus operator scrapes, where it is installed."""

from recpipe_operator.desired.common import Context, Object
from recpipe_operator.desired.serving import METRICS_PATH
from recpipe_operator.settings import PIPELINE


def monitoring(context: Context) -> list[Object]:
    if not context.service_monitors:
        return []
    ports = {"http": "/metrics", "metrics": "/metrics", "rest": METRICS_PATH}
    spec = {
        "selector": {"matchLabels": {PIPELINE: context.pipeline.name}},
        "endpoints": [{"port": port, "path": path, "interval": "15s"} for port, path in ports.items()],
        "targetLabels": [PIPELINE, "app.kubernetes.io/component"],
    }
    return [context.object("monitoring.coreos.com/v1", "ServiceMonitor", "monitoring", spec=spec)]
