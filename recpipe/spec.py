"""The RecommenderPipeline resource: the only definition of what a pipeline can be told.

The CRD, the editor schema and the reference page are generated from these models. Every field has
a default that works, so `spec: {}` is a pipeline.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from recpipe.duration import Duration, parse

API_VERSION = "recpipe.dev/v1alpha1"
KIND = "RecommenderPipeline"
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$"


@dataclass(frozen=True)
class Rule:
    """A rule between fields, said once for the API server (CEL) and once for Python."""

    cel: str
    holds: Callable[[Any], bool]
    message: str


class Section(BaseModel):
    """One part of the spec: camelCase outside, unknown fields refused, rules between fields checked."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        for rule in self.rules:
            if not rule.holds(self):
                raise ValueError(rule.message)
        return self


class EventType(Section):
    """What one kind of event says of the user's interest."""

    weight: Annotated[float, Field(ge=-100, le=100)] = 1.0
    """Strength of the evidence; a click is 1, a negative weight is dislike."""
    weight_from: Annotated[str, Field(max_length=64)] | None = None
    """Key of `additional_data` that holds each event's weight, such as `rating`; else `weight` counts."""


BUILT_IN_TYPES = {
    "click": EventType(weight=1.0),
    "scroll": EventType(weight=0.2),
    "hover": EventType(weight=0.3),
    "purchase": EventType(weight=5.0),
}


class Events(Section):
    """Which events there are and how they are kept."""

    types: Annotated[dict[str, EventType], Field(max_length=32)] = {}
    """Event types beside (or redefining) click, scroll, hover and purchase."""
    item_id_patterns: Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=16)] = [
        r"/(?:items?|products?|p|articles?|videos?|watch|movies?)/([A-Za-z0-9._~-]{1,128})"
    ]
    """Regular expressions whose first group is the item id in a `page_url`; the first that matches counts."""
    partitions: Annotated[int, Field(ge=1, le=256)] = 4
    """Partitions of every topic; they can grow, never shrink."""
    retention: Duration = parse("168h")
    """How long the bus keeps what has been read by all, for backfill and retraining."""
    max_backlog: Annotated[int, Field(ge=1_000, le=100_000_000)] = 250_000
    """Records a partition holds before senders are asked to wait (embedded bus)."""
    max_event_bytes: Annotated[int, Field(ge=256, le=1_048_576)] = 16_384
    """Size of one event's JSON, in bytes."""

    @field_validator("item_id_patterns")
    @classmethod
    def _has_one_group(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
            if groups < 1:
                raise ValueError(f"{pattern!r} needs a group around the item id, such as /items/([^/?]+)")
        return patterns

    @field_validator("types")
    @classmethod
    def _are_names(cls, types: dict[str, EventType]) -> dict[str, EventType]:
        for name in types:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name):
                raise ValueError(f"{name!r} is not an event type: use a-z, 0-9 and _, 32 characters at most")
        return types

    def all_types(self) -> dict[str, EventType]:
        """The built-in types with the spec's own on top."""
        return BUILT_IN_TYPES | self.types


class Bots(Section):
    """When an event is taken for a machine's. Precision first: a rejected human is lost revenue."""

    enabled: bool = True
    declared_crawlers: bool = True
    """Reject user agents that name themselves crawlers."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Score from which an event is rejected; each reason adds to the score."""
    max_events_per_second: Annotated[float, Field(gt=0, le=10_000)] = 20.0
    """Sustained rate of one user above which no hand can be."""
    burst: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Events a user may send at once before the rate counts."""
    rhythm: bool = True
    """Watch for intervals too regular for a human."""
    rhythm_types: Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=32)] = [
        "click",
        "purchase",
    ]
    """Event types that a hand makes; only their rhythm is watched, for players and timers are regular."""
    anomalies: bool = True
    """Second line: an anomaly model over session features; adds to the score, never rejects alone."""


class Cleaning(Section):
    """Is this event true, new and human?"""

    deduplication_window: Duration = parse("10m")
    """How long an event id is remembered."""
    max_lateness: Duration = parse("24h")
    """Oldest accepted timestamp, counted from arrival."""
    max_future_skew: Duration = parse("5m")
    """Newest accepted timestamp, counted from arrival: client clocks run ahead."""
    bots: Bots = Bots()


class Features(Section):
    """The user's live state."""

    half_life: Duration = parse("6h")
    """Half-life of the activity score and of category interest."""
    windows: Annotated[list[Duration], Field(min_length=1, max_length=4)] = [
        parse("1h"),
        parse("24h"),
        parse("168h"),
    ]
    """Sliding windows of the frequency counts."""
    history_length: Annotated[int, Field(ge=1, le=1_000)] = 50
    """Items remembered for each user, newest first."""
    session_gap: Duration = parse("30m")
    """Silence that ends a session when the tracker names none."""
    state_ttl: Duration = parse("2160h")
    """How long a silent user is remembered."""
    profiles: bool = True
    """Join user profiles."""
    items: bool = True
    """Join item metadata."""


