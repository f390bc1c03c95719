"""Records that cannot be used: whole, with the reason, and counted."""

import time
from collections import Counter

from recpipe.bus import Message, Record
from recpipe.records import Rejected
from recpipe.schema import REJECTED


def rejection(record: Record, stage: str, reason: str, detail: str, tally: Counter[str]) -> Message:
    """The message for the rejected topic; counts it in `tally`, in all and by reason."""
    tally[f"{stage}.rejected"] += 1
    tally[f"{stage}.rejected.{reason}"] += 1
    whole: Rejected = {
        "user_id": record.key,
        "stage": stage,
        "reason": reason,
        "detail": detail,
        "timestamp": int(time.time() * 1_000),
        "value": record.value,
    }
    return Message(record.key, REJECTED.encode(whole))
