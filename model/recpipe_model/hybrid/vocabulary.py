"""Item ids and the int32 indices that stand for them."""

import numpy as np

from recpipe_model.hybrid.arrays import State


class Vocabulary:
    """An append-only bijection of ids and 0, 1, 2, ...: an index once given is never reused."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._names: list[str] = []

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> str:
        return self._names[index]

    def find(self, name: str) -> int:
        """The index of `name`, -1 when it has none."""
        return self._index.get(name, -1)

    def add(self, name: str) -> int:
        """The index of `name`, given now when it has none.

        Raises:
            ValueError: when the name is empty (the serving signature pads with "").
        """
        index = self._index.get(name)
        if index is None:
            if not name:
                raise ValueError('item id is "": give every item a non-empty id')
            index = self._index[name] = len(self._names)
            self._names.append(name)
        return index

    def names(self, start: int = 0) -> list[str]:
        """The names from index `start` on, in order of index."""
        return self._names[start:]

    def state(self) -> State:
        return packed(self._names)

    def restore(self, state: State) -> None:
        self._names = unpacked(state)
        self._index = {name: index for index, name in enumerate(self._names)}


def packed(names: list[str]) -> State:
    """Strings as two arrays: UTF-8 bytes, and the end of each string in them."""
    encoded = [name.encode() for name in names]
    return {
        "bytes": np.frombuffer(b"".join(encoded), np.uint8),
        "ends": np.cumsum([len(name) for name in encoded], dtype=np.int64),
    }


def unpacked(state: State) -> list[str]:
    """The strings that `packed` made the arrays of."""
    data = state["bytes"].tobytes()
    ends = state["ends"].tolist()
    return [data[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]
