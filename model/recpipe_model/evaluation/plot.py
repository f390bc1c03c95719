"""Quality over the stream as a picture."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recpipe_model.evaluation.events import InputError
from recpipe_model.hybrid.arrays import Doubles

BINS = 50


def over_stream(hits: Doubles, bins: int = BINS) -> tuple[Doubles, Doubles]:
    """Hit rate in each of at most `bins` even parts of the tests, and the test at which each part ends."""
    ends = np.unique(np.linspace(0, len(hits), bins + 1).astype(np.int64))[1:]
    sums = np.diff(np.cumsum(hits)[ends - 1], prepend=0.0)
    return ends.astype(np.float64), sums / np.diff(ends, prepend=0)


def save_plot(curves: Mapping[str, Doubles], k: int, path: Path) -> None:
    """Writes every method's hit rate over the stream; the format is by the file's suffix.

    Raises:
        InputError: when matplotlib is not installed, or does not know the suffix.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("--plot needs matplotlib: pip install 'recpipe[evaluation]'") from error
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    known = FigureCanvasAgg(figure).get_supported_filetypes()
    if path.suffix[1:] not in known:
        raise InputError(
            f"--plot is {str(path)!r}: end it in one of {', '.join('.' + each for each in sorted(known))}"
        )
    axes = figure.add_subplot(xlabel="tests", ylabel=f"HR@{k}", ylim=(0, None))
    for name, hits in curves.items():
        axes.plot(*over_stream(hits), label=f"{name} {hits.mean():.3f}")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
