"""Questions to the model as the tensors of its one signature, and its answers back.

The signature's inputs and outputs are described in docs/architecture.md; here every question is a
row of the batch, padded to the longest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

REASONS = 3


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the model for one request.

    Attributes:
        items: n recent item ids, newest first.
        ages: n seconds since each event.
        weights: n event weights.
        rows: live neighbour rows of the first of the items.
        exclude: item ids not wanted.
        context: `key=value` pairs.
        k: how many items.
    """

    items: Sequence[str]
    ages: Sequence[float]
    weights: Sequence[float]
    rows: Sequence[bytes]
    exclude: Sequence[str]
    context: Sequence[str]
    k: int


class Candidate(msgspec.Struct, omit_defaults=True):
    """An item that may be recommended."""

    item_id: str
    score: float
    """Comparable within one answer only."""
    title: str = ""
    why: dict[str, float] = {}
    """The strongest parts of the score, by the model's components."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The model's answer to one question, best first."""

    candidates: list[Candidate] = field(default_factory=list)
    version: int = 0


def inputs_of(questions: Sequence[Question], live: bytes) -> dict[str, NDArray[Any]]:
    """The signature's inputs for a batch; `k` is the greatest that is asked."""
    return {
        "recent_items": _strings([question.items for question in questions]),
        "recent_ages": _floats([question.ages for question in questions]),
        "recent_weights": _floats([question.weights for question in questions]),
        "rows": _strings([question.rows for question in questions]),
        "live": np.array(live, object),
        "exclude": _strings([question.exclude for question in questions]),
        "context": _strings([question.context for question in questions]),
        "k": np.array(max(question.k for question in questions), np.int32),
    }


def rankings_of(
    outputs: Mapping[str, NDArray[Any]], version: int, questions: Sequence[Question]
) -> list[Ranking]:
    """The answers, in the order of the questions; raises ValueError or KeyError for other shapes."""
    names = [name.decode() for name in outputs["components"].tolist()]
    rows = (outputs["items"].tolist(), outputs["scores"].tolist(), outputs["shares"])
    rankings = []
    for question, items, scores, shares in zip(questions, *rows, strict=True):
        found = [
            Candidate(item.decode(), score, why=why)
            for item, score, why in zip(items, scores, _reasons(shares, names), strict=True)
            if item
        ]
        rankings.append(Ranking(found[: question.k], version))
    return rankings


def _reasons(shares: NDArray[Any], names: Sequence[str]) -> list[dict[str, float]]:
    """Of each row of shares [n, C] the strongest, by the components' names; those of 0 are none."""
    strongest = (-np.abs(shares)).argsort(1, kind="stable")[:, :REASONS].tolist()
    # Rounded all at once: Python rounds a number by writing and reading it.
    rounded = (shares.astype(float) * 1e4).round().tolist()
    return [
        {names[component]: row[component] / 1e4 for component in best if row[component]}
        for best, row in zip(strongest, rounded, strict=True)
    ]


def _strings(rows: Sequence[Sequence[str] | Sequence[bytes]]) -> NDArray[Any]:
    """[B, longest] byte strings, b"" padded; one column at least."""
    array = np.full((len(rows), max(1, *map(len, rows))), b"", object)
    for line, row in zip(array, rows, strict=True):
        line[: len(row)] = [each.encode() if isinstance(each, str) else each for each in row]
    return array


def _floats(rows: Sequence[Sequence[float]]) -> NDArray[Any]:
    array = np.zeros((len(rows), max(1, *map(len, rows))), np.float32)
    for line, row in zip(array, rows, strict=True):
        line[: len(row)] = row
    return array
