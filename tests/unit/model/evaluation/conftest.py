"""Tiny streams, written as text."""

from collections.abc import Callable

import numpy as np
import pytest

from recpipe_model.evaluation import Ids, Stream

StreamOf = Callable[..., Stream]


@pytest.fixture
def stream_of() -> StreamOf:
    """ "ann:a bob:b" is ann's event of item a, then bob's of b a minute later; ids are shared within a test."""
    ids = Ids()

    def build(text: str) -> Stream:
        pairs = [event.split(":") for event in text.split()]
        users = [ids.users.setdefault(user, len(ids.users)) for user, _ in pairs]
        items = [ids.items.setdefault(item, len(ids.items)) for _, item in pairs]
        sessions = [ids.sessions.setdefault(user, len(ids.sessions)) for user, _ in pairs]
        columns = (np.array(column, np.int32) for column in (users, items, sessions))
        return Stream(*columns, 60.0 * np.arange(len(pairs)), np.ones(len(pairs), np.float32), ids)

    return build
