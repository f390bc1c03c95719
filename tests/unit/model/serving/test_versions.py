"""The rule that picks what to load and unload keeps a model available all the way."""

from hypothesis import given
from hypothesis import strategies as st

from recpipe_model.server.versions import Action, next_action

NUMBERS = st.frozensets(st.integers(1, 9), max_size=6)


def settle(aspired, available, broken):
    """Carry out the rule's actions until it has none, where the broken versions never load."""
    loadable = set(aspired - available)
    history = [set(available)]
    while action := next_action(aspired, history[-1], loadable):
        kind, number = action
        loadable.discard(number)
        if kind is Action.UNLOAD:
            history.append(history[-1] - {number})
        elif number not in broken:
            history.append(history[-1] | {number})
        assert len(history) < 50, "it must come to rest"
    return history


@given(NUMBERS, NUMBERS)
def test_it_comes_to_rest_with_exactly_what_is_wanted(aspired, available):
    assert settle(aspired, available, broken=frozenset())[-1] == aspired


@given(NUMBERS.filter(bool), NUMBERS.filter(bool), NUMBERS)
def test_a_model_that_has_a_version_is_never_left_without(aspired, available, broken):
    assert all(settle(aspired, available, broken))


@given(NUMBERS.filter(bool), NUMBERS.filter(bool))
def test_the_newest_old_version_serves_on_when_every_wanted_one_is_broken(aspired, available):
    unwanted = available - aspired
    at_rest = settle(aspired, unwanted, broken=aspired)[-1]
    assert at_rest == ({max(unwanted)} if unwanted else set())


def test_the_newest_wanted_version_loads_first():
    assert next_action({1, 2, 3}, set(), {1, 2, 3}) == (Action.LOAD, 3)


def test_without_a_wanted_version_everything_is_unloaded():
    assert settle(frozenset(), frozenset({1, 2}), frozenset())[-1] == set()
