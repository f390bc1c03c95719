"""Quality over the stream as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recpipe_model.evaluation.events import InputError
from recpipe_model.hybrid.arrays import Doubles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 50


def over_stream(hits: Doubles, bins: int = BINS) -> tuple[Doubles, Doubles]:
    """Hit rate in each of at most `bins` even parts of the tests, and the test at which each part ends."""
    ends = np.unique(np.linspace(0, len(hits), bins + 1).astype(np.int64))[1:]
    sums = np.diff(np.cumsum(hits)[ends - 1], prepend=0.0)
    return ends.astype(np.float64), sums / np.diff(ends, prepend=0)


def open_plot(path: Path) -> "Figure":
    """An empty picture that can be written to the path: asked for before a long run, not after it.

    Raises:
        InputError: when matplotlib is not installed, or cannot write there.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "--plot needs matplotlib: pip install 'recpipe[dev]', or matplotlib alone"
        ) from error
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    known = FigureCanvasAgg(figure).get_supported_filetypes()
    if path.suffix[1:] not in known:
        raise InputError(
            f"--plot is {str(path)!r}: end it in {', '.join('.' + each for each in sorted(known))}"
        )
    if not path.parent.is_dir():
        raise InputError(f"--plot is {str(path)!r}: there is no folder {str(path.parent)!r}")
    return figure


def save_plot(figure: "Figure", curves: Mapping[str, Doubles], k: int, path: Path) -> None:
    """Draws every method's hit rate over the stream, and writes the picture."""
    axes = figure.add_subplot(xlabel="tests", ylabel=f"HR@{k}")
    for name, hits in curves.items():
        axes.plot(*over_stream(hits), label=f"{name} {hits.mean():.3f}")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
