"""Bytes a user in the store: 100,000 users with 50-item histories, in a real Valkey.

Baseline, in the same run: the same histories as JSON text under the same keys.
"""

from dataclasses import dataclass

HISTORY = 50
CHUNK = 1_000


@dataclass(frozen=True)
class State:
    users: int
    history: int
    bytes_per_user: float
    """All in: key, value, expiry and the server's own overhead."""
    gib_per_million_users: float
    json_bytes_per_user: float
    encode_us: float
    decode_us: float
