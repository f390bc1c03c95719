"""The load function measures what it says, and a retrieval model of real size stands it."""

import numpy as np
import pytest

from recpipe_model.server.load import measure_predict

SECONDS = 30.0
QUERY = np.random.default_rng(1).standard_normal((1, 64)).astype("float32")
INPUTS = {"query": QUERY, "k": np.int32(20)}


def test_the_top_of_a_large_catalogue_is_exact(server):
    answer = server.client.predict("retrieval", "", INPUTS, timeout=SECONDS)
    expected = np.argsort(-answer["all_scores"][0])[:20]
    np.testing.assert_array_equal(answer["items"][0], expected)
    np.testing.assert_array_equal(answer["scores"][0], answer["all_scores"][0][expected])


def test_a_closed_loop_finds_a_rate_that_an_open_one_then_holds_at_half(server, record_property):
    inputs = {"x": np.ones(64, "float32")}
    closed = measure_predict(server.target, "adder", inputs, 1.0, concurrency=4)
    assert closed.failed == {}
    assert closed.p50_ms <= closed.p99_ms <= closed.max_ms
    assert closed.requests_per_second * closed.p50_ms / 1e3 < 4 * 1.5, "four callers have four requests out"
    rate = closed.requests_per_second / 2
    half = measure_predict(server.target, "adder", inputs, 1.0, rate=rate)
    assert half.failed == {}
    assert half.requests == pytest.approx(rate, abs=2)
    record_property("closed_loop", closed.as_dict())
    record_property("half_load", half.as_dict())


def test_failures_are_counted_by_their_code_and_not_timed(server):
    load = measure_predict(server.target, "nobody", {}, 0.1, rate=100)
    assert load.failed == {"NOT_FOUND": load.requests}
    assert load.requests_per_second == 0
    assert np.isnan(load.p50_ms)


@pytest.mark.parametrize("loops", [{}, {"concurrency": 1, "rate": 1}])
def test_either_loop_is_given(loops):
    with pytest.raises(ValueError, match=r"concurrency .* or rate"):
        measure_predict("127.0.0.1:1", "m", {}, 1, **loops)