class Drift(Section):
    """When quality or traffic has changed enough to say so."""

    enabled: bool = True
    delta: Annotated[float, Field(gt=0, lt=1)] = 0.002
    """Confidence of the ADWIN change detector: smaller is slower and surer."""
    min_events: Annotated[int, Field(ge=100, le=10_000_000)] = 2_000


class ModelStorage(Section):
    """Where model versions live."""

    size: Annotated[str, Field(pattern=r"^[0-9]+(Mi|Gi|Ti)$")] = "5Gi"
    storage_class: str | None = None
    url: Annotated[str, Field(max_length=512)] | None = None
    """Object storage or directory instead of a volume claim."""
    keep_versions: Annotated[int, Field(ge=1, le=100)] = 3


class Model(Section):
    """What is learned and when it is published."""

    dimensions: Annotated[int, Field(ge=8, le=512)] = 64
    """Width of the item embedding."""
    min_weight: Annotated[float, Field(ge=-100, le=100)] = 0.0
    """Events below this weight are neither tested nor taken as a positive."""
    publish_interval: Duration = parse("5m")
    """Time between full model versions; live inputs keep answers fresh between them."""
    checkpoint_interval: Duration = parse("10s")
    live_interval: Duration = parse("100ms")
    """Longest wait before what was just learned is in the store."""
    retrain_schedule: Annotated[str, Field(max_length=64)] | None = None
    """Cron expression of full retraining from retained events."""
    test_rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of events tested before they are learned from; a learner that is behind tests fewer."""
    drift: Drift = Drift()
    storage: ModelStorage = ModelStorage()

    rules: ClassVar = (
        Rule(
            "duration(self.liveInterval) <= duration('200ms')",
            lambda m: m.live_interval <= parse("200ms"),
            "liveInterval: at most 200ms, or recommendations would lag behind the last click",
        ),
        Rule(
            "duration(self.publishInterval) >= duration('5s')",
            lambda m: m.publish_interval >= parse("5s"),
            "publishInterval: at least 5s; what must be fresher travels as live inputs",
        ),
    )


class Resources(Section):
    """Requests and limits of one container, in Kubernetes quantities."""

    cpu: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?m?$")] = "250m"
    memory: Annotated[str, Field(pattern=r"^[0-9]+(Mi|Gi)$")] = "512Mi"


class Autoscaling(Section):
    min_replicas: Annotated[int, Field(ge=1, le=1_000)] = 1
    max_replicas: Annotated[int, Field(ge=1, le=1_000)] = 4
    target_cpu_percent: Annotated[int, Field(ge=10, le=100)] = 70

    rules: ClassVar = (
        Rule(
            "self.minReplicas <= self.maxReplicas",
            lambda a: a.min_replicas <= a.max_replicas,
            "minReplicas: must not be above maxReplicas",
        ),
    )


class Serving(Section):
    """How recommendations are answered."""

    image: Annotated[str, Field(max_length=256)] = "tensorflow/serving:2.19.1"
    replicas: Annotated[int, Field(ge=1, le=1_000)] = 1
    autoscaling: Autoscaling | None = None
    resources: Resources = Resources()
    exclude_seen: bool = False
    """Leave out items in the user's history: films yes, shops usually no."""
    exclude_purchased: bool = True
    """Leave out items the user has bought."""
    max_per_category: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """At most so many items of one first category in an answer."""
    deadline: Duration = parse("100ms")
    """Time the model has before a degraded answer is given."""


