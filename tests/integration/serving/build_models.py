"""Writes the SavedModels that the tests serve: `python build_models.py DIRECTORY`. Apart, so that tests need no TF."""

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

TYPES = [
    *("bool", "string", "float16", "float32", "float64", "complex64", "complex128"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
]


class Adder(tf.Module):
    """y = x + w, and a second signature of two inputs and two outputs."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def add(self, x):
        return {"y": x + self.weight}

    @tf.function(
        input_signature=[tf.TensorSpec([None, 2], tf.float32, "x"), tf.TensorSpec([], tf.int32, "k")]
    )
    def top(self, x, k):
        best = tf.math.top_k(x, k)
        return {"values": best.values, "indices": best.indices}


class Echo(tf.Module):
    """Gives back what it is given, of every type."""

    @tf.function(input_signature=[{name: tf.TensorSpec(None, getattr(tf, name), name) for name in TYPES}])
    def all_types(self, inputs):
        return {f"{name}_out": tf.identity(value) for name, value in inputs.items()}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.bfloat16, "x")])
    def bfloat16(self, x):
        return {"y": x + 1}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def text(self, text):
        return {"text": tf.identity(text), "text_bytes": tf.strings.join([text, b"\xff"])}


class Counter(tf.Module):
    """Counts its calls, so that a test sees how often it was warmed."""

    def __init__(self):
        super().__init__()
        self.calls = tf.Variable(0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "x")])
    def count(self, x):
        return {"calls": self.calls.assign_add(1)}


class Busy(tf.Module):
    """Keeps a core busy for as many steps as it is told."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, "steps")])
    def work(self, steps):
        matrix = tf.eye(64) * 0.5
        total = tf.while_loop(
            lambda step, _: step < steps, lambda step, m: (step + 1, tf.matmul(m, m) + matrix), (0, matrix)
        )
        return {"steps": total[0]}


class Retrieval(tf.Module):
    """The top k of 50,000 items by dot product; exact, by way of the best of each block of 50."""

    items, dimensions, block = 50_000, 64, 50

    def __init__(self):
        super().__init__()
        self.table = tf.Variable(tf.random.stateless_normal((self.items, self.dimensions), seed=(1, 2)))

    @tf.function(
        input_signature=[tf.TensorSpec([None, 64], tf.float32, "query"), tf.TensorSpec([], tf.int32, "k")]
    )
    def nearest(self, query, k):
        scores = tf.matmul(query, self.table, transpose_b=True)
        blocks = tf.reshape(scores, [-1, self.items // self.block, self.block])
        # The top k lie in the k blocks with the greatest maxima, and a maximum costs less than a sort.
        best = tf.math.top_k(tf.reduce_max(blocks, axis=2), k, sorted=False).indices
        candidates = tf.reshape(tf.gather(blocks, best, batch_dims=1), [-1, k * self.block])
        top = tf.math.top_k(candidates, k)
        items = (
            tf.gather(best, top.indices // self.block, batch_dims=1) * self.block + top.indices % self.block
        )
        return {"items": items, "scores": top.values, "all_scores": scores}


def main(root: Path) -> None:
    adder, echo, counter, busy = Adder(), Echo(), Counter(), Busy()
    tf.saved_model.save(
        adder, str(root / "adder"), signatures={"serving_default": adder.add, "top": adder.top}
    )
    functions = {"serving_default": echo.all_types, "bfloat16": echo.bfloat16, "text": echo.text}
    tf.saved_model.save(echo, str(root / "echo"), signatures=functions)
    tf.saved_model.save(counter, str(root / "counter"), signatures=counter.count)
    retrieval = Retrieval()
    tf.saved_model.save(retrieval, str(root / "retrieval"), signatures=retrieval.nearest)
    tf.saved_model.save(busy, str(root / "busy"), signatures=busy.work)
    give_default(root / "adder" / "saved_model.pb", "top", "k", tf.make_tensor_proto(1))
    record_warm_up(root / "warm_up_requests", b"ok", times=3)
    request = predict_pb2.PredictRequest()
    request.inputs["unknown"].CopyFrom(tf.make_tensor_proto([1.0]))
    with tf.io.TFRecordWriter(str(root / "wrong_warm_up_requests")) as writer:
        writer.write(log_of(request))


def give_default(file: Path, signature: str, name: str, value) -> None:
    """Give one of a saved signature's inputs a default, which tf.saved_model.save has no argument for."""
    model = SavedModel.FromString(file.read_bytes())
    model.meta_graphs[0].signature_def[signature].defaults[name].CopyFrom(value)
    file.write_bytes(model.SerializeToString())


def record_warm_up(file: Path, text: bytes, times: int) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "any"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([text]))
    with tf.io.TFRecordWriter(str(file)) as writer:
        for _ in range(times):
            writer.write(log_of(request))


def log_of(request) -> bytes:
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    return log.SerializeToString()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
