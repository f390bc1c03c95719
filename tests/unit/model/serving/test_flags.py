"""Flags are TensorFlow Serving's, in either spelling, and a wrong value is refused by name."""

from pathlib import Path

import pytest

from recpipe_model.server.__main__ import parse_flags


def test_underscores_and_dashes_are_the_same():
    dashes = parse_flags(["--model-name", "m", "--model-base-path=/models/m_1", "--rest-api-port=0"])
    underscores = parse_flags(["--model_name", "m", "--model_base_path=/models/m_1", "--rest_api_port=0"])
    assert dashes == underscores
    assert dashes.model_base_path == Path("/models/m_1")


def test_the_defaults_are_tensorflow_servings_but_local():
    flags = parse_flags(["--model-base-path=/m"])
    assert (flags.model_name, flags.port, flags.rest_api_port) == ("default", 8500, None)
    assert flags.file_system_poll_wait_seconds == 1
    assert flags.bind == "127.0.0.1"


@pytest.mark.parametrize(("given", "taken"), [("", True), ("=true", True), ("=false", False)])
def test_a_switch_may_have_a_value_as_tensorflow_servings_do(given, taken):
    flags = parse_flags(["--model_base_path=/m", f"--allow_version_labels_for_unavailable_models{given}"])
    assert flags.allow_version_labels_for_unavailable_models is taken


def test_every_flag_that_the_operator_gives_is_taken():
    flags = parse_flags(
        [
            "--port=8500",
            "--rest_api_port=8501",
            "--model_config_file=/etc/serving/models.config",
            "--monitoring_config_file=/etc/serving/monitoring.config",
            "--file_system_poll_wait_seconds=1",
            "--allow_version_labels_for_unavailable_models=true",
        ]
    )
    assert flags.rest_api_port == 8501


def test_channel_arguments_are_numbers_or_text():
    flags = parse_flags(
        ["--model-base-path=/m", "--grpc-channel-arguments=grpc.max_connection_age_ms=2000,a=b"]
    )
    assert flags.grpc_channel_arguments == [("grpc.max_connection_age_ms", 2000), ("a", "b")]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "give --model-base-path or --model-config-file"),
        (["--model-base-path=/m", "--port=70000"], "'70000' is not a port"),
        (["--model-base-path=/m", "--grpc-workers=0"], "give 1 or more"),
        (["--model-base-path=/m", "--drain-seconds=nan"], "out of range"),
        (["--model-base-path=/m", "--grpc-channel-arguments=x"], "name=value"),
        (["--model-base-path=/m", "--nonsense"], "--nonsense"),
    ],
)
def test_a_wrong_flag_is_refused(arguments, problem, capsys):
    with pytest.raises(SystemExit):
        parse_flags(arguments)
    assert problem in capsys.readouterr().err
