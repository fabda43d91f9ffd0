"""Whatever JSON objects a topic has: the module that is proposed for them can be loaded, and makes rows of all of them, but for
the dead letters that the report counts."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Msg
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.proposing import proposing

NAMES = st.one_of(
    st.sampled_from(
        [
            "id",
            "type",
            "userId",
            "user_id",
            "createdAt",
            "date",
            "select",
            "a.b",
            "",
            "_x",
            "标题",
            "class",
            "dt",
            "field",
        ]
    ),
    st.text(max_size=8),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(1_000_000_000, 2_000_000_000_000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["2024-05-01", "2024-05-01T10:00:00Z", "01/02/2024", "31.12.24", "19.95", "007", "", " ", "true"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
KEYS = st.one_of(st.none(), st.sampled_from([b"a", b'"a"', b'{"id": 1}', b"\xff"]), st.binary(max_size=4))


@st.composite
def samples(draw: st.DrawFn) -> list[Msg]:
    """Messages that are alike, as a topic's are: each field has values of a few kinds, or is missing."""
    fields = draw(st.dictionaries(NAMES, st.lists(VALUES, min_size=1, max_size=3), min_size=1, max_size=6))
    count = draw(st.sampled_from([1, 2, 7, 120]))
    messages = []
    for at in range(count):
        message = {name: values[at % len(values)] for name, values in fields.items() if (at + len(name)) % 5}
        key = draw(KEYS) if count < 100 else str(at).encode()
        messages.append(Msg(json.dumps(message, ensure_ascii=True).encode(), key))
    return messages


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(samples())
def test_a_proposed_module_loads_its_sample(messages: list[Msg]) -> None:
    try:
        with proposing(*messages) as (proposal, stream):
            assert isinstance(stream, Stream)
            outcomes = proposal.outcomes
            assert outcomes.messages == len(messages)
            assert sum(outcomes.rows.values()) + outcomes.deletes + outcomes.dead == len(messages)
            if len(messages) >= 100:
                return  # more than half of so many as dead letters would fail the load as a whole
            target = Target(stream)
            target.receive(*messages)
            loaded: list[tuple[Any, ...]] = target.all("SELECT COUNT(*) FROM kafka_ingest_dead_letters")
            assert loaded == [(outcomes.dead,)]
    except ConfigError as error:
        text = str(error)
        assert "no field with a value" in text or "cannot be read" in text or "no message with a value" in text
