"""Every hyperparameter of the hybrid, with defaults meant to serve any catalogue."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Hyperparameters; ages and half-lives in seconds.

    Raises:
        ValueError: when a size is not positive.
    """

    recent: int = 50
    """Most recent distinct items of a user that a query holds (H)."""
    rows: int = 20
    """Most recent items whose neighbour rows are read (R, at most `recent`)."""
    neighbours: int = 128
    """Entries of a neighbour row (K)."""
    window: int = 50
    """Earlier items that a new event is paired with, at most `recent`."""
    shortlist: int = 256
    """Neighbours kept for scoring, by summed probability."""
    popular: int = 200
    """Items in the list of the most popular, always candidates."""
    fresh: int = 100
    """Newest items, always candidates."""
    hot: int = 500
    """Items whose statistics travel in the live blob: the latest touched."""
    announced: int = 1000
    """Newest items named in the live blob, at most."""
    dimensions: int = 64
    """Length of an embedding vector."""
    embedded: int = 5
    """Most recent items that the sequence part of the embedding reads."""
    tokens: int = 16
    """Content tokens kept of an item."""
    token_buckets: int = 4096
    """Hash buckets that content tokens fall into."""
    numbers: int = 4
    """Numeric attributes kept of an item, by order of first appearance."""
    contexts: int = 64
    """Distinct `key=value` contexts that get blend weights of their own."""
    trend_half_life: float = 86_400.0
    """Half-life of the trend component."""
    users: int = 200_000
    """Users whose history is kept; the least recently active leave first."""
    history: int = 1000
    """Distinct items kept of one user."""
    blend_rate: float = 0.2
    """AdaGrad learning rate of the blend weights."""
    taste_dimensions: int = 24
    """Length of a taste vector."""
    taste_ridge: float = 1.0
    """Strength of a direction of taste that is taken for noise, the average direction's being 1."""
    embedding_rate: float = 0.07
    """AdaGrad learning rate of the embeddings."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"Settings.{name} is {value!r}: give a positive number")
        for name in ("rows", "window", "embedded"):
            if getattr(self, name) > self.recent:
                raise ValueError(f"Settings.{name} is {getattr(self, name)}: at most recent={self.recent}")