class Authentication(Section):
    """API keys: the public key may only send events; the private key reads and edits."""

    enabled: bool = True
    secret: Annotated[str, Field(max_length=253)] | None = None
    """Secret with the keys `public` and `private`; made by the operator where it is not named."""


class Ingress(Section):
    host: Annotated[str, Field(min_length=1, max_length=253)]
    class_name: str | None = None
    tls_secret: str | None = None


class Gateway(Section):
    """The edge."""

    replicas: Annotated[int, Field(ge=1, le=1_000)] = 1
    autoscaling: Autoscaling | None = None
    resources: Resources = Resources()
    authentication: Authentication = Authentication()
    ingress: Ingress | None = None
    cors_origins: Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=32)] = []
    """Origins whose pages may send events; empty means none, `*` any."""
    max_batch: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Events in one request."""
    user_events_per_second: Annotated[float, Field(gt=0, le=100_000)] = 200.0
    """Admission limit of one user, so that a hot key cannot hold up the rest."""


class Pulsar(Section):
    """The bus on a cluster."""

    service_url: Annotated[str, Field(pattern=r"^pulsar(\+ssl)?://.+")] = "pulsar://pulsar:6650"
    admin_url: Annotated[str, Field(pattern=r"^https?://.+")] = "http://pulsar:8080"
    tenant: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "public"
    namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "default"
    credentials_secret: Annotated[str, Field(max_length=253)] | None = None


class ManagedStore(Section):
    image: Annotated[str, Field(max_length=256)] = "valkey/valkey:8.1"
    memory: Annotated[str, Field(pattern=r"^[0-9]+(Mi|Gi)$")] = "1Gi"
    storage: Annotated[str, Field(pattern=r"^[0-9]+(Mi|Gi|Ti)$")] = "2Gi"


class Store(Section):
    """Valkey or Redis for live state."""

    url_secret: Annotated[str, Field(max_length=253)] | None = None
    """Secret with the key `url` of a store that exists already."""
    managed: ManagedStore | None = None
    """A store that the operator runs; the default where `urlSecret` is not given."""

    rules: ClassVar = (
        Rule(
            "!(has(self.urlSecret) && has(self.managed))",
            lambda s: s.url_secret is None or s.managed is None,
            "urlSecret: cannot be combined with managed; keep one of the two",
        ),
    )


class DeletionPolicy(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


class PipelineSpec(Section):
    """Everything a pipeline can be told."""

    events: Events = Events()
    cleaning: Cleaning = Cleaning()
    features: Features = Features()
    model: Model = Model()
    serving: Serving = Serving()
    gateway: Gateway = Gateway()
    pulsar: Pulsar = Pulsar()
    store: Store = Store()
    paused: bool = False
    """Stop changing the cluster for this pipeline."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """What happens to topics, state and model versions when the resource is deleted."""

    rules: ClassVar = (
        Rule(
            "self.cleaning.bots.rhythmTypes.all(t, t in ['click', 'scroll', 'hover', 'purchase'] "
            "|| t in self.events.types)",
            lambda s: set(s.cleaning.bots.rhythm_types) <= set(s.events.all_types()),
            "cleaning.bots.rhythmTypes: name only built-in event types and those of events.types",
        ),
    )


class Metadata(BaseModel):
    """The parts of Kubernetes' metadata that matter here; the rest is let through."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    namespace: str = "default"


class RecommenderPipeline(BaseModel):
    """A pipeline: topics, functions, model, serving and gateway under one name."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)
    api_version: Literal["recpipe.dev/v1alpha1"]
    kind: Literal["RecommenderPipeline"]
    metadata: Metadata
    spec: PipelineSpec = PipelineSpec()
    status: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return self.metadata.name
