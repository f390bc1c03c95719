"""The messages of TensorFlow Serving's API that a client sends and receives, and of the gRPC health protocol.

Wire-compatible with `tensorflow/core/framework/tensor.proto`, `tensorflow_serving/apis/*.proto` and
`grpc/health/v1/health.proto`. Fields this project never reads are left out: protobuf keeps them as unknown fields.
"""

from typing import Any

from ._schema import add_file, field, message, string_map

_tensorflow = add_file(
    "recpipe/tensorflow.proto",
    "tensorflow",
    [
        message(
            "tensorflow.TensorShapeProto",
            field("dim", 2, "tensorflow.TensorShapeProto.Dim", repeated=True),
            field("unknown_rank", 3, "bool"),
            nested=[
                message(
                    "tensorflow.TensorShapeProto.Dim", field("size", 1, "int64"), field("name", 2, "string")
                )
            ],
        ),
        message(
            "tensorflow.TensorProto",
            field("dtype", 1, "int32"),
            field("tensor_shape", 2, "tensorflow.TensorShapeProto"),
            field("version_number", 3, "int32"),
            field("tensor_content", 4, "bytes"),
            field("half_val", 13, "int32", repeated=True),
            field("float_val", 5, "float", repeated=True),
            field("double_val", 6, "double", repeated=True),
            field("int_val", 7, "int32", repeated=True),
            field("string_val", 8, "bytes", repeated=True),
            field("scomplex_val", 9, "float", repeated=True),
            field("int64_val", 10, "int64", repeated=True),
            field("bool_val", 11, "bool", repeated=True),
            field("dcomplex_val", 12, "double", repeated=True),
            field("uint32_val", 16, "uint32", repeated=True),
            field("uint64_val", 17, "uint64", repeated=True),
        ),
    ],
)

_serving = add_file(
    "recpipe/serving.proto",
    "tensorflow.serving",
    [
        message(
            "tensorflow.serving.ModelSpec",
            field("name", 1, "string"),
            field("version", 2, "google.protobuf.Int64Value", oneof=True),
            field("version_label", 4, "string", oneof=True),
            field("signature_name", 3, "string"),
        ),
        message(
            "tensorflow.serving.PredictRequest",
            field("model_spec", 1, "tensorflow.serving.ModelSpec"),
            string_map("inputs", 2, "tensorflow.TensorProto"),
            field("output_filter", 3, "string", repeated=True),
        ),
        message(
            "tensorflow.serving.PredictResponse",
            field("model_spec", 2, "tensorflow.serving.ModelSpec"),
            string_map("outputs", 1, "tensorflow.TensorProto"),
        ),
        message(
            "tensorflow.serving.StatusProto",
            field("error_code", 1, "int32"),
            field("error_message", 2, "string"),
        ),
        message(
            "tensorflow.serving.GetModelStatusRequest", field("model_spec", 1, "tensorflow.serving.ModelSpec")
        ),
        message(
            "tensorflow.serving.ModelVersionStatus",
            field("version", 1, "int64"),
            field("state", 2, "int32"),
            field("status", 3, "tensorflow.serving.StatusProto"),
        ),
        message(
            "tensorflow.serving.GetModelStatusResponse",
            field("model_version_status", 1, "tensorflow.serving.ModelVersionStatus", repeated=True),
        ),
    ],
    imports=["recpipe/tensorflow.proto", "google/protobuf/wrappers.proto"],
)

_health = add_file(
    "recpipe/health.proto",
    "grpc.health.v1",
    [
        message("grpc.health.v1.HealthCheckRequest", field("service", 1, "string")),
        message("grpc.health.v1.HealthCheckResponse", field("status", 1, "int32")),
    ],
)

TensorProto: Any = _tensorflow["TensorProto"]
ModelSpec: Any = _serving["ModelSpec"]
PredictRequest: Any = _serving["PredictRequest"]
PredictResponse: Any = _serving["PredictResponse"]
GetModelStatusRequest: Any = _serving["GetModelStatusRequest"]
GetModelStatusResponse: Any = _serving["GetModelStatusResponse"]
HealthCheckRequest: Any = _health["HealthCheckRequest"]
HealthCheckResponse: Any = _health["HealthCheckResponse"]

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
HEALTH_CHECK = "/grpc.health.v1.Health/Check"

SERVING = 1  # HealthCheckResponse.status
