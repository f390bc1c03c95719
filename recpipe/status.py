"""What the learner says of itself, twice a second, for people and for the operator."""

import msgspec


class Quality(msgspec.Struct, frozen=True):
    """Prequential accuracy at k: each event tested before it was learned from."""

    k: int = 10
    tested: int = 0
    hit_rate: float = 0.0
    ndcg: float = 0.0


class LearnerStatus(msgspec.Struct, frozen=True):
    """The learner's metrics; in the store under Keys.learner, as JSON."""

    learned: int = 0
    """Distinct feature rows learned from, since the pipeline began."""
    repeats: int = 0
    items: int = 0
    """Items in the vocabulary."""
    hybrid: Quality = Quality()
    popularity: Quality = Quality()
    test_rate: float = 1.0
    """Share of events tested just now; below the spec's when the learner is behind."""
    events_per_second: float = 0.0
    lag_seconds: float = 0.0
    """From the arrival of the newest learned event to its learning."""
    model_version: int = 0
    versions: tuple[int, ...] = ()
    """Those that are kept, oldest first."""
    impressions: int = 0
    clicks: int = 0
    """Impressions' items that were clicked or bought afterwards."""
    drifted: bool = False
    drift_reason: str = ""
    reported_at: float = 0.0
    """When this was said, in seconds since the Unix epoch; 0 where nothing was yet."""
    published_at: float = 0.0
    """When the newest version was published, alike."""
