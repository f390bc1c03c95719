"""Pulsar as the cluster's bus: its administration, and the deployment of a pipeline's topics.

Needs the extra `pulsar`. Importing this package imports httpx and not the Pulsar client, whose native
library only the bus itself uses (recpipe.bus.pulsar).
"""

from recpipe.pulsar.admin import Admin
from recpipe.pulsar.credentials import Credentials
from recpipe.pulsar.names import TopicName

__all__ = ["Admin", "Credentials", "TopicName"]
