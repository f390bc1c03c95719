"""Which message ids are acknowledged, when."""

from hypothesis import given
from hypothesis import strategies as st

from recpipe.pulsar.acknowledgement import EachRecord, UpToRecord
from recpipe.schema import FEATURES, ITEM
from recpipe.topics import Topic

COUNT = 12
ITEMS, ROWS = Topic("items", ITEM, 2), Topic("features", FEATURES, 2)
places = st.integers(0, COUNT - 1)


def place(number: int) -> tuple[int, ...]:
    return (0, 5, number)


@given(st.lists(st.lists(places, unique=True)))
def test_only_what_has_nothing_unhandled_before_it_is_acknowledged(batches: list[list[int]]) -> None:
    acknowledgement = UpToRecord()
    for number in range(COUNT):
        acknowledgement.delivered(ITEMS, place(number), number)
    handled: set[int] = set()
    acknowledged = -1
    for batch in batches:
        handled |= set(batch)
        for _, last in acknowledgement.handled((ITEMS, place(number)) for number in batch):
            assert last > acknowledged
            acknowledged = last
        first_unhandled = next((number for number in range(COUNT) if number not in handled), COUNT)
        assert acknowledged == first_unhandled - 1


@given(st.permutations(range(COUNT)), st.integers(1, COUNT))
def test_in_the_end_everything_is_acknowledged_whatever_the_order(order: list[int], size: int) -> None:
    acknowledgement = UpToRecord()
    for number in range(COUNT):
        acknowledgement.delivered(ITEMS, place(number), number)
    ids = []
    for start in range(0, COUNT, size):
        ids += acknowledgement.handled((ITEMS, place(number)) for number in order[start : start + size])
    assert max(last for _, last in ids) == COUNT - 1


def test_partitions_and_topics_do_not_wait_for_each_other() -> None:
    acknowledgement = UpToRecord()
    for topic in (ITEMS, ROWS):
        for partition in (0, 1):
            acknowledgement.delivered(topic, (partition, 5, 0), f"{topic.name}-{partition}")
    assert acknowledgement.handled([(ITEMS, (1, 5, 0))]) == [(ITEMS, "items-1")]
    assert acknowledgement.handled([(ROWS, (0, 5, 0))]) == [(ROWS, "features-0")]


def test_what_is_delivered_again_is_acknowledged_by_its_newer_id() -> None:
    for acknowledgement in (UpToRecord(), EachRecord()):
        acknowledgement.delivered(ITEMS, place(0), "first delivery")
        acknowledgement.delivered(ITEMS, place(0), "second delivery")
        assert acknowledgement.handled([(ITEMS, place(0))]) == [(ITEMS, "second delivery")]


def test_what_is_delivered_again_after_it_was_handled_counts_as_unhandled() -> None:
    acknowledgement = UpToRecord()
    acknowledgement.delivered(ITEMS, place(0), "a")
    acknowledgement.delivered(ITEMS, place(1), "b")
    assert acknowledgement.handled([(ITEMS, place(1))]) == []
    acknowledgement.delivered(ITEMS, place(0), "a again")
    acknowledgement.delivered(ITEMS, place(1), "b again")
    assert acknowledgement.handled([(ITEMS, place(0))]) == [(ITEMS, "a again")]
    assert acknowledgement.handled([(ITEMS, place(1))]) == [(ITEMS, "b again")]


def test_each_record_is_acknowledged_by_itself_and_once() -> None:
    acknowledgement = EachRecord()
    for number in range(3):
        acknowledgement.delivered(ITEMS, place(number), number)
    assert acknowledgement.handled([(ITEMS, place(2)), (ITEMS, place(0))]) == [(ITEMS, 2), (ITEMS, 0)]
    assert acknowledgement.handled([(ITEMS, place(2)), (ITEMS, place(1))]) == [(ITEMS, 1)]
