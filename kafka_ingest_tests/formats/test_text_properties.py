"""Any text and any bytes: each kind of column holds what they are, or the message is a dead letter with its bytes."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Mapped, MappedColumn

from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.streams.casts import Cast
from kafka_ingest.streams.formats.base import Format
from kafka_ingest.streams.formats.text import Bytes, Text
from kafka_ingest.streams.model import AppendModel, date_field, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg, Part, letters_of, outcomes, raw_slice, rows_of

pytestmark = pytest.mark.slow

COLUMNS: dict[str, MappedColumn[Any]] = {
    "text": field(sa.Text, path="value"),
    "integer": field(sa.BigInteger, path="value", cast=Cast(from_text=True)),
    "number": field(sa.Numeric(60, 20), path="value"),
    "date": date_field(path="value"),
    "bytes": field(sa.LargeBinary, path="value"),
    "hex": field(sa.LargeBinary, path="value", cast=Cast(bytes_from="hex")),
    "json": field(sa.JSON, path="value"),
}


def stream_of(kind: str, value_format: Format) -> Stream:
    body = {"__tablename__": kind, "__annotations__": {"f": Mapped[Any | None]}, "metadata": sa.MetaData()}
    model = type(f"Whole{kind}{type(value_format).__name__}", (AppendModel,), body | {"f": COLUMNS[kind]._copy()})
    return Stream(name=kind, topics="t", routes={"t": model}, route_by=RouteByTopic(), value_format=value_format)


STREAMS: dict[tuple[str, type[Format]], Stream] = {
    (kind, type(each)): stream_of(kind, each) for kind in COLUMNS for each in (Text(), Bytes())
}


def becomes(kind: str, value_format: type[Format], value: bytes) -> Any:
    """What the column holds, or the dead letter."""
    stream = STREAMS[kind, value_format]
    raw = raw_slice(Part([Msg(value)], topic="t"))
    parsed = run_pipeline(StreamDecoder(stream).decode(raw), stream)
    assert outcomes(parsed) == [0]
    rows = rows_of(parsed, stream.routes["t"])
    return rows[0]["f"] if rows else letters_of(parsed)[0]


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=60) | st.integers().map(str) | st.datetimes().map(str)


@settings(max_examples=60)
@given(_TEXTS)
def test_a_text_is_what_it_is_in_each_kind_of_column(text: str) -> None:
    found = {kind: becomes(kind, Text, text.encode()) for kind in COLUMNS}
    assert found["text"] == text
    assert json.loads(found["json"]) == text
    assert found["bytes"][0] == "validate"  # bytes are written in a text in some way, which a cast says
    for kind, got in found.items():
        assert not isinstance(got, tuple) or got[0] in ("decode", "dates", "validate"), kind
    if not isinstance(found["integer"], tuple):
        assert found["integer"] == int(Decimal(text.strip()))
    if not isinstance(found["number"], tuple):
        assert Decimal(found["number"]) == Decimal(text)
    if not isinstance(found["hex"], tuple):
        assert bytes.fromhex(found["hex"]) == bytes.fromhex(text)


@settings(max_examples=60)
@given(st.binary(max_size=60) | _TEXTS.map(str.encode))
def test_bytes_are_what_they_are_or_a_dead_letter(data: bytes) -> None:
    found = {kind: becomes(kind, Bytes, data) for kind in COLUMNS}
    assert bytes.fromhex(found["bytes"]) == data
    assert base64.b64decode(json.loads(found["json"])) == data
    for kind in ("text", "number", "date", "integer"):
        assert found[kind][0] in ("decode", "validate"), kind


@pytest.mark.parametrize("kind", ["text", "json", "bytes"])
@settings(max_examples=40)
@given(data=st.binary(min_size=1, max_size=20))
def test_what_is_no_utf_8_is_no_text(kind: str, data: bytes) -> None:
    found = becomes(kind, Text, data)
    try:
        data.decode()
    except UnicodeDecodeError:
        assert found[0] == "decode"
        assert found[1].startswith("not UTF-8")
