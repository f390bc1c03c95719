"""Questions as the signature's tensors, and its answers back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recpipe_gateway.tensors import Question, inputs_of, rankings_of

NOBODY = Question([], [], [], [], [], [], 5)


def question(items: list[str], rows: list[bytes], exclude: list[str], k: int) -> Question:
    ages, weights = [float(age) for age in range(len(items))], [1.0] * len(items)
    return Question(items, ages, weights, rows, exclude, ["device=mobile", "hour=20"], k)


def test_a_batch_is_padded_to_its_longest_row() -> None:
    inputs = inputs_of([question(["a", "b"], [b"row\0"], ["x"], 3), NOBODY], b"live")
    assert inputs["recent_items"].tolist() == [[b"a", b"b"], [b"", b""]]
    assert inputs["recent_ages"].tolist() == [[0.0, 1.0], [0.0, 0.0]]
    assert inputs["recent_weights"].dtype == np.float32
    assert inputs["rows"].tolist() == [[b"row\0"], [b""]]
    assert inputs["exclude"].tolist() == [[b"x"], [b""]]
    assert inputs["context"].tolist() == [[b"device=mobile", b"hour=20"], [b"", b""]]
    assert inputs["live"].item() == b"live"
    assert (inputs["k"].item(), inputs["k"].dtype) == (5, np.int32)


def test_a_new_users_question_still_has_two_dimensions() -> None:
    assert all(
        array.ndim == 2 for name, array in inputs_of([NOBODY], b"").items() if name not in {"k", "live"}
    )


ANSWER = {
    "items": np.array([[b"lamp", b"tent", b""], [b"bulb", b"cup", b"mug"]], object),
    "scores": np.array([[0.9, 0.5, -np.inf], [0.8, 0.7, 0.6]], np.float32),
    "shares": np.array(
        [
            [[0.5, 0.0, 0.1, 0.3], [0.5, 0.0, 0.0, 0.0], [0, 0, 0, 0]],
            [[0.1, -0.9, 0.8, 0.8], [0.7, 0, 0, 0], [0.6, 0, 0, 0]],
        ],
        np.float32,
    ),
    "components": np.array([b"covisits", b"trends", b"repeats", b"content"], object),
}


def test_each_question_gets_its_own_k_and_no_padding() -> None:
    first, second = rankings_of(ANSWER, 7, [question([], [], [], 3), question([], [], [], 2)])
    assert [each.item_id for each in first.candidates] == ["lamp", "tent"]
    assert [each.item_id for each in second.candidates] == ["bulb", "cup"]
    assert first.version == second.version == 7


def test_the_reasons_are_the_strongest_parts_for_or_against() -> None:
    first, second = rankings_of(ANSWER, 7, [question([], [], [], 3), question([], [], [], 3)])
    assert first.candidates[0].why == {"covisits": 0.5, "content": 0.3, "repeats": 0.1}
    assert first.candidates[1].why == {"covisits": 0.5}
    assert list(second.candidates[0].why) == ["trends", "repeats", "content"]


TEXTS = st.lists(st.text(max_size=5), max_size=4)


@given(
    st.lists(
        st.builds(question, TEXTS, st.lists(st.binary(max_size=5), max_size=4), TEXTS, st.integers(1, 9)),
        min_size=1,
        max_size=4,
    )
)
def test_nothing_of_a_question_is_lost_in_the_batch(questions: list[Question]) -> None:
    inputs = inputs_of(questions, b"")
    for line, asked in enumerate(questions):
        n = len(asked.items)
        assert [item.decode() for item in inputs["recent_items"][line, :n]] == asked.items
        assert inputs["recent_ages"][line, :n].tolist() == asked.ages
        assert inputs["rows"][line, : len(asked.rows)].tolist() == asked.rows
        assert not any(inputs["recent_items"][line, n:])
