"""When an object has to be applied again."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recpipe_operator import quantity
from recpipe_operator.difference import agrees
from recpipe_operator.objects import settled, stamped

NAMES = st.sampled_from(["spec", "replicas", "args", "labels", "ingress"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_everything_agrees_with_itself(value: Any) -> None:
    assert agrees(value, value)


@given(
    st.dictionaries(NAMES, JSON, max_size=3),
    st.dictionaries(NAMES, JSON, max_size=3),
)
def test_what_others_add_makes_no_difference(wanted: dict[str, Any], added: dict[str, Any]) -> None:
    assert agrees(wanted, added | wanted)


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        ({"replicas": 2}, {"replicas": 3}, False),
        ({"requests": {"memory": "1024Mi"}}, {"requests": {"memory": "1Gi"}}, True),
        ({"requests": {"cpu": "0.5"}}, {"requests": {"cpu": "500m"}}, True),
        ({"requests": {"cpu": "1"}}, {"requests": {"cpu": "500m"}}, False),
        ({"args": ["--a"]}, {"args": ["--a", "--b"]}, False),
        (
            {"containers": [{"name": "a"}]},
            {"containers": [{"name": "istio"}, {"name": "a", "image": "x"}]},
            True,
        ),
        ({"containers": [{"name": "a", "image": "x"}]}, {"containers": [{"name": "a", "image": "y"}]}, False),
        ({"ingress": [{"ports": [{"port": 1}]}]}, {"ingress": [{"ports": [{"port": 1}]}, {}]}, False),
        ({"emptyDir": {}}, {"emptyDir": {}}, True),
        ({"labels": {"a": "b"}}, {"labels": {"a": "b", "team": "shop"}}, True),
        ({"labels": {"a": "b"}}, {}, False),
    ],
)
def test_differences_are_seen_and_defaults_are_not(
    wanted: dict[str, Any], found: dict[str, Any], same: bool
) -> None:
    assert agrees(wanted, found) is same


def test_a_field_that_is_no_longer_wanted_is_a_difference() -> None:
    identity = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}}
    before, after = identity | {"data": {"x": "1", "y": "2"}}, identity | {"data": {"x": "1"}}
    assert settled(stamped(before), stamped(before))
    assert not settled(stamped(after), stamped(before))


@pytest.mark.parametrize(
    ("text", "bytes_"), [("1Gi", 2**30), ("2Mi", 2**21), ("1500m", 1.5), ("3", 3), ("1k", 1000)]
)
def test_quantities(text: str, bytes_: float) -> None:
    assert float(quantity.parse(text)) == bytes_


def test_what_is_no_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="'lots' is not a quantity"):
        quantity.parse("lots")
