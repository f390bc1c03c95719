"""Array types, and columns that grow with the catalogue at amortised constant cost."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

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
