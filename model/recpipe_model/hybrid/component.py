"""The one interface of everything that is blended."""

from typing import ClassVar, Protocol

from recpipe_model.hybrid.arrays import Floats, Ints, Stateful
from recpipe_model.hybrid.query import Query


class Component(Stateful, Protocol):
    """A source of evidence that an item comes next.

    Evidence is a number x >= 0 where 0 means none and about 1 to 20,000 is the useful range;
    a probability p counts as p / UNIT. The blend takes log(1 + x) of it, so that its weights are
    exponents of a product of experts (Hinton 2002). A component's evidence of an item depends on
    the query and that item alone, never on the other candidates.
    """

    names: ClassVar[tuple[str, ...]]

    def grow(self, items: int) -> None:
        """Makes room for items 0 .. items - 1."""

    def evidence(self, query: Query, candidates: Ints, out: Floats) -> None:
        """Writes the evidence of every candidate to `out` [len(names), n], which is all zero."""

    def learn(self, item: int, query: Query, time: float, weight: float) -> None:
        """Learns that `item` followed `query` (the user's history before it)."""


UNIT = 5e-5
"""The probability that counts as evidence of 1."""
