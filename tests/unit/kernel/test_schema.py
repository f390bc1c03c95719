"""Records are Avro in single-object encoding; every version of a schema can be read."""

import json

import pytest
from fastavro import parse_schema
from hypothesis import given
from hypothesis import strategies as st

from recpipe import records
from recpipe.schema import CLEAN, EVENT, FEATURES, IMPRESSION, ITEM, REJECTED, Schema, UnreadableRecordError

ALL = {
    EVENT: records.Event,
    CLEAN: records.CleanEvent,
    FEATURES: records.FeatureRow,
    ITEM: records.Item,
    IMPRESSION: records.Impression,
    REJECTED: records.Rejected,
}
REJECTION: records.Rejected = {
    "user_id": "ann",
    "stage": "clean",
    "reason": "late",
    "detail": "",
    "timestamp": 1,
    "value": b"\x00\xff",
}


@pytest.mark.parametrize("schema", ALL, ids=lambda schema: schema.name)
def test_the_typed_record_has_the_schemas_fields(schema: Schema) -> None:
    fields = [field["name"] for field in schema.definition["fields"]]
    assert fields == list(ALL[schema].__annotations__)


@pytest.mark.parametrize("schema", ALL, ids=lambda schema: schema.name)
def test_every_field_says_what_it_is(schema: Schema) -> None:
    assert all(field["doc"] for field in schema.definition["fields"])


def test_a_record_survives_and_begins_with_its_schemas_mark() -> None:
    data = REJECTED.encode(REJECTION)
    assert data[:2] == b"\xc3\x01"
    assert REJECTED.decode(data) == REJECTION


def test_a_missing_field_names_the_record_type() -> None:
    with pytest.raises(ValueError, match="rejected"):
        REJECTED.encode({"reason": "late"})


@given(st.binary(max_size=100))
def test_foreign_bytes_are_unreadable_and_nothing_else(data: bytes) -> None:
    for schema in ALL:
        for damaged in (data, schema.header + data):
            try:
                schema.decode(damaged)
            except UnreadableRecordError:
                continue


def test_an_older_writers_record_is_read_with_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    newer = Schema("rejected")
    older = json.loads(json.dumps(REJECTED.definition))
    older["fields"] = [field for field in older["fields"] if field["name"] != "detail"]
    writer = Schema("rejected")
    writer._parsed = parse_schema(older)
    from recpipe import schema as module

    fingerprint = module._fingerprint(older)
    writer.header = module.MARKER + fingerprint
    data = writer.encode({name: value for name, value in REJECTION.items() if name != "detail"})
    with pytest.raises(UnreadableRecordError, match="no known version"):
        newer.decode(data)
    newer._writers[fingerprint] = parse_schema(older)
    assert newer.decode(data) == REJECTION
