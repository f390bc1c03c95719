"""Which versions a configuration chooses, and which configurations are refused."""

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from recpipe_model.server.config import (
    All,
    Latest,
    ModelConfig,
    Specific,
    find_versions,
    parse_config,
    read_config_file,
)
from recpipe_model.server.status import StatusError
from recpipe_model.server.wire import ModelServerConfig

VERSIONS = st.sets(st.integers(0, 50))


@given(VERSIONS, st.integers(1, 5))
def test_latest_chooses_the_highest(versions, count):
    chosen = Latest(count).choose(versions)
    assert len(chosen) == min(count, len(versions))
    assert all(left <= min(chosen) for left in versions - chosen)


@given(VERSIONS, VERSIONS)
def test_specific_chooses_those_that_exist(versions, wanted):
    assert Specific(frozenset(wanted)).choose(versions) == versions & wanted


@given(VERSIONS)
def test_all_chooses_all(versions):
    assert All().choose(versions) == versions


def test_only_integer_directories_are_versions(tmp_path):
    for name in ("1", "0020", ".3.tmp", "4.writing", "-5", "latest", "\N{FULLWIDTH DIGIT SIX}", str(2**63)):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file")
    assert find_versions(tmp_path) == {1: tmp_path / "1", 20: tmp_path / "0020"}


def test_a_missing_base_path_is_an_error_and_not_an_empty_one(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        find_versions(tmp_path / "nowhere")


def test_a_configuration_file_in_tensorflow_servings_form(tmp_path):
    file = tmp_path / "models.config"
    file.write_text("""
        model_config_list {
          config { name: "a" base_path: "/models/a" model_platform: "tensorflow" }
          config {
            name: "b" base_path: "/models/b" model_platform: "tensorflow"
            model_version_policy { specific { versions: 1 versions: 3 } }
            version_labels { key: "stable" value: 1 }
            version_labels { key: "canary" value: 3 }
          }
          config {
            name: "c" base_path: "/models/c" model_platform: "tensorflow"
            model_version_policy { latest { num_versions: 2 } }
          }
          config {
            name: "d" base_path: "/models/d" model_platform: "tensorflow"
            model_version_policy { all {} }
          }
        }
    """)
    a, b, c, d = read_config_file(file)
    assert (a.name, str(a.base_path), a.policy, a.labels) == ("a", "/models/a", Latest(1), {})
    assert (b.policy, b.labels) == (Specific(frozenset({1, 3})), {"stable": 1, "canary": 3})
    assert (c.policy, d.policy) == (Latest(2), All())
    assert isinstance(a, ModelConfig)


MODEL = 'name: "a" base_path: "/a" model_platform: "tensorflow"'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Only ModelConfigList is currently supported"),
        (f"model_config_list {{ config {{ {MODEL} }} config {{ {MODEL} }} }}", "list model a multiple times"),
        (
            'model_config_list { config { name: "a" base_path: "/a" } }',
            "neither ModelServerConfig::model_type",
        ),
        ('model_config_list { config { base_path: "/a" model_platform: "tensorflow" } }', "no name"),
        (
            'model_config_list { config { name: "a" base_path: "a" model_platform: "tensorflow" } }',
            "absolute path",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/a" model_platform: "x" } }',
            "unsupported platform x",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_reason(text, problem):
    with pytest.raises(StatusError, match=problem) as refusal:
        parse_config(text_format.Parse(text, ModelServerConfig()))
    assert refusal.value.code.name == "INVALID_ARGUMENT"


def test_a_file_that_is_no_configuration_is_named(tmp_path):
    file = tmp_path / "models.config"
    file.write_text("models: [a, b]")
    with pytest.raises(StatusError, match=f"Invalid protobuf file: '{file}'"):
        read_config_file(file)
