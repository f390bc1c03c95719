"""The RecommenderPipeline resource: the only definition of what a pipeline can be told.

The CRD, the editor schema and the reference page are generated from these models. Every field has
a default that works, so `spec: {}` is a pipeline.
"""

import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from recpipe.duration import Duration, parse
from recpipe.rules import Change, Rule, between, matching

API_VERSION = "recpipe.dev/v1alpha1"
KIND = "RecommenderPipeline"
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$"


Name = Annotated[
    str,
    Field(max_length=253),
    matching(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "give the name of an object in this namespace: a-z, 0-9, - and ., such as shop-keys",
    ),
]
Image = Annotated[
    str,
    Field(max_length=256),
    matching(
        r"^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9._-]+(/[a-z0-9._-]+)*"
        r"(:[A-Za-z0-9_][A-Za-z0-9._-]*)?(@sha256:[0-9a-f]{64})?$",
        "give an image as repository:tag or repository@sha256:digest, without https:// in front",
    ),
]
Storage = Annotated[
    str,
    Field(max_length=16),
    matching(r"^[1-9][0-9]*(Mi|Gi|Ti)$", "write a whole number above 0 and Mi, Gi or Ti, such as 5Gi"),
    Change(
        "quantity(self).compareTo(quantity(oldSelf)) >= 0",
        "a volume can only grow: keep the size, or make a pipeline of another name with a smaller one",
    ),
]
Cpu = Annotated[
    str,
    Field(max_length=16),
    matching(
        r"^([1-9][0-9]*m?|[0-9]+\.[0-9]+)$", "write cores such as 2 or 0.5, or thousandths such as 250m"
    ),
]
Memory = Annotated[
    str,
    Field(max_length=16),
    matching(r"^[1-9][0-9]*(Mi|Gi)$", "write a whole number above 0 and Mi or Gi, such as 512Mi or 2Gi"),
]


class Section(BaseModel):
    """One part of the spec: camelCase outside, unknown fields refused, rules between fields checked."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )
    rules: ClassVar[tuple[Rule | Change, ...]] = ()

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        for rule in self.rules:
            if isinstance(rule, Rule):
                rule.check(self)
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


def _has_a_group(pattern: str) -> bool:
    """Whether it is a regular expression of RE2's with a group; raises ValueError where it is none."""
    if found := re.search(r"\(\?(=|!|<=|<!|\(|P=|>)|\\[1-9]", pattern):
        raise ValueError(f"{pattern!r} is not a regular expression of RE2: it knows no {found[0]}")
    try:
        return re.compile(pattern).groups > 0
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error


ItemIdPattern = Annotated[
    str,
    Field(max_length=256),
    Rule(
        # The first part is true of every pattern, and cannot be evaluated where it is none.
        r"(''.matches(self) ? true : true) && self.matches('(^|[^\\\\])\\((\\?P<|[^?])')",
        _has_a_group,
        "put a group around the item id, such as /items/([^/?]+)",
    ),
]
"""In RE2's syntax, which has no look-around and cannot be made to run for ever by a page's address."""


class Events(Section):
    """Which events there are and how they are kept."""

    types: Annotated[
        dict[str, EventType],
        Field(max_length=32),
        Rule(
            "self.all(name, name.matches('^[a-z][a-z0-9_]{0,31}$'))",
            lambda types: all(re.fullmatch("[a-z][a-z0-9_]{0,31}", name) for name in types),
            "name event types with a-z, 0-9 and _, a letter first, 32 characters at most",
        ),
    ] = {}
    """Event types beside (or redefining) click, scroll, hover and purchase."""
    item_id_patterns: Annotated[list[ItemIdPattern], Field(max_length=16)] = [
        r"/(?:items?|products?|p|articles?|videos?|watch|movies?)/([A-Za-z0-9._~-]{1,128})"
    ]
    """Regular expressions whose first group is the item id in a `page_url`; the first that matches counts."""
    partitions: Annotated[
        int,
        Field(ge=1, le=256),
        Change(
            "self >= oldSelf",
            "partitions can only grow: keep the number, or replay into a pipeline of another name with fewer",
        ),
    ] = 4
    """Partitions of every topic; they can grow, never shrink."""
    retention: Annotated[Duration, between("0s", "87600h")] = parse("168h")
    """How long the bus keeps what has been read by all, for backfill and retraining."""
    max_backlog: Annotated[int, Field(ge=1_000, le=100_000_000)] = 250_000
    """Records a partition holds before senders are asked to wait (embedded bus)."""
    max_event_bytes: Annotated[int, Field(ge=256, le=1_048_576)] = 16_384
    """Size of one event's JSON, in bytes."""

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

    deduplication_window: Annotated[Duration, between("1s", "720h")] = parse("10m")
    """How long an event id is remembered."""
    max_lateness: Annotated[Duration, between("1s", "999999h")] = parse("24h")
    """Oldest accepted timestamp, counted from arrival."""
    max_future_skew: Annotated[Duration, between("0s", "24h")] = parse("5m")
    """Newest accepted timestamp, counted from arrival: client clocks run ahead."""
    bots: Bots = Bots()


