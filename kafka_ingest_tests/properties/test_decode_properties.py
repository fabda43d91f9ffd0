"""Any bytes at all: every message ends in exactly one place, nothing raises, neighbours do not matter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kafka_ingest.streams.stream import RouteByField, Stream
from kafka_ingest.testing.messages import Msg, letters_of, one, outcomes, piped, rows_of
from kafka_ingest.testing.models import FIELDS, Account, Everything

pytestmark = pytest.mark.slow

ROUTES = {"e": Everything, "account": Account}
STREAM = Stream(name="any", topics="mixed", routes=ROUTES, route_by=RouteByField("type"), timezone="UTC")
IGNORING = Stream(name="any", topics="mixed", routes=ROUTES, unrouted="ignore")
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.text(max_size=12)
    | st.sampled_from(["2026-01-01", "12.5", "sNaN", "NaN", "1e99999", "\ud800", "1_0", "  ", "0001-01-01", "\\N"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "seen", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
TYPES: list[dict[str, Any]] = [{"type": "e"}, {"type": "account"}, {"type": "x"}, {"type": 5}, {}]
OBJECTS = st.builds(
    lambda kind, found: kind | found,
    st.sampled_from(TYPES),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=8),
)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Valid JSON with a few bytes changed, cut out or put in."""
    body = bytearray(as_json(draw(OBJECTS)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        cut = draw(st.integers(0, 3))
        body[at : at + cut] = draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"}", b"\\u", b"1e9", b"\xff", b"-", b"0"])
        )
    return bytes(body)


BODIES = st.none() | st.binary(max_size=40) | OBJECTS.map(as_json) | mutated()
KEYS = st.none() | st.binary(max_size=12) | VALUES.map(as_json) | st.dictionaries(st.just("id"), VALUES).map(as_json)


@settings(max_examples=80)
@given(st.lists(st.builds(Msg, BODIES, key=KEYS), max_size=12), st.sampled_from([STREAM, IGNORING]))
@example([Msg(b'{"type":"e","id":"x","price":1e9999999}')], STREAM)
@example([Msg(None, key=b"1" + b"0" * 40)], STREAM)
def test_every_message_ends_in_exactly_one_place(messages: list[Msg], stream: Stream) -> None:
    parsed = piped(stream, one(*messages))
    assert outcomes(parsed) == list(range(len(messages)))
    for letter in parsed.dead_letters:
        assert letter.error.strip()
    for target, frame in (*parsed.rows.items(), *parsed.deletes.items()):
        assert frame.index.is_monotonic_increasing, target


def fate(messages: list[Msg]) -> list[Any]:
    """Per message what became of it."""
    parsed = piped(STREAM, one(*messages))
    found: dict[int, Any] = dict(letters_of(parsed))
    for target, frame in parsed.rows.items():
        rows = rows_of(parsed, STREAM.model_of(target))
        found |= dict(zip(frame.index.tolist(), ((target, row) for row in rows), strict=True))
    for target, frame in parsed.deletes.items():
        found |= dict(zip(frame.index.tolist(), ((target, k) for k in frame["id"]), strict=True))
    return [found[n] for n in range(len(messages))]


@settings(max_examples=40)
@given(st.lists(st.builds(Msg, BODIES, key=KEYS), min_size=1, max_size=8))
def test_what_becomes_of_a_message_is_its_own_affair(messages: list[Msg]) -> None:
    assert fate(messages) == [fate([message])[0] for message in messages]
    assert fate(messages[::-1]) == fate(messages)[::-1]
