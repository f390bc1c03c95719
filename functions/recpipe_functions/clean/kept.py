"""What cleaning has learned and keeps in the store, so that a crash changes no verdict.

A batch is judged, what was learned is written, and then the batch is acknowledged with its outputs. A crash
between the last two brings the batch again: it must be judged by what was known before it, not by what
it taught. So both are kept.
"""

from typing import Generic, Self, TypeVar

import msgspec

from recpipe.bus import Record

Known = TypeVar("Known")


class Kept(msgspec.Struct, Generic[Known], array_like=True):
    """What is known before and after the last batch."""

    before: Known
    after: Known
    newest: tuple[int, ...] = ()
    """Place of the newest record that `after` knows."""

    def known_to(self, record: Record) -> Known:
        """What was known when the record came first."""
        return self.before if record.is_in(self.newest) else self.after

    @classmethod
    def since(cls, before: Known) -> Self:
        """The beginning of a batch."""
        return cls(before, before)

    def learn(self, after: Known, place: tuple[int, ...]) -> None:
        """Takes over what is known after the record at `place`."""
        self.after, self.newest = after, place
