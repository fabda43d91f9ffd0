"""The benchmark's news in other formats: the stream that reads them, how a message is written, and the schema it names."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.streams import STREAM
from kafka_ingest.pipelines.decode import FindSchemas
from kafka_ingest.streams.formats.avro import Avro
from kafka_ingest.streams.formats.connect_json import ConnectJson
from kafka_ingest.streams.formats.json import JsonSchema
from kafka_ingest.streams.formats.protobuf import Protobuf
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.streams.stream import Stream

PREFIX = b"\0\0\0\0\1"
_TEXT, _OPTIONAL = "string", ["null", "string"]
AVRO = {
    "type": "record",
    "name": "News",
    "fields": [
        *({"name": name, "type": _TEXT} for name in ("type", "id", "title")),
        {"name": "content", "type": _OPTIONAL},
        {
            "name": "source",
            "type": {
                "type": "record",
                "name": "Source",
                "fields": [{"name": "name", "type": _TEXT}, {"name": "url", "type": _TEXT}],
            },
        },
        {"name": "language", "type": _OPTIONAL},
        {"name": "tags", "type": {"type": "array", "items": _TEXT}},
        {"name": "score", "type": "int"},
        {"name": "isOriginal", "type": "boolean"},
        {"name": "publishTime", "type": _TEXT},
        {"name": "crawlTime", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
PROTO = """syntax = "proto3"; import "google/protobuf/timestamp.proto";
message News { string type = 1; string id = 2; string title = 3; optional string content = 4; Source source = 5;
  optional string language = 6; repeated string tags = 7; int32 score = 8; bool isOriginal = 9; string publishTime = 10;
  google.protobuf.Timestamp crawlTime = 11; }
message Source { string name = 1; string url = 2; }"""


@dataclass(frozen=True)
class Written:
    """One format: the stream, and how the JSON of a message is written in it."""

    stream: Stream
    write: Callable[[bytes], bytes]
    find_schemas: FindSchemas = lambda _ids: {}


def written(name: str) -> Written:
    """By the name that `--format` takes."""
    return FORMATS[name]()


def _news(value: bytes) -> dict[str, Any]:
    news: dict[str, Any] = json.loads(value)
    return news | {"crawlTime": dt.datetime.fromisoformat(news["crawlTime"].replace("Z", "+00:00"))}


def _finds(kind: str, text: str) -> FindSchemas:
    def find(ids: Set[int]) -> Mapping[int, RegisteredSchema]:
        return {number: RegisteredSchema(number, kind, text) for number in ids}

    return find


def _avro() -> Written:
    import fastavro  # a package of the development environment, as protoc below

    schema = fastavro.parse_schema(AVRO)

    def write(value: bytes) -> bytes:
        out = io.BytesIO(PREFIX)
        out.seek(len(PREFIX))
        fastavro.schemaless_writer(out, schema, _news(value))
        return out.getvalue()

    return Written(replace(STREAM, value_format=Avro()), write, _finds("AVRO", json.dumps(AVRO)))


def _protobuf() -> Written:
    from kafka_ingest_tests.formats.protoc import message_class

    kind = message_class("News", news=PROTO)

    def write(value: bytes) -> bytes:
        news = _news(value)
        crawled = news.pop("crawlTime")
        message = kind(**news)
        message.crawlTime.FromDatetime(crawled)
        found: bytes = PREFIX + b"\0" + message.SerializeToString()
        return found

    return Written(replace(STREAM, value_format=Protobuf()), write, _finds("PROTOBUF", PROTO))


def _connect() -> Written:
    schema = b'{"type":"struct","fields":[{"type":"string","field":"id"}]}'
    return Written(
        replace(STREAM, value_format=ConnectJson()),
        lambda value: b'{"schema":' + schema + b',"payload":' + value + b"}",
    )


FORMATS: dict[str, Callable[[], Written]] = {
    "json": lambda: Written(STREAM, lambda value: value),
    "json-schema": lambda: Written(
        replace(STREAM, value_format=JsonSchema()), lambda value: PREFIX + value, _finds("JSON", "{}")
    ),
    "avro": _avro,
    "protobuf": _protobuf,
    "connect-json": _connect,
}
