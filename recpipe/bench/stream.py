"""A synthetic stream: sessions of users over a power-law catalogue with clusters of taste."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate

import msgspec

SESSION_EVENTS = 8
CLUSTER = 50
STAY = 0.8
"""Chance that the next item of a session is from the same cluster."""


class Catalogue:
    """Items drawn by a power law, in clusters of fifty that share a category."""

    def __init__(self, items: int, exponent: float = 1.0) -> None:
        self.items = items
        self._cumulative = list(accumulate((rank + 10) ** -exponent for rank in range(items)))

    def draw(self, choose: random.Random) -> int:
        return choose.choices(range(self.items), cum_weights=self._cumulative)[0]

    def near(self, item: int, choose: random.Random) -> int:
        first = item - item % CLUSTER
        return min(first + int(CLUSTER * choose.random() ** 2), self.items - 1)

    def follow(self, before: int | None, choose: random.Random) -> int:
        """A user's next item: mostly of the cluster of the one before, else of anywhere."""
        stays = before is not None and choose.random() < STAY
        return self.near(before, choose) if stays and before is not None else self.draw(choose)

    def metadata(self) -> Iterator[bytes]:
        """Each item as the catalogue's JSON."""
        for item in range(self.items):
            yield msgspec.json.encode(
                {"item_id": name(item), "title": f"Item {item}", "categories": [f"cluster-{item // CLUSTER}"]}
            )


def name(item: int) -> str:
    return f"{item:07d}"


def events(count: int, catalogue: Catalogue, users: int = 5_000, seed: int = 0) -> Iterator[bytes]:
    """Events in the public format, in time order, ending now."""
    choose = random.Random(seed)
    moment = datetime.now(UTC) - timedelta(milliseconds=10 * count)
    latest: dict[int, int] = {}
    for number in range(count):
        user = choose.randrange(users)
        item = latest[user] = catalogue.follow(latest.get(user), choose)
        moment += timedelta(milliseconds=10)
        yield msgspec.json.encode(
            {
                "event_id": f"{seed}-{number}",
                "user_id": f"u{user}",
                "session_id": f"s{user}-{number // (users * SESSION_EVENTS)}",
                "event_type": "click",
                "timestamp": moment,
                "page_url": f"https://shop.example/items/{name(item)}",
            }
        )
