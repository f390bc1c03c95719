"""Records on the bus: Avro, with each schema parsed once.

A record is in Avro's single-object encoding: two marker bytes, the 64-bit fingerprint of the
writer's schema, and the data. A reader that knows an older writer by its fingerprint reads its
records too; earlier versions of a schema are kept as `NAME.vN.avsc`.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from importlib import resources
from io import BytesIO
from typing import Any, Final

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

MARKER: Final = b"\xc3\x01"
HEADER_BYTES: Final = 10


class UnreadableRecordError(ValueError):
    """Bytes that no known version of the schema wrote."""


class Schema:
    """One record type: its newest version writes, all its versions read."""

    def __init__(self, name: str) -> None:
        self.name = name
        folder = resources.files("recpipe.schemas")
        self.definition: dict[str, Any] = json.loads((folder / f"{name}.avsc").read_text())
        self._parsed = parse_schema(self.definition)
        earlier = [each for each in folder.iterdir() if each.name.startswith(f"{name}.v")]
        versions = [self.definition, *(json.loads(each.read_text()) for each in earlier)]
        self._writers = {_fingerprint(version): parse_schema(version) for version in versions}
        self.header = MARKER + _fingerprint(self.definition)

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """One record as bytes; raises ValueError naming the record type where a field is missing or wrong."""
        out = BytesIO()
        out.write(self.header)
        try:
            schemaless_writer(out, self._parsed, record)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{self.name}: {error}") from error
        return out.getvalue()

    def decode(self, data: bytes) -> dict[str, Any]:
        """One record from bytes of any known version; raises UnreadableRecordError."""
        writer = self._writers.get(data[2:HEADER_BYTES])
        if data[:2] != MARKER or writer is None:
            raise UnreadableRecordError(
                f"{self.name}: {data[:HEADER_BYTES].hex()} is no known version of this schema"
            )
        source = BytesIO(data)
        source.seek(HEADER_BYTES)
        reader = None if data[:HEADER_BYTES] == self.header else self._parsed
        try:
            record: dict[str, Any] = schemaless_reader(source, writer, reader)
        except (EOFError, ValueError, IndexError, TypeError, KeyError, MemoryError, OverflowError) as error:
            raise UnreadableRecordError(f"{self.name}: {error}") from error
        return record

    @cached_property
    def canonical(self) -> str:
        """Avro's parsing canonical form, as a registry compares it."""
        return str(to_parsing_canonical_form(self.definition))


def _fingerprint(definition: Mapping[str, Any]) -> bytes:
    """CRC-64-AVRO of the canonical form, little-endian as single-object encoding has it."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(definition), "CRC-64-AVRO"))


EVENT: Final = Schema("event")
CLEAN: Final = Schema("clean")
FEATURES: Final = Schema("features")
ITEM: Final = Schema("item")
IMPRESSION: Final = Schema("impression")
REJECTED: Final = Schema("rejected")
