"""Bad code, then replays with fixed code, leave what fixed code would have left at once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import Account, Event
from kafka_ingest.testing.target import Crash, Target
from kafka_ingest_tests.support.letters import BROKEN, FIXED, NO_ROUTES, account, event, kept, run_replay

pytestmark = pytest.mark.slow

KEYS = st.sampled_from(["x", "y", "z"])
MESSAGES = st.one_of(
    # No balance the database refuses: a row that a newer one of its slice replaces is not offered to the database, so what
    # becomes of it depends on how messages fall into slices, with replays or without.
    st.builds(lambda key, balance: Msg(account(key, balance)), KEYS, st.integers(1, 3)),
    st.builds(lambda key: Msg(None, key.encode()), KEYS),
    st.builds(lambda name, amount: Msg(event(name, amount)), st.sampled_from(["a", "b"]), st.integers(12, 14)),
    st.sampled_from([Msg(b"{"), Msg({"type": "nobody's"}), Msg(account("longer than eight", 1)), Msg(None)]),
)
BATCHES = st.lists(
    st.tuples(
        st.sampled_from([FIXED, BROKEN, NO_ROUTES]), st.integers(0, 1), st.lists(MESSAGES, min_size=1, max_size=6)
    ),
    min_size=1,
    max_size=6,
)
REPLAYS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                DeadLetterFilter(),
                DeadLetterFilter(partition=0),
                DeadLetterFilter(stage="route"),
                DeadLetterFilter(route="account"),
                DeadLetterFilter(first_offset=2, end_offset=5),
            ]
        ),
        st.sampled_from([FIXED, BROKEN, NO_ROUTES]),
        st.integers(1, 4),
        st.sampled_from(["", LoadStep.ADMIT, LoadStep.DEAD_LETTERS, LoadStep.COMMIT, LoadStep.DONE]),
    ),
    max_size=4,
)


def state(target: Target) -> dict[str, Any]:
    """Tables, and the dead letters that wait."""
    waiting = [(letter.position, letter.value, letter.stage) for letter in kept(target, DeadLetterFilter())]
    return {
        "events": target.rows(Event, "*"),
        "accounts": sorted(target.rows(Account, "*")),
        "waiting": sorted(waiting, key=repr),
        "offsets": target.offsets(),
    }


def loaded(batches: list[tuple[Stream, int, list[Msg]]], *, stream: Stream | None = None) -> Target:
    target = Target(FIXED)
    ends = {0: 0, 1: 0}
    for used, partition, messages in batches:
        raw = raw_slice(Part(messages, partition=partition, start=ends[partition]))
        if not ends[partition]:
            target.pin({r.topic_partition: 0 for r in raw.ranges})
        target.load(raw, stream=stream or used)
        ends[partition] += len(messages)
    return target


@given(batches=BATCHES, replays=REPLAYS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_replays_of_any_kind_converge_to_what_fixed_code_loads(
    batches: list[tuple[Stream, int, list[Msg]]], replays: list[tuple[DeadLetterFilter, Stream, int, str]]
) -> None:
    target = loaded(batches)
    for number, (wanted, stream, rows, step) in enumerate(replays):

        def die(at: str, step: str = step) -> None:
            if at == step:
                raise Crash

        sliced = replace(stream, batch=replace(stream.batch, max_rows=rows))
        with suppress(Crash):
            run_replay(target, sliced, wanted, run_id=f"r{number}", at_step=die)
    run_replay(target, run_id="last")
    assert state(target) == state(loaded(batches, stream=FIXED))
    assert all(sum(counts) == end_minus_start(ranged) for ranged, _, *counts in target.batches())
    before = state(target)
    run_replay(target, run_id="once more")
    assert state(target) == before


def end_minus_start(ranged: str) -> int:
    start, end = ranged.split("@[")[1].rstrip(")").split(",")
    return int(end) - int(start)
