"""Writes a version aside, loads it back, compares it with the learner's own answers, then renames it."""

import errno
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from recpipe.horizon import SIGNATURES, TASTE_INPUTS, Horizon
from recpipe_model.export.saved_model import write
from recpipe_model.export.tables import Tables
from recpipe_model.hybrid import HybridModel, Query

K = 20
QUERIES = 5
RECENT = 10
TOLERANCE = 1e-3
"""Largest difference of scores, absolute and relative: float32 sums in another order."""


class ExportError(RuntimeError):
    """What was written does not answer as the learner does; it was not published."""


def export(model: HybridModel, models: Path, version: int) -> Path:
    """Publishes the model as `models/version`, whole or not at all; returns the folder.

    Versions are never changed: where another process published this one meanwhile, the next free one is taken.

    Raises:
        ExportError: when the graph's answers are not the model's.
    """
    with tempfile.TemporaryDirectory(prefix=".export-", dir=models) as folder:
        beside = Path(folder, "version")
        write(Tables.of(model), beside)
        _verify(model, beside)
        return _placed(beside, models, version)


def _placed(beside: Path, models: Path, version: int) -> Path:
    while True:
        try:
            return beside.rename(models / str(version))
        except OSError as error:
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                raise
            version += 1


def _verify(model: HybridModel, folder: Path) -> None:
    """Asks the graph and the model the same questions, a new user's among them."""
    signatures = tf.saved_model.load(str(folder)).signatures
    newest = range(max(len(model.vocabulary) - QUERIES, 0), len(model.vocabulary))
    histories = [[], *([model.vocabulary[item]] for item in newest), model.popular(RECENT)]
    for items, horizon in product(histories, Horizon):
        ages = [60.0 * (position + 1) for position in range(len(items))]
        query = replace(model.query(items, ages, [1.0] * len(items)), horizon=horizon)
        answer = signatures[SIGNATURES[horizon]](**inputs_of(model, query))
        expected = model.recommend(query, K)
        scores = answer["scores"].numpy()[0][: len(expected.items)]
        if not np.allclose(scores, expected.scores, rtol=TOLERANCE, atol=TOLERANCE):
            worst = float(np.abs(scores - expected.scores).max())
            raise ExportError(
                f"{horizon} after {items}: the graph's scores differ from the learner's by {worst:.2g}"
            )


def inputs_of(model: HybridModel, query: Query) -> dict[str, Any]:
    """One question as the signature's inputs, with the model's rows and live state of now."""
    items = [model.vocabulary[item] for item in query.items.tolist()]

    def strings(values: list[Any]) -> tf.Tensor:
        return tf.constant([values or [b""]], tf.string)

    inputs = {
        "recent_items": strings(items),
        "recent_ages": tf.constant([query.ages.tolist() or [0.0]], tf.float32),
        "recent_weights": tf.constant([query.weights.tolist() or [0.0]], tf.float32),
        "rows": strings([model.row(item) for item in items]),
        "live": tf.constant(model.live(len(model.vocabulary)), tf.string),
        "exclude": strings([]),
        "context": strings(list(query.context)),
        "k": tf.constant(K, tf.int32),
    }
    return inputs if query.horizon is Horizon.NEXT else {name: inputs[name] for name in TASTE_INPUTS}
