"""Business rules over a ranking: what may be shown, and how much of one kind."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from recpipe.catalogue import Item
from recpipe_gateway.tensors import Candidate


@dataclass(frozen=True)
class Rules:
    """What an answer must hold to.

    Attributes:
        k: items at most.
        exclude: items never shown.
        category: only items of this category, where one is named.
        max_per_category: at most so many items of one first category, where there is a limit.
    """

    k: int
    exclude: Collection[str] = ()
    category: str = ""
    max_per_category: int | None = None

    @property
    def need_metadata(self) -> bool:
        return bool(self.category) or self.max_per_category is not None

    @property
    def width(self) -> int:
        """Candidates to ask for, so that enough remain."""
        return min(self.k * 10, 500) if self.need_metadata else self.k

    def choose(self, candidates: Iterable[Candidate], metadata: Mapping[str, Item]) -> list[Candidate]:
        """The first k that may be shown, each item once, in their order."""
        chosen: dict[str, Candidate] = {}
        shown: Counter[str] = Counter()
        for candidate in candidates:
            if len(chosen) == self.k:
                break
            item_id = candidate.item_id
            item = metadata.get(item_id)
            categories = item.categories if item else []
            if item_id in chosen or item_id in self.exclude:
                continue
            if self.category and self.category not in categories:
                continue
            if self.max_per_category is not None and categories:
                if shown[categories[0]] == self.max_per_category:
                    continue
                shown[categories[0]] += 1
            chosen[item_id] = candidate
        return list(chosen.values())
