"""The exported graph answers as the learner does, and a version is published whole or not at all."""

import random
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from recpipe.horizon import Horizon
from recpipe_model.export import ExportError, export, publish
from recpipe_model.hybrid import HybridModel
from recpipe_model.server.config import max_batch_rows
from recpipe_model.server.importing import _parts as parts_of
from recpipe_model.server.servable import Servable
from recpipe_model.server.session import read_meta_graph

CONTEXT = ("device=mobile", "hour=20")


@pytest.fixture(scope="module")
def model() -> HybridModel:
    model, choose = HybridModel(), random.Random(0)
    for item in range(300):
        model.put_item(
            f"film-é-{item}",
            categories=[f"genre-{item // 20}"],
            attributes={"year": 1990.0 + item % 20},
            title=f"Film {item}",
            time=0.0,
        )
    for number in range(4_000):
        user, item = f"u{choose.randrange(200)}", f"film-é-{int(300 * choose.random() ** 2)}"
        model.learn(user, item, number * 30.0, context=CONTEXT)
    return model


@pytest.fixture(scope="module")
def signatures(model: HybridModel, tmp_path_factory: pytest.TempPathFactory):
    folder = export(model, tmp_path_factory.mktemp("models"), 1)
    loaded = tf.saved_model.load(str(folder))
    yield loaded.signatures
    del loaded


@pytest.fixture(scope="module")
def signature(signatures):
    return signatures["serving_default"]


@pytest.mark.parametrize("user", [f"u{number}" for number in range(0, 200, 20)] + ["nobody"])
def test_scores_and_shares_are_the_learners(model: HybridModel, signature, user: str) -> None:
    query = model.query_of(user, 130_000.0, CONTEXT)
    answer = signature(**publish.inputs_of(model, query))
    expected = model.recommend(query, publish.K)
    assert [name.decode() for name in answer["items"].numpy()[0]] == list(expected.items)
    assert answer["scores"].numpy()[0] == pytest.approx(expected.scores, rel=1e-5, abs=1e-5)
    assert answer["shares"].numpy()[0] == pytest.approx(expected.shares, rel=1e-5, abs=1e-5)
    assert [name.decode() for name in answer["components"].numpy()] == list(expected.components)


@pytest.mark.parametrize("user", [f"u{number}" for number in range(0, 200, 20)] + ["nobody"])
def test_scores_of_the_taste_are_the_learners(model: HybridModel, signatures, user: str) -> None:
    query = model.query_of(user, 130_000.0, horizon=Horizon.TASTE)
    answer = signatures["taste"](**publish.inputs_of(model, query))
    expected = model.recommend(query, publish.K)
    assert [name.decode() for name in answer["items"].numpy()[0]] == list(expected.items)
    assert answer["scores"].numpy()[0] == pytest.approx(expected.scores, rel=1e-5, abs=1e-5)
    assert answer["shares"].numpy()[0] == pytest.approx(expected.shares, rel=1e-5, abs=1e-5)
    assert [name.decode() for name in answer["components"].numpy()] == list(expected.components)


def test_of_the_taste_neither_excluded_nor_deleted_items_come_out(tmp_path: Path) -> None:
    model = HybridModel()
    for number in range(90):
        model.learn(f"u{number % 9}", f"i{number % 10}", float(number))
    signature = tf.saved_model.load(str(export(model, tmp_path, 1))).signatures["taste"]
    model.delete_item("i3")
    query = model.query_of("u1", 100.0, horizon=Horizon.TASTE)
    found = signature(**publish.inputs_of(model, query) | {"exclude": tf.constant([[b"i4", b"unknown"]])})
    names = [name.decode() for name in found["items"].numpy()[0] if name]
    assert sorted(names) == [f"i{item}" for item in range(10) if item not in (3, 4)]


def test_an_excluded_item_never_comes_out(model: HybridModel, signature) -> None:
    query = model.query_of("u20", 130_000.0, CONTEXT)
    inputs = publish.inputs_of(model, query)
    first = signature(**inputs)["items"].numpy()[0][0]
    again = signature(**(inputs | {"exclude": tf.constant([[first]])}))["items"].numpy()[0]
    assert first not in again


def test_without_live_inputs_the_exported_tables_answer(model: HybridModel, signature) -> None:
    query = model.query_of("u20", 130_000.0, CONTEXT)
    inputs = publish.inputs_of(model, query)
    with_live = signature(**inputs)
    blank = inputs | {"live": tf.constant(b""), "rows": tf.fill(tf.shape(inputs["rows"]), b"")}
    without = signature(**blank)
    assert without["scores"].numpy() == pytest.approx(with_live["scores"].numpy(), rel=1e-4, abs=1e-4)


