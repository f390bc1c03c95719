"""The REST API answers as TensorFlow Serving does."""

import pytest


def test_rows(server):
    assert server.rest("POST", "/v1/models/adder:predict", {"instances": [1.0, 2.5]}) == (
        200,
        {"predictions": [3.0, 4.5]},
    )


def test_columns(server):
    body = {"signature_name": "top", "inputs": {"x": [[1, 3], [5, 4]], "k": 1}}
    assert server.rest("POST", "/v1/models/adder:predict", body) == (
        200,
        {"outputs": {"values": [[3.0], [5.0]], "indices": [[1], [0]]}},
    )


def test_bytes_are_base64(server):
    body = {"signature_name": "text", "instances": [{"b64": "YQ=="}, "b"]}
    assert server.rest("POST", "/v1/models/echo:predict", body) == (
        200,
        {
            "predictions": [
                {"text": "a", "text_bytes": {"b64": "Yf8="}},
                {"text": "b", "text_bytes": {"b64": "Yv8="}},
            ]
        },
    )


@pytest.mark.parametrize("selection", ["", "/versions/1", "/versions/2", "/labels/stable"])
def test_a_version_by_number_or_label(server, selection):
    path = f"/v1/models/adder{selection}:predict"
    assert server.rest("POST", path, {"instances": [1]}) == (200, {"predictions": [3.0]})


def test_status(server):
    ok = {"error_code": "OK", "error_message": ""}
    two = {"version": "2", "state": "AVAILABLE", "status": ok}
    one = {"version": "1", "state": "AVAILABLE", "status": ok}
    assert server.rest("GET", "/v1/models/adder") == (200, {"model_version_status": [two, one]})
    assert server.rest("GET", "/v1/models/adder/versions/2") == (200, {"model_version_status": [two]})
    assert server.rest("GET", "/v1/models/adder/labels/stable") == (200, {"model_version_status": [one]})


def test_metadata(server):
    status, answer = server.rest("GET", "/v1/models/adder/versions/1/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "adder", "signature_name": "", "version": "1"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert signature["inputs"]["x"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        (
            "POST",
            "/v1/models/half:predict",
            {"instances": [1]},
            404,
            "Servable not found for request: Latest(half)",
        ),
        (
            "POST",
            "/v1/models/adder/versions/9:predict",
            {"instances": [1]},
            404,
            "Servable not found for request: Specific(adder, 9)",
        ),
        (
            "POST",
            "/v1/models/adder/labels/beta:predict",
            {"instances": [1]},
            400,
            "Unrecognized servable version label: beta",
        ),
        (
            "POST",
            "/v1/models/adder:predict",
            {"signature_name": "nosuch", "instances": [1]},
            400,
            'Serving signature name: "nosuch" not found in signature def',
        ),
        (
            "POST",
            "/v1/models/adder:predict",
            {"instances": ["x"]},
            400,
            "Failed to process element: 0 key: x of 'instances' list. Error: "
            'JSON Value: "x" Type: String is not of expected type: float',
        ),
        ("POST", "/v1/models/adder:regress", {}, 400, "Malformed request: POST /v1/models/adder:regress"),
        ("GET", "/v1/models", None, 400, "Malformed request: GET /v1/models"),
        ("GET", "/v1/models/half", None, 404, "Could not find any versions of model half"),
        ("GET", "/v1/models/adder/versions/9", None, 404, "Could not find version 9 of model adder"),
        (
            "GET",
            f"/v1/models/adder/versions/{2**63}",
            None,
            400,
            f"Failed to convert version: {2**63} to numeric.",
        ),
        ("GET", "/", None, 404, "Nothing is served at /"),
    ],
)
def test_an_error_is_json_with_tensorflow_servings_message(server, method, path, body, status, error):
    assert server.rest(method, path, body) == (status, {"error": error})


@pytest.mark.embedded  # the names are ours
def test_the_metrics_page_counts_by_model_version_and_code(server):
    server.rest("POST", "/v1/models/adder/versions/1:predict", {"instances": [1]})
    server.rest("POST", "/v1/models/adder:predict", {"instances": [[1, 2]], "signature_name": "top"})
    server.rest("POST", "/v1/models/made-up:predict", {"instances": [1]})
    status, page = server.rest("GET", "/monitoring/prometheus/metrics")
    assert status == 200
    lines = page.splitlines()
    assert 'recpipe_serving_version_available{model="adder",version="1"} 1.0' in lines
    assert any(
        line.startswith('recpipe_serving_requests_total{code="OK",model="adder",version="1"}')
        for line in lines
    )
    assert any(line.startswith('recpipe_serving_request_seconds_count{model="adder"}') for line in lines)
    assert 'recpipe_serving_load_seconds_count{code="OK",model="adder"} 2.0' in lines
    assert 'recpipe_serving_load_seconds_count{code="INVALID_ARGUMENT",model="misled"} 1.0' in lines
    assert "made-up" not in page
