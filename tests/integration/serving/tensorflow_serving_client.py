"""A client of the published `tensorflow_serving.apis`: `python tensorflow_serving_client.py TARGET`.

Reads one JSON object a line, {"model", "signature", "inputs": {name: {"dtype", "shape", "content"}}}, and answers each
with the outputs' bytes; apart, because those modules bring all of TensorFlow.
"""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

SECONDS = 30


def tensor_proto(dtype, shape, content):
    """A TensorProto of elements given in hexadecimal: all of a tensor's bytes, or a list of strings."""
    if dtype == "string":
        return tf.make_tensor_proto([bytes.fromhex(value) for value in content], shape=shape, dtype=tf.string)
    kind = getattr(tf, dtype)
    return tf.make_tensor_proto(
        np.frombuffer(bytes.fromhex(content), kind.as_numpy_dtype).reshape(shape), dtype=kind
    )


def as_json(proto):
    array = tf.make_ndarray(proto)
    content = [value.hex() for value in array.ravel()] if array.dtype == object else array.tobytes().hex()
    return {"dtype": tf.dtypes.as_dtype(proto.dtype).name, "shape": list(array.shape), "content": content}


def main(target):
    channel = grpc.insecure_channel(target)
    prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    for line in sys.stdin:
        question = json.loads(line)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = question["model"]
        request.model_spec.signature_name = question["signature"]
        for name, tensor in question["inputs"].items():
            request.inputs[name].CopyFrom(tensor_proto(**tensor))
        response = prediction.Predict(request, timeout=SECONDS)

        asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        asked.model_spec.name = question["model"]
        metadata = prediction.GetModelMetadata(asked, timeout=SECONDS)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        assert metadata.metadata["signature_def"].Unpack(definitions)

        status_request = get_model_status_pb2.GetModelStatusRequest()
        status_request.model_spec.name = question["model"]
        status = models.GetModelStatus(status_request, timeout=SECONDS)

        answer = {
            "model_spec": [
                response.model_spec.name,
                response.model_spec.version.value,
                response.model_spec.signature_name,
            ],
            "outputs": {name: as_json(proto) for name, proto in response.outputs.items()},
            "signatures": sorted(definitions.signature_def),
            "input_types": {
                name: tf.dtypes.as_dtype(info.dtype).name
                for name, info in definitions.signature_def[question["signature"]].inputs.items()
            },
            "states": {
                item.version: get_model_status_pb2.ModelVersionStatus.State.Name(item.state)
                for item in status.model_version_status
            },
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