def test_a_graph_that_answers_otherwise_is_not_published(
    model: HybridModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish.np, "allclose", lambda *_, **__: False)
    with pytest.raises(ExportError, match="differ from the learner's"):
        export(model, tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_version_is_never_overwritten(model: HybridModel, tmp_path: Path) -> None:
    place = export(model, tmp_path, 7)
    before = [(file, file.stat().st_ino) for file in sorted(place.rglob("*"))]
    assert export(model, tmp_path, 7).name == "8"
    assert [(file, file.stat().st_ino) for file in sorted(place.rglob("*"))] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["7", "8"]


def test_a_model_that_has_met_no_context_is_exported(tmp_path: Path) -> None:
    model = HybridModel()
    for number in range(20):
        model.learn(f"u{number % 2}", f"i{number % 7}", float(number))
    export(model, tmp_path, 1)  # which compares the graph with the model
    assert (tmp_path / "1" / "saved_model.pb").exists()


def test_a_batch_answers_as_its_queries_one_by_one(model: HybridModel, signature) -> None:
    alone = [publish.inputs_of(model, model.query_of(user, 130_000.0, CONTEXT)) for user in ("u20", "u40")]
    width = min(inputs["recent_items"].shape[1] for inputs in alone)
    per_query = ("recent_items", "recent_ages", "recent_weights", "rows", "exclude", "context")
    cut = [{name: inputs[name][:, :width] for name in per_query} for inputs in alone]
    shared = {name: alone[0][name] for name in ("live", "k")}
    together = {name: tf.concat([inputs[name] for inputs in cut], 0) for name in per_query}
    batch = signature(**together, **shared)
    for number, inputs in enumerate(cut):
        single = signature(**inputs, **shared)
        assert (batch["items"][number].numpy() == single["items"][0].numpy()).all()
        assert batch["scores"][number].numpy() == pytest.approx(single["scores"][0].numpy(), rel=1e-5)


def test_an_item_newer_than_the_export_is_named_and_ranked(model: HybridModel, tmp_path: Path) -> None:
    grown = HybridModel(model.settings)
    grown.restore({name: array.copy() for name, array in model.state().items()})
    loaded = tf.saved_model.load(str(export(grown, tmp_path, 1)))
    exported = len(grown.vocabulary)
    for number in range(30):
        grown.learn(f"u{number}", "brand-new", 125_000.0 + number, context=CONTEXT)
    query = grown.query_of("u5", 130_000.0, CONTEXT)
    inputs = publish.inputs_of(grown, query) | {"live": tf.constant(grown.live(exported), tf.string)}
    answer = loaded.signatures["serving_default"](**inputs)
    expected = grown.recommend(query, publish.K)
    assert "brand-new" in expected.items
    assert b"brand-new" in answer["items"].numpy()[0]


def test_an_item_only_described_since_the_export_ages_as_in_the_learner(
    model: HybridModel, tmp_path: Path
) -> None:
    grown = HybridModel(model.settings)
    grown.restore({name: array.copy() for name, array in model.state().items()})
    loaded = tf.saved_model.load(str(export(grown, tmp_path, 1)))
    exported = len(grown.vocabulary)
    grown.put_item("announced", categories=["genre-1"], title="Film", time=125_000.0)
    for number in range(30):
        grown.learn(f"u{number}", "film-é-1", 125_000.0 + 3_600.0 * number, context=CONTEXT)
    query = grown.query_of("u5", 240_000.0, CONTEXT)
    everything = len(grown.vocabulary)
    inputs = publish.inputs_of(grown, query) | {
        "live": tf.constant(grown.live(exported), tf.string),
        "k": tf.constant(everything),
    }
    answer = loaded.signatures["serving_default"](**inputs)
    expected = grown.recommend(query, everything)
    in_graph = answer["items"].numpy()[0].tolist().index(b"announced")
    in_learner = expected.items.index("announced")
    new = expected.components.index("new")
    assert answer["shares"].numpy()[0, in_graph, new] == pytest.approx(
        expected.shares[in_learner, new], rel=1e-5
    )


def test_the_graph_is_optimized_and_can_be_loaded_in_small_parts(model: HybridModel, tmp_path: Path) -> None:
    graph_def = read_meta_graph(export(model, tmp_path, 1)).graph_def
    constants = [node.attr["value"].SerializeToString() for node in graph_def.node if node.op == "Const"]
    assert len(constants) < 1.1 * len(set(constants)), "equal constants are merged"
    assert not [node.op for node in graph_def.node if node.op.startswith("_")], (
        "other servers may not have these"
    )
    assert max(len(part.graph_def.node) for part in parts_of(graph_def)) < 200


@pytest.mark.parametrize("count", [2, 4, 8])
def test_the_model_server_answers_queries_together_as_it_does_alone(
    model: HybridModel, signatures, tmp_path: Path, count: int
) -> None:
    folder = export(model, tmp_path, 1)
    servable = Servable(folder, max_batch_rows=max_batch_rows(folder))
    requests = [request(model, f"u{number}") for number in range(count)]
    try:
        for signature in servable.signatures.values():
            inputs = [{name: each[name] for name in signature.inputs} for each in requests]
            kinds = {signature.kind(each) for each in inputs}
            assert len(kinds) == 1
            assert signature.most_together(kinds.pop()) == 8
            for alone, together in zip(
                map(signature.run, inputs), signature.run_together(inputs), strict=True
            ):
                for name, tensor in alone.items():
                    same(tensor, together[name])
    finally:
        servable.close()


def request(model: HybridModel, user: str) -> dict[str, bytes]:
    """A user's query as serialised tensors, with a history of ten."""
    query = model.query_of(user, 130_000.0, CONTEXT)
    items = [model.vocabulary[item].encode() for item in query.items[:10].tolist()]
    rows = [model.row(item.decode()) for item in items]
    tensors = {
        "recent_items": [items + [b""] * (10 - len(items))],
        "recent_ages": np.resize(query.ages, (1, 10)).astype("float32"),
        "recent_weights": np.resize(query.weights, (1, 10)).astype("float32"),
        "rows": [rows + [b""] * (10 - len(rows))],
        "live": model.live(len(model.vocabulary)),
        "exclude": [[b""]],
        "context": [[b"device=mobile"]],
        "k": np.int32(20),
    }
    return {name: tf.make_tensor_proto(value).SerializeToString() for name, value in tensors.items()}


def same(one: bytes, other: bytes) -> None:
    """Whether two serialised tensors hold the same, up to float32's sums in another order."""
    first, second = (tf.make_ndarray(tf.make_tensor_proto(0).FromString(each)) for each in (one, other))
    if first.dtype == object:
        assert first.tolist() == second.tolist()
    else:
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-5)
