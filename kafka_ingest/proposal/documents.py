"""How the messages of a sample are written, and what they say: JSON and the registry's formats, envelopes, or what else it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka_ingest.errors import ConfigError
from kafka_ingest.pipelines.decode import FindSchemas
from kafka_ingest.pipelines.diagnosis import BYTE_ORDER_MARK, explain
from kafka_ingest.proposal.code import Code
from kafka_ingest.proposal.fields import can_be_read
from kafka_ingest.slices import RawSlice
from kafka_ingest.streams.formats.avro_types import parse_schema
from kafka_ingest.streams.formats.base import BAD_MESSAGE, MessageReader
from kafka_ingest.streams.formats.connect_json import ConnectJson
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.json import JsonSchema
from kafka_ingest.streams.formats.leaves import Wanted
from kafka_ingest.streams.formats.protobuf import Protobuf, message_descriptor, message_indexes
from kafka_ingest.streams.formats.schemas import PREFIX_BYTES, RegisteredSchema, Schemas, id_of
from kafka_ingest.streams.json_schema import depth_limited, json_decoder

_OURS = "kafka_ingest"
# The part of the messages that have to be of a form for the topic to be.
_MOST = 0.5
_ALMOST_ALL = 0.9
_CONNECT_KEYS = {"schema", "payload"}
FORMATS = {"AVRO": "Avro", "PROTOBUF": "Protobuf", "JSON": "JsonSchema"}
_ANY: tuple[object, object] = (Any, None)

_json: Callable[[bytes], Any] = depth_limited(json_decoder(Any))
_object: Callable[[bytes], Any] = depth_limited(json_decoder(dict[str, Any]))


@dataclass(frozen=True, slots=True)
class Documents:
    """What the messages say."""

    format_name: str
    """`Json`, or another of the formats' names."""
    messages: Mapping[int, dict[str, Any]]
    """By number in the sample; those that cannot be read are left out."""
    schema: RegisteredSchema | Mapping[str, Any] | None = None
    """The newest schema that they were written with: the registry's, or Kafka Connect's, which stands in them."""
    schema_place: tuple[int, ...] = ()
    """Of a schema of Protobuf, which message of it."""
    schema_ids: Mapping[int, int] = field(default_factory=dict)
    """How many messages name which schema of the registry."""
    notes: tuple[str, ...] = ()
    arrays: Mapping[int, list[dict[str, Any]]] = field(default_factory=dict)
    """In place of `messages`, where each message is an array: its objects."""

    @property
    def value_format(self) -> Code | None:
        """The argument of the stream; None where it is JSON."""
        if self.format_name == "Json":
            return None
        if self.format_name == "Text":  # sqlalchemy has one, too
            return Code("kafka_ingest.Text()", frozenset({(_OURS, "")}))
        return Code(f"{self.format_name}()", frozenset({(_OURS, self.format_name)}))


def read_documents(raw: RawSlice, find_schemas: FindSchemas) -> Documents:
    """The messages of a sample, decoded.

    Raises ConfigError where most of them are of no kind that is read, with what they are; and what `find_schemas` raises.
    """
    values = {number: value for number, value in enumerate(raw.values) if value is not None}
    if not values:
        return Documents("Json", {})
    ids = Counter(number for value in values.values() if (number := id_of(value[:PREFIX_BYTES])) is not None)
    if ids.total() >= len(values) * _ALMOST_ALL:
        return _registered(values, ids, find_schemas)
    decoded = {number: found for number, value in values.items() if (found := _decoded(value)) is not _NOTHING}
    objects = {number: found for number, found in decoded.items() if isinstance(found, dict)}
    if len(objects) < len(values) * _MOST:
        return _other(values, decoded)
    connect = {n: found for n, found in objects.items() if found.keys() == _CONNECT_KEYS}
    if len(connect) >= len(objects) * _ALMOST_ALL:
        return _connect(values, connect)
    return Documents("Json", objects)


_NOTHING = object()


def _decoded(value: bytes) -> Any:
    try:
        return _json(value.removeprefix(BYTE_ORDER_MARK))
    except BAD_MESSAGE:
        return _NOTHING


def _other(values: Mapping[int, bytes], decoded: Mapping[int, Any]) -> Documents:
    """No objects of JSON: text, or what is refused with the reason that most of the messages give."""
    arrays = {number: found for number, found in decoded.items() if isinstance(found, list)}
    if len(arrays) >= len(values) * _MOST:
        return Documents("Json", {}, arrays=_of_objects(arrays, len(values)))
    others = {number: value for number, value in values.items() if number not in decoded}
    texts = {number: text for number, value in others.items() if (text := _text(value)) is not None}
    if len(texts) >= len(values) * _ALMOST_ALL:
        note = f"the messages are texts, not JSON ({_shown(next(iter(texts.values())))}); each is one value"
        return Documents("Text", {number: {"value": text} for number, text in texts.items()}, notes=(note,))
    reasons = Counter(_reason(value) for number, value in values.items() if not isinstance(decoded.get(number), dict))
    reason, count = reasons.most_common(1)[0]
    raise ConfigError(f"{count:,} of {len(values):,} messages cannot be read: {reason}")


