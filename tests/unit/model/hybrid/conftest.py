import random
from collections.abc import Callable

import pytest

from recpipe_model.hybrid import HybridModel, Settings

Teach = Callable[..., HybridModel]
CONTEXT = ("device=mobile", "hour=20")


@pytest.fixture
def teach() -> Teach:
    """Feeds a model a reproducible stream of sessions in a described catalogue."""

    def feed(model: HybridModel, events: int, start: int = 0, items: int = 60) -> HybridModel:
        choose = random.Random(start)
        for number in range(start, start + events):
            item = int(items * choose.random() ** 2)
            if choose.random() < 0.2:
                model.put_item(
                    f"i{item}",
                    categories=[f"c{item % 7}"],
                    attributes={"year": 1990.0 + item},
                    title=f"Title {item}",
                    time=float(number),
                )
            user = f"u{choose.randrange(12)}"
            model.learn(
                user,
                f"i{item}",
                10.0 * number,
                weight=1.0 + choose.randrange(5),
                context=CONTEXT,
                negatives=[f"i{choose.randrange(items)}"],
                exclude=model.seen(user) if choose.random() < 0.5 else None,
            )
        return model

    return feed


@pytest.fixture
def small() -> Settings:
    """Sizes so small that every bound is met soon."""
    return Settings(
        recent=8, rows=4, neighbours=6, window=8, shortlist=5, popular=5, fresh=3, hot=4, announced=4,
        dimensions=8, embedded=3, tokens=3, token_buckets=32, contexts=2, users=6, history=10,
    )  # fmt: skip
