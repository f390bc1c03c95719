"""What a pipeline wants of Pulsar, and the changes that get it there."""

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recpipe.pulsar.deployment import (
    COMPATIBILITY,
    Desired,
    Observed,
    ObservedTopic,
    desired,
    plan,
    removal,
)
from recpipe.pulsar.topics import Retention
from recpipe.spec import DeletionPolicy, RecommenderPipeline
from recpipe.topics import Topics


def shop(**events: Any) -> RecommenderPipeline:
    return RecommenderPipeline.model_validate(
        {
            "apiVersion": "recpipe.dev/v1alpha1",
            "kind": "RecommenderPipeline",
            "metadata": {"name": "shop"},
            "spec": {"events": events, "pulsar": {"tenant": "acme", "namespace": "recommender"}},
        }
    )


def fulfilled(wanted: Desired) -> Observed:
    """A cluster that has everything."""
    return Observed(
        tenant=True,
        namespace=True,
        topics={
            topic.name: ObservedTopic(
                topic.partitions,
                topic.retention,
                COMPATIBILITY,
                (topic.definition,),
                frozenset(topic.subscriptions),
            )
            for topic in wanted.topics
        },
    )


def changed(observed: Observed, name: str, **changes: Any) -> Observed:
    """The same cluster with one topic different."""
    topics = {
        topic: dataclasses.replace(there, **changes) if topic.name == name else there
        for topic, there in observed.topics.items()
    }
    return dataclasses.replace(observed, topics=topics)


def texts(wanted: Desired, observed: Observed) -> list[str]:
    return [change.text for change in plan(wanted, observed).changes]


def test_every_topic_is_wanted_with_its_readers_retention_and_schema() -> None:
    pipeline = shop(partitions=8, retention="24h")
    wanted = desired(pipeline)
    assert [topic.name.name for topic in wanted.topics] == [topic.name for topic in Topics.of(pipeline)]
    events = wanted.topics[0]
    assert str(events.name) == "persistent://acme/recommender/shop-events"
    assert (events.partitions, events.retention) == (8, Retention(24 * 60))
    assert events.subscriptions == ("clean",)
    assert events.definition["name"] == "Event"


def test_an_empty_cluster_gets_everything_in_an_order_that_works() -> None:
    found = texts(desired(shop()), Observed())
    assert found[:2] == ["+ tenant acme", "+ namespace acme/recommender"]
    events = [text for text in found if "shop-events" in text]
    assert events == [
        "+ topic persistent://acme/recommender/shop-events: 4 partitions",
        "~ schema compatibility of persistent://acme/recommender/shop-events: inherited -> FULL_TRANSITIVE",
        "+ schema Event on persistent://acme/recommender/shop-events",
        "~ retention of persistent://acme/recommender/shop-events: inherited -> 10080 minutes",
        "+ subscription clean on persistent://acme/recommender/shop-events",
    ]


@given(st.integers(1, 256))
def test_a_cluster_that_has_everything_gets_nothing(partitions: int) -> None:
    wanted = desired(shop(partitions=partitions))
    assert plan(wanted, fulfilled(wanted)) == ([], [])


def test_only_what_differs_is_changed() -> None:
    wanted = desired(shop())
    observed = changed(fulfilled(wanted), "shop-clean", retention=Retention(1), subscriptions=frozenset())
    assert texts(wanted, observed) == [
        "~ retention of persistent://acme/recommender/shop-clean: 1 minutes -> 10080 minutes",
        "+ subscription features on persistent://acme/recommender/shop-clean",
    ]


def test_partitions_grow_and_are_never_taken_away() -> None:
    wanted = desired(shop(partitions=4))
    smaller = changed(fulfilled(wanted), "shop-items", partitions=2)
    assert texts(wanted, smaller) == ["~ topic persistent://acme/recommender/shop-items: 2 -> 4 partitions"]
    larger = changed(fulfilled(wanted), "shop-items", partitions=16)
    changes, obstacles = plan(wanted, larger)
    assert changes == []
    assert obstacles == [
        "persistent://acme/recommender/shop-items keeps 16 partitions: they never shrink to 4"
    ]


def test_a_topic_without_partitions_is_left_alone_and_said() -> None:
    wanted = desired(shop())
    changes, obstacles = plan(wanted, changed(fulfilled(wanted), "shop-items", partitions=0))
    assert changes == []
    assert [text for text in obstacles if "shop-items exists without partitions" in text] == obstacles


def test_texts_for_people_in_a_schema_make_no_new_version() -> None:
    wanted = desired(shop())
    definition = next(topic.definition for topic in wanted.topics if topic.name.name == "shop-items")
    reworded = definition | {"doc": "other", "fields": [f | {"doc": "other"} for f in definition["fields"]]}
    observed = changed(fulfilled(wanted), "shop-items", definitions=(reworded,))
    assert texts(wanted, observed) == []


def test_an_earlier_schema_stays_and_the_newer_one_is_added() -> None:
    wanted = desired(shop())
    definition = next(topic.definition for topic in wanted.topics if topic.name.name == "shop-items")
    earlier = definition | {"fields": definition["fields"][:-1]}
    observed = changed(fulfilled(wanted), "shop-items", definitions=(earlier,))
    assert texts(wanted, observed) == ["+ schema Item on persistent://acme/recommender/shop-items"]
    observed = changed(fulfilled(wanted), "shop-items", definitions=(definition, earlier))
    assert texts(wanted, observed) == []


def test_data_goes_only_where_the_resource_says_so() -> None:
    observed = fulfilled(desired(shop()))
    assert removal(observed, DeletionPolicy.RETAIN) == []
    assert next(change.text for change in removal(observed, DeletionPolicy.DELETE)) == (
        "- topic persistent://acme/recommender/shop-events and its data"
    )
    assert len(removal(observed, DeletionPolicy.DELETE)) == 6