def _of_objects(arrays: Mapping[int, list[Any]], total: int) -> dict[int, list[dict[str, Any]]]:
    """Messages that are arrays, by their elements."""
    found = {number: [each for each in array if isinstance(each, dict)] for number, array in arrays.items()}
    if not any(found.values()):
        raise ConfigError(
            f"{len(arrays):,} of {total:,} messages are JSON arrays without an object, so no column can be declared"
        )
    return found


def _text(value: bytes) -> str | None:
    """The value as a text for people; None where it is none, or something else that only fails to be read."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return None
    is_something = text.lstrip().startswith(("{", "[", '"', "<", "Struct{"))
    return None if is_something or any(c < " " and c not in "\t\r\n" for c in text) or not text.strip() else text


def _reason(value: bytes) -> str:
    try:
        _object(value)
    except BAD_MESSAGE as error:
        return explain(error, value)
    return "it is no JSON object"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def _connect(values: Mapping[int, bytes], connect: Mapping[int, Mapping[str, Any]]) -> Documents:
    """Kafka Connect's JSON, its values as their schema says."""
    payloads = {number: found["payload"] for number, found in connect.items() if isinstance(found["payload"], dict)}
    schemas = [found["schema"] for found in connect.values() if isinstance(found["schema"], dict)]
    names = [
        name for name in dict.fromkeys(name for found in payloads.values() for name in found) if can_be_read((name,))
    ]
    reader = ConnectJson().reader(_wanted(names), Schemas())
    messages = _read(reader.decode_long, names, {number: values[number] for number in payloads})
    return Documents("ConnectJson", messages, schema=schemas[-1] if schemas else None)


def _wanted(names: Sequence[str]) -> Wanted:
    return Wanted("the sample", [((name,), _ANY) for name in names])


def _read(
    decode: Callable[[bytes], Any], names: Sequence[str], values: Mapping[int, bytes]
) -> dict[int, dict[str, Any]]:
    """Messages by their fields at the top; nulls are left out."""
    messages = {}
    for number, value in values.items():
        try:
            found = decode(value)
        except BAD_MESSAGE:
            continue
        messages[number] = {name: each for name, each in zip(names, found, strict=True) if each is not None}
    return messages


def _registered(values: Mapping[int, bytes], ids: Counter[int], find_schemas: FindSchemas) -> Documents:
    """Behind the registry's prefix."""
    known = find_schemas(set(ids))
    kinds = Counter({kind: sum(ids[n] for n, each in known.items() if each.kind == kind) for kind in FORMATS})
    kind, count = kinds.most_common(1)[0]
    if not count:
        raise ConfigError(
            f"the messages begin with ids of a schema registry ({', '.join(map(str, sorted(ids)[:5]))}), and the registry that "
            "SCHEMA_REGISTRY_URL names has no schema under them",
            setting="SCHEMA_REGISTRY_URL",
        )
    own = {number: schema for number, schema in known.items() if schema.kind == kind}
    newest = own[max(own)]
    if kind == "PROTOBUF":
        place = Counter(tuple(_place(value)) for value in values.values() if id_of(value[:PREFIX_BYTES]) == newest.id)
        return Documents("Protobuf", _protobuf(values, own), newest, place.most_common(1)[0][0], dict(ids))
    read = _avro if kind == "AVRO" else _json_schema
    return Documents(FORMATS[kind], read(values, own), newest, (), dict(ids))


def _json_schema(values: Mapping[int, bytes], known: Mapping[int, RegisteredSchema]) -> dict[int, dict[str, Any]]:
    """By their schemas, which may have Kafka Connect's types."""
    objects = [found for value in values.values() if isinstance(found := _decoded(value[PREFIX_BYTES:]), dict)]
    names = [name for name in dict.fromkeys(name for found in objects for name in found) if can_be_read((name,))]
    reader = JsonSchema().reader(_wanted(names), Schemas(known))
    return _read(lambda value: _fields_of(reader, value, len(names)), names, values)


def _fields_of(reader: MessageReader, value: bytes, count: int) -> list[Any]:
    decoded = [reader.decode_long(value)]
    return [reader.column(decoded, which)[0] for which in range(count)]


def _avro(values: Mapping[int, bytes], known: Mapping[int, RegisteredSchema]) -> dict[int, dict[str, Any]]:
    types = {number: parse_schema(schema) for number, schema in known.items()}
    messages = {}
    for number, value in values.items():
        kind = types.get(id_of(value[:PREFIX_BYTES]) or -1)
        try:
            found = None if kind is None else kind.read(value, PREFIX_BYTES)[0]
        except (*BAD_MESSAGE, IndexError):
            continue
        if found is not None:
            messages[number] = found if isinstance(found, dict) else {"value": found}
    return messages


def _place(value: bytes) -> Sequence[int]:
    try:
        return message_indexes(value)
    except BadMessage:
        return ()


def _protobuf(values: Mapping[int, bytes], known: Mapping[int, RegisteredSchema]) -> dict[int, dict[str, Any]]:
    kinds = {(id_of(value[:PREFIX_BYTES]) or -1, tuple(_place(value))) for value in values.values()}
    descriptors = [
        message_descriptor(known[number], list(place)) for number, place in sorted(kinds) if number in known and place
    ]
    names = list(dict.fromkeys(name for each in descriptors for name in each.fields_by_name))
    return _read(Protobuf().reader(_wanted(names), Schemas(known)).decode, names, values)