class Features(Section):
    """The user's live state."""

    half_life: Annotated[Duration, between("1s", "87600h")] = parse("6h")
    """Half-life of the activity score and of category interest."""
    windows: Annotated[
        list[Annotated[Duration, between("1s", "8760h")]], Field(min_length=1, max_length=4)
    ] = [
        parse("1h"),
        parse("24h"),
        parse("168h"),
    ]
    """Sliding windows of the frequency counts."""
    history_length: Annotated[int, Field(ge=1, le=1_000)] = 50
    """Items remembered for each user, newest first."""
    session_gap: Annotated[Duration, between("1s", "720h")] = parse("30m")
    """Silence that ends a session when the tracker names none."""
    state_ttl: Annotated[Duration, between("1m", "87600h")] = parse("2160h")
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


class Resources(Section):
    """Requests and limits of one container, in Kubernetes quantities."""

    cpu: Cpu = "250m"
    memory: Memory = "512Mi"


class LearnerResources(Resources):
    """The learner also exports model versions, for which it needs TensorFlow and room."""

    cpu: Cpu = "500m"
    memory: Memory = "3Gi"


class ModelStorage(Section):
    """Where model versions live: a volume, as a version becomes visible by a rename, which buckets do not have."""

    size: Storage = "5Gi"
    storage_class: Name | None = None
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = "ReadWriteOnce"
    """ReadWriteOnce keeps learner and serving on one node; ReadWriteMany lets serving spread over nodes."""
    keep_versions: Annotated[int, Field(ge=1, le=100)] = 3
    """The newest ones, besides those that `serving` names."""

    rules: ClassVar = (
        Change(
            "has(self.storageClass) == has(oldSelf.storageClass) "
            "&& (!has(self.storageClass) || self.storageClass == oldSelf.storageClass)",
            "storageClass: a volume keeps its class; make a pipeline of another name with another one",
        ),
    )


Schedule = Annotated[
    str,
    Field(max_length=64),
    matching(
        r"^(@(hourly|daily|weekly|monthly|yearly)|([-0-9*/,]+ ){3}[-0-9A-Za-z*/,]+ [-0-9A-Za-z*/,]+)$",
        "give a cron expression of five fields, such as 0 4 * * *, or @daily",
    ),
]


class Model(Section):
    """What is learned and when it is published."""

    dimensions: Annotated[int, Field(ge=8, le=512)] = 64
    """Width of the item embedding."""
    min_weight: Annotated[float, Field(ge=-100, le=100)] = 0.0
    """Events below this weight are neither tested nor taken as a positive."""
    publish_interval: Annotated[
        Duration, between("5s", "720h", "what must be fresher travels as live inputs")
    ] = parse("5m")
    """Time between full model versions; live inputs keep answers fresh between them."""
    checkpoint_interval: Annotated[
        Duration, between("100ms", "1h", "after a crash the learner goes back to its checkpoint")
    ] = parse("10s")
    live_interval: Annotated[
        Duration, between("1ms", "200ms", "recommendations would lag behind the last click")
    ] = parse("100ms")
    """Longest wait before what was just learned is in the store."""
    retrain_schedule: Schedule | None = None
    """Cron expression of full retraining from retained events."""
    test_rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of events tested before they are learned from; a learner that is behind tests fewer."""
    drift: Drift = Drift()
    storage: ModelStorage = ModelStorage()
    resources: LearnerResources = LearnerResources()


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

    image: Image | None = None
    """Image of the model server, instead of the operator's: any that takes tensorflow_model_server's flags."""
    replicas: Annotated[int, Field(ge=1, le=1_000)] = 1
    autoscaling: Autoscaling | None = None
    resources: Resources = Resources()
    version: Annotated[int, Field(ge=1)] | None = None
    """Serve exactly this model version, to roll back; if not given the newest."""
    labels: Annotated[dict[str, Annotated[int, Field(ge=1)]], Field(max_length=8)] = {}
    """Names for model versions, such as `canary: 12`; with labels, every kept version is loaded."""
    exclude_seen: bool = False
    """Leave out items in the user's history: films yes, shops usually no."""
    exclude_purchased: bool = True
    """Leave out items the user has bought."""
    max_per_category: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """At most so many items of one first category in an answer."""
    deadline: Annotated[Duration, between("1ms", "30s")] = parse("100ms")
    """Time the model has before a degraded answer is given."""

    @property
    def named_versions(self) -> set[int]:
        """Model versions that are not to be dropped, as they are served by their number."""
        return {*self.labels.values(), *([self.version] if self.version else [])}


