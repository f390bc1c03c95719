"""Which message ids are acknowledged, when."""

from hypothesis import given
from hypothesis import strategies as st

from recpipe.pulsar.acknowledgement import EachRecord, UpToRecord

COUNT = 12
places = st.integers(0, COUNT - 1)


def place(number: int) -> tuple[int, ...]:
    return (0, 5, number)


@given(st.lists(st.lists(places, unique=True)))
def test_only_what_has_nothing_unhandled_before_it_is_acknowledged(batches: list[list[int]]) -> None:
    acknowledgement = UpToRecord()
    for number in range(COUNT):
        acknowledgement.delivered("items", place(number), number)
    handled: set[int] = set()
    acknowledged = -1
    for batch in batches:
        handled |= set(batch)
        for last in acknowledgement.handled(("items", place(number)) for number in batch):
            assert last > acknowledged
            acknowledged = last
        first_unhandled = next((number for number in range(COUNT) if number not in handled), COUNT)
        assert acknowledged == first_unhandled - 1


@given(st.permutations(range(COUNT)), st.integers(1, COUNT))
def test_in_the_end_everything_is_acknowledged_whatever_the_order(order: list[int], size: int) -> None:
    acknowledgement = UpToRecord()
    for number in range(COUNT):
        acknowledgement.delivered("items", place(number), number)
    ids = []
    for start in range(0, COUNT, size):
        ids += acknowledgement.handled(("items", place(number)) for number in order[start : start + size])
    assert max(ids) == COUNT - 1


def test_partitions_and_topics_do_not_wait_for_each_other() -> None:
    acknowledgement = UpToRecord()
    for topic in ("items", "features"):
        for partition in (0, 1):
            acknowledgement.delivered(topic, (partition, 5, 0), f"{topic}-{partition}")
    assert acknowledgement.handled([("items", (1, 5, 0))]) == ["items-1"]
    assert acknowledgement.handled([("features", (0, 5, 0))]) == ["features-0"]


def test_what_is_delivered_again_is_acknowledged_by_its_newer_id() -> None:
    for acknowledgement in (UpToRecord(), EachRecord()):
        acknowledgement.delivered("items", place(0), "first delivery")
        acknowledgement.delivered("items", place(0), "second delivery")
        assert acknowledgement.handled([("items", place(0))]) == ["second delivery"]


def test_what_is_delivered_again_after_it_was_handled_counts_as_unhandled() -> None:
    acknowledgement = UpToRecord()
    acknowledgement.delivered("items", place(0), "a")
    acknowledgement.delivered("items", place(1), "b")
    assert acknowledgement.handled([("items", place(1))]) == []
    acknowledgement.delivered("items", place(0), "a again")
    acknowledgement.delivered("items", place(1), "b again")
    assert acknowledgement.handled([("items", place(0))]) == ["a again"]
    assert acknowledgement.handled([("items", place(1))]) == ["b again"]


def test_each_record_is_acknowledged_by_itself_and_once() -> None:
    acknowledgement = EachRecord()
    for number in range(3):
        acknowledgement.delivered("items", place(number), number)
    assert acknowledgement.handled([("items", place(2)), ("items", place(0))]) == [2, 0]
    assert acknowledgement.handled([("items", place(2)), ("items", place(1))]) == [1]
