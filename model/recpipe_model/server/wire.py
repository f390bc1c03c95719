"""The server's view of TensorFlow Serving's messages.

A map of messages and a map of bytes are the same on the wire, so a request's tensors stay serialised here and are
decoded by TensorFlow inside the graph (`servable.py`): Python never looks at a tensor on its way through.
"""

from typing import Any

from recpipe_model.client._schema import add_file, field, message, string_map

_POLICY = "tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy"

_raw = add_file(
    "recpipe/raw.proto",
    "recpipe.raw",
    [
        message(
            "recpipe.raw.PredictRequest",
            field("model_spec", 1, "tensorflow.serving.ModelSpec"),
            string_map("inputs", 2, "bytes"),
            field("output_filter", 3, "string", repeated=True),
        ),
        message(
            "recpipe.raw.PredictResponse",
            field("model_spec", 2, "tensorflow.serving.ModelSpec"),
            string_map("outputs", 1, "bytes"),
        ),
        message("recpipe.raw.PredictLog", field("request", 1, "recpipe.raw.PredictRequest")),
        message("recpipe.raw.PredictionLog", field("predict_log", 6, "recpipe.raw.PredictLog")),
        message("recpipe.raw.SignatureDefMap", string_map("signature_def", 1, "bytes")),
    ],
    imports=["recpipe/serving.proto"],
)

_serving = add_file(
    "recpipe/management.proto",
    "tensorflow.serving",
    [
        message(
            "tensorflow.serving.GetModelMetadataRequest",
            field("model_spec", 1, "tensorflow.serving.ModelSpec"),
            field("metadata_field", 2, "string", repeated=True),
        ),
        message(
            "tensorflow.serving.GetModelMetadataResponse",
            field("model_spec", 1, "tensorflow.serving.ModelSpec"),
            string_map("metadata", 2, "google.protobuf.Any"),
        ),
        message(
            "tensorflow.serving.FileSystemStoragePathSourceConfig",
            nested=[
                message(
                    _POLICY,
                    field("latest", 100, f"{_POLICY}.Latest", oneof=True),
                    field("all", 101, f"{_POLICY}.All", oneof=True),
                    field("specific", 102, f"{_POLICY}.Specific", oneof=True),
                    nested=[
                        message(f"{_POLICY}.Latest", field("num_versions", 1, "uint32")),
                        message(f"{_POLICY}.All"),
                        message(f"{_POLICY}.Specific", field("versions", 1, "int64", repeated=True)),
                    ],
                )
            ],
        ),
        message(
            "tensorflow.serving.ModelConfig",
            field("name", 1, "string"),
            field("base_path", 2, "string"),
            field("model_platform", 4, "string"),
            field("model_version_policy", 7, _POLICY),
            string_map("version_labels", 8, "int64"),
        ),
        message(
            "tensorflow.serving.BatchingParameters",
            field("max_batch_size", 1, "google.protobuf.Int64Value"),
        ),
        message(
            "tensorflow.serving.ModelConfigList",
            field("config", 1, "tensorflow.serving.ModelConfig", repeated=True),
        ),
        message(
            "tensorflow.serving.ModelServerConfig",
            field("model_config_list", 1, "tensorflow.serving.ModelConfigList"),
        ),
        message(
            "tensorflow.serving.ReloadConfigRequest",
            field("config", 1, "tensorflow.serving.ModelServerConfig"),
        ),
        message(
            "tensorflow.serving.ReloadConfigResponse", field("status", 1, "tensorflow.serving.StatusProto")
        ),
    ],
    imports=["recpipe/serving.proto", "google/protobuf/any.proto", "google/protobuf/wrappers.proto"],
)

PredictRequest: Any = _raw["PredictRequest"]
PredictResponse: Any = _raw["PredictResponse"]
PredictionLog: Any = _raw["PredictionLog"]
SignatureDefMap: Any = _raw["SignatureDefMap"]
GetModelMetadataRequest: Any = _serving["GetModelMetadataRequest"]
GetModelMetadataResponse: Any = _serving["GetModelMetadataResponse"]
BatchingParameters: Any = _serving["BatchingParameters"]
ModelServerConfig: Any = _serving["ModelServerConfig"]
ReloadConfigRequest: Any = _serving["ReloadConfigRequest"]
ReloadConfigResponse: Any = _serving["ReloadConfigResponse"]
