"""Array types, and columns that grow with the catalogue at amortised constant cost."""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Array = NDArray[Any]
Mask = NDArray[np.bool_]
State = dict[str, Array]


class Stateful(Protocol):
    """A part of the model, as a checkpoint sees it."""

    def state(self) -> State:
        """The arrays that make the part what it is."""

    def restore(self, state: State) -> None:
        """Takes over the arrays that `state` gave."""


class Arrays:
    """A part whose state is the arrays that `kept` names."""

    kept: ClassVar[tuple[str, ...]]

    def state(self) -> State:
        return {name: getattr(self, name) for name in self.kept}

    def restore(self, state: State) -> None:
        for name in self.kept:
            setattr(self, name, state[name])


_FAST = {"reassoc", "contract", "arcp", "nsz"}
"""What lets loops use vector instructions; NaN and infinity keep their meaning."""
Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compiles the function to machine code, once per machine, that runs without the interpreter's lock."""
    compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
    return cast(Function, compiled(function))


def grown(array: Array, count: int, fill: float = 0) -> Array:
    """`array` itself when it has `count` rows, else a copy of at least twice the rows."""
    if count <= len(array):
        return array
    larger = np.zeros((max(count, 2 * len(array)), *array.shape[1:]), array.dtype)
    if fill:
        larger[len(array) :] = fill
    larger[: len(array)] = array
    return larger


@kernel
def scatter(vector: Floats, width: float, seed: int, item: int) -> None:
    """Fills it with random values around 0, `width` wide, that depend on the seed and the item alone."""
    np.random.seed((seed * 1_000_003 + item) & 0xFFFFFFFF)
    for i in range(len(vector)):
        vector[i] = width * (np.random.random() - 0.5)