class Authentication(Section):
    """API keys: the public key may only send events; the private key reads and edits."""

    enabled: bool = True
    secret: Name | None = None
    """Secret with the keys `public` and `private`; made by the operator where it is not named."""


class Ingress(Section):
    host: Annotated[
        str,
        Field(max_length=253),
        matching(
            r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
            "give a host name in lower case, such as events.shop.example, without https:// or a path",
        ),
    ]
    class_name: Name | None = None
    tls_secret: Name | None = None


Origin = Annotated[
    str,
    Field(max_length=256),
    matching(
        r"^(\*|https?://[^/?#@ ]+)$",
        "give an origin as browsers send it, scheme and host without a path, such as https://shop.example, or *",
    ),
]


class Gateway(Section):
    """The edge."""

    replicas: Annotated[int, Field(ge=1, le=1_000)] = 1
    autoscaling: Autoscaling | None = None
    resources: Resources = Resources()
    authentication: Authentication = Authentication()
    ingress: Ingress | None = None
    cors_origins: Annotated[list[Origin], Field(max_length=32)] = []
    """Origins whose pages may send events; empty means none, `*` any."""
    max_batch: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Events in one request."""
    user_events_per_second: Annotated[float, Field(gt=0, le=100_000)] = 200.0
    """Admission limit of one user, so that a hot key cannot hold up the rest."""


Place = Annotated[
    str,
    Field(max_length=64),
    matching(r"^[A-Za-z0-9_.-]+$", "use A-Z, a-z, 0-9, _, . and -, 64 characters at most"),
    Change(
        "self == oldSelf",
        "topics cannot move: keep it, or make a pipeline of another name and replay into that",
    ),
]


class Pulsar(Section):
    """The bus on a cluster."""

    service_url: Annotated[
        str,
        Field(max_length=512),
        matching(
            r"^pulsar(\+ssl)?://[^@/ ]+$",
            "give pulsar://host:6650 or pulsar+ssl://host:6651, without a password: that is credentialsSecret's",
        ),
    ] = "pulsar://pulsar:6650"
    admin_url: Annotated[
        str,
        Field(max_length=512),
        matching(
            r"^https?://[^@ ]+$",
            "give http://host:8080 or https://host:8443, without a password: that is credentialsSecret's",
        ),
    ] = "http://pulsar:8080"
    tenant: Place = "public"
    namespace: Place = "default"
    credentials_secret: Name | None = None
    """Secret with the keys that Pulsar asks for: `token`, `oauth2.json`, `ca.crt`, `tls.crt` and `tls.key`."""
    function_instances: Annotated[int, Field(ge=1, le=256)] = 1
    """Instances of each function, which share the partitions; those beyond the partitions idle."""


class ManagedStore(Section):
    image: Image = "valkey/valkey:8.1"
    memory: Memory = "1Gi"
    storage: Storage = "2Gi"


class Store(Section):
    """Valkey or Redis for live state."""

    url_secret: Name | None = None
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
            # A default is judged before the defaults below it are filled in: hence `has`.
            "!has(self.cleaning) || self.cleaning.bots.rhythmTypes.all(t, "
            "t in ['click', 'scroll', 'hover', 'purchase'] || t in self.events.types)",
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
