"""The bus: partitioned topics with key order, consumer groups and acknowledgement.

Delivery is at least once. A record is stored when `publish` returns, and delivered again after a
crash until it is acknowledged.
"""

from recpipe.bus._protocol import (
    Bus,
    BusFullError,
    BusUnavailableError,
    Message,
    Place,
    Record,
    Subscription,
    is_behind,
)
from recpipe.bus.valkey import ValkeyBus

__all__ = [
    "Bus",
    "BusFullError",
    "BusUnavailableError",
    "Message",
    "Place",
    "Record",
    "Subscription",
    "ValkeyBus",
    "is_behind",
]
