"""From ranks and lists to the figures of a report, ready for JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recpipe.catalogue import Item
from recpipe_model.evaluation import metrics
from recpipe_model.hybrid.arrays import Doubles, Ints, Mask

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of an evaluation.

    Attributes:
        methods: figures by method, the hybrid's first and popularity's second.
        counts: what was counted.
        slices: reports on parts of the tests, by the slice's name and the part's.
        curves: by method, 1 or 0 for every test's hit in the stream's order; empty where no stream is followed.
    """

    methods: dict[str, Figures]
    counts: dict[str, int]
    slices: dict[str, dict[str, "Report"]] = field(default_factory=dict)
    curves: dict[str, Doubles] = field(default_factory=dict)

    def as_dict(self) -> Figures:
        """For JSON: the hybrid's figures on top, every other method's under its name."""
        others = {name: figures for name, figures in self.methods.items() if name != "hybrid"}
        flat = self.counts | self.methods.get("hybrid", {}) | others
        if self.slices:
            flat["slices"] = {
                name: {part: report.as_dict() for part, report in parts.items()}
                for name, parts in self.slices.items()
            }
        return flat


def accuracy(values: Mapping[str, Doubles], groups: Ints, seed: int) -> Figures:
    """Each metric's mean over the tests, and its bootstrap interval over `groups` [n] (the tests' users)."""
    means = {name: float(each.mean()) for name, each in values.items()}
    intervals = {name: metrics.bootstrap_interval(each, groups, seed) for name, each in values.items()}
    return {**means, "confidence": {name: list(interval) for name, interval in intervals.items()}}


def of_ranks(ranks: Ints, k: int) -> dict[str, Doubles]:
    """The metrics of tests with one relevant item each."""
    hits = metrics.hits_of_ranks(ranks, k)
    return of_hits(hits, np.ones(len(ranks), np.int32), k)


def of_hits(hits: Mask, relevant: Ints, k: int) -> dict[str, Doubles]:
    return {
        f"hr@{k}": metrics.hit_rate(hits),
        f"ndcg@{k}": metrics.ndcg(hits, relevant),
        f"mrr@{k}": metrics.reciprocal_rank(hits),
    }


def beyond_accuracy(lists: Sequence[Ints], counts: Ints, catalogue: Mapping[int, Item]) -> Figures:
    """What the lists show of the catalogue; `counts` [N] events of each item, those of none are not in it.

    Diversity is told where metadata is.
    """
    shown = [best for best in lists if len(best)]
    if not shown:
        return {}
    items = int((counts > 0).sum())
    figures = {
        "lists": len(shown),
        "coverage": metrics.coverage(shown, items),
        "gini": metrics.gini(shown, items),
        "novelty": metrics.novelty(shown, counts),
    }
    if catalogue:
        categories = {item: frozenset(known.categories) for item, known in catalogue.items()}
        figures["diversity"] = metrics.intra_list_diversity(shown, categories)
    return figures
