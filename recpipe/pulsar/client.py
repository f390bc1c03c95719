"""The Pulsar client as Recpipe uses it: connections, producers and consumers of Avro records.

On Pulsar a record is plain Avro under a registered schema, so that any schema-aware consumer reads it.
The single-object header that records carry elsewhere is taken off here and put on again, from the schema
version that the broker keeps with each message.
"""

import json
import ssl
from typing import Any

import pulsar  # type: ignore[import-untyped]
from _pulsar import SchemaType  # type: ignore[import-not-found]
from fastavro.schema import fingerprint, to_parsing_canonical_form
from pulsar.schema import BytesSchema  # type: ignore[import-untyped]
from pulsar.schema import Schema as PulsarSchema

from recpipe.bus import BusUnavailableError
from recpipe.pulsar.credentials import Credentials
from recpipe.pulsar.names import TopicName
from recpipe.schema import HEADER_BYTES, MARKER, Schema
from recpipe.topics import Topic

OPERATION_SECONDS = 5
SEND_SECONDS = 5.0
MAX_UNSTORED = 50_000
"""Records of one topic that may be on their way to the broker."""


def connect(url: str, credentials: Credentials | None = None) -> pulsar.Client:
    """Connects when it is first used; every operation has a deadline."""
    credentials = credentials or Credentials()
    trusted = credentials.trusted() or ssl.get_default_verify_paths().cafile
    certificate, key = credentials.certificate() or (None, None)
    return pulsar.Client(
        url,
        authentication=_authentication(credentials),
        operation_timeout_seconds=OPERATION_SECONDS,
        connection_timeout_ms=OPERATION_SECONDS * 1_000,
        tls_trust_certs_file_path=str(trusted) if trusted else None,
        tls_certificate_file_path=str(certificate) if certificate else None,
        tls_private_key_file_path=str(key) if key else None,
        tls_validate_hostname=True,
        logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error),
    )


def _authentication(credentials: Credentials) -> pulsar.Authentication | None:
    if client := credentials.oauth2():
        return pulsar.AuthenticationOauth2(
            json.dumps(
                {
                    "type": "client_credentials",
                    "issuer_url": client.issuer_url,
                    "client_id": client.client_id,
                    "client_secret": client.client_secret,
                    "audience": client.audience,
                    "scope": client.scope,
                }
            )
        )
    if credentials.token():
        return pulsar.AuthenticationToken(lambda: credentials.token() or "")
    if pair := credentials.certificate():
        return pulsar.AuthenticationTLS(*map(str, pair))
    return None


def deployed(client: pulsar.Client, topic: TopicName) -> TopicName:
    """The same topic. One that is missing must not be made by its first user, without partitions."""
    if client.get_topic_partitions(str(topic)) == [str(topic)]:
        raise BusUnavailableError(f"{topic} is not there yet: deploy the pipeline's topics first")
    return topic


def producer(client: pulsar.Client, name: TopicName, topic: Topic) -> pulsar.Producer:
    """Sends encoded records; those of a key stay in order.

    The broker deals whole batches out: where readers share by key, a batch must hold one key only. That
    is dear, nearly a batch a record, and not done where one reader has all.
    """
    return client.create_producer(
        str(name),
        schema=AvroRecords(topic.schema),
        batching_enabled=True,
        batching_type=(
            pulsar.BatchingType.KeyBased if topic.is_shared_by_key else pulsar.BatchingType.Default
        ),
        batching_max_publish_delay_ms=1,
        send_timeout_millis=round(SEND_SECONDS * 1_000),
        max_pending_messages=MAX_UNSTORED,
        max_pending_messages_across_partitions=MAX_UNSTORED,
        block_if_queue_full=False,
    )


class AvroRecords(PulsarSchema):  # type: ignore[misc]
    """Registers a record type's schema on a topic, and takes the header off encoded records."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(bytes, SchemaType.AVRO, schema.definition, schema.name)
        self._header = schema.header

    def encode(self, obj: bytes) -> bytes:
        if not obj.startswith(self._header):
            raise ValueError(f"{obj[:HEADER_BYTES].hex()} does not begin a record of the newest schema")
        return obj[HEADER_BYTES:]


class StoredRecords(BytesSchema):  # type: ignore[misc]
    """Puts the header on again: that of the writer's schema, or `current` where a writer named none."""

    def __init__(self, current: dict[str, bytes]) -> None:
        """`current` maps a topic's name, without partition, to its newest header."""
        super().__init__()
        self._current = current
        self._headers: dict[tuple[str, int], bytes] = {}

    def value(self, message: pulsar.Message) -> bytes:
        """For a message that was received under another schema, with a client that was attached here."""
        return self.decode_message(message._message)

    def decode_message(self, msg: Any) -> bytes:
        data: bytes = msg.data()
        topic = str(TopicName.parse(msg.topic_name()))
        if not msg.schema_version():
            return self._current[topic] + data
        key = topic, msg.int_schema_version()
        if key not in self._headers:
            self._headers[key] = _header(json.loads(self._client.get_schema_info(*key).schema()))
        return self._headers[key] + data


def _header(definition: dict[str, Any]) -> bytes:
    return MARKER + bytes.fromhex(fingerprint(to_parsing_canonical_form(definition), "CRC-64-AVRO"))
