"""What a pipeline wants of Kubernetes: pure functions from the resource to objects, one module a part."""

from recpipe_operator.desired.common import Context, Object
from recpipe_operator.desired.gateway import gateway
from recpipe_operator.desired.learner import learner, training
from recpipe_operator.desired.monitoring import monitoring
from recpipe_operator.desired.network import network
from recpipe_operator.desired.serving import serving
from recpipe_operator.desired.storage import storage
from recpipe_operator.desired.store import store

__all__ = ["Context", "Object", "desired_objects"]


def desired_objects(context: Context) -> list[Object]:
    """Every object, in the order to make them: what others mount or call comes first."""
    parts = (storage, network, store, serving, learner, training, gateway, monitoring)
    return [found for part in parts for found in part(context)]
