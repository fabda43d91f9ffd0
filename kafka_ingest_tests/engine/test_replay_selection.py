"""Which dead letters a replay takes: filters, limits, slices, topics; and each once."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from kafka_ingest.engine.replay import plan_replay
from kafka_ingest.errors import ConfigError
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part
from kafka_ingest.testing.target import NOW, Target
from kafka_ingest_tests.support.letters import (
    BROKEN,
    FIXED,
    NO_ROUTES,
    account,
    became,
    event,
    kept,
    loaded,
    run_replay,
)


def test_scattered_letters_are_ranges_of_their_own_and_neighbours_one(target: Target) -> None:
    run_replay(target, wanted=DeadLetterFilter(first_offset=0, end_offset=2))
    run_replay(target, wanted=DeadLetterFilter(first_offset=3), run_id="second")
    assert [b[0] for b in target.batches()[1:]] == ["mixed[0]@[0,2)", "mixed[0]@[3,4)"]
    assert [letter.kafka_offset for letter in kept(target, DeadLetterFilter())] == [2]


@pytest.mark.parametrize(
    ("wanted", "offsets"),
    [
        (DeadLetterFilter(), [0, 1, 2, 0, 0]),
        (DeadLetterFilter(topics=("mixed2",)), [0]),
        (DeadLetterFilter(topics=("mixed2", "mixed")), [0, 1, 2, 0, 0]),
        (DeadLetterFilter(partition=1), [0]),
        (DeadLetterFilter(first_offset=1, end_offset=2), [1]),
        (DeadLetterFilter(route="account"), [2]),
        (DeadLetterFilter(stage="decode"), [1]),
        (DeadLetterFilter(stage="database"), []),
        (DeadLetterFilter(error="STEP was"), [0, 2, 0, 0]),
        (DeadLetterFilter(error="step_was"), []),
        (DeadLetterFilter(error="not JSON%"), [1]),
        (DeadLetterFilter(error="JSON%"), []),
        (DeadLetterFilter(since=NOW), [0, 1, 2, 0, 0]),
        (DeadLetterFilter(until=NOW), []),
        (DeadLetterFilter(since=NOW.astimezone(dt.timezone(dt.timedelta(hours=8)))), [0, 1, 2, 0, 0]),
        (
            DeadLetterFilter(
                since=dt.datetime.fromtimestamp(MORNING_MS / 1000 + 1, dt.timezone.utc),
                until=dt.datetime.fromtimestamp(MORNING_MS / 1000 + 2, dt.timezone.utc),
                clock="kafka",
            ),
            [1],
        ),
        (DeadLetterFilter(stage="step", topics=("mixed",), partition=0), [0, 2]),
    ],
)
def test_filters_choose_what_is_replayed(wanted: DeadLetterFilter, offsets: list[int]) -> None:
    target = loaded(
        BROKEN,
        Part([Msg(event("a")), Msg(b"{"), Msg(account("x", 1))]),
        Part([Msg(event("p1"))], partition=1),
        Part([Msg(event("t2"))], topic="mixed2"),
    )
    assert [letter.kafka_offset for letter in kept(target, wanted)] == offsets
    plan = plan_replay(target.sink, FIXED, wanted, run_id="r")
    assert plan.letters == len(offsets)
    assert len(became(run_replay(target, FIXED, wanted))) == len(offsets)


def test_letters_of_other_streams_are_not_touched(target: Target) -> None:
    other = replace(FIXED, name="other")
    assert run_replay(target, other) == []
    assert all(letter.attempts == 0 for letter in kept(target))


def test_a_filter_that_can_hold_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a time zone"):
        DeadLetterFilter(since=dt.datetime(2026, 1, 1))
    with pytest.raises(ConfigError, match="has to be before"):
        DeadLetterFilter(since=NOW, until=NOW)


def test_slices_are_bounded_by_rows_and_bytes() -> None:
    messages = [Msg(event("x" * 15, code=f"c{n}")) for n in range(6)]
    target = loaded(BROKEN, Part(messages))
    by_rows = replace(FIXED, batch=replace(FIXED.batch, max_rows=4))
    by_bytes = replace(FIXED, batch=replace(FIXED.batch, max_bytes=1_024))
    forecast = run_replay(target, by_rows, dry_run=True)
    assert [len(r.letters) for r in forecast] == [4, 2]
    assert len(became(forecast)) == 6, "each letter once, though none is marked"
    large = loaded(BROKEN, Part([Msg(event("x", note="y" * 2_000)), *messages]))
    assert [len(r.letters) for r in run_replay(large, by_bytes)] == [1, 6]


def test_a_limit_takes_the_oldest_and_counts_what_the_same_run_did_before(target: Target) -> None:
    assert list(became(run_replay(target, limit=3))) == ["mixed[0]@0", "mixed[0]@1", "mixed[0]@2"]
    assert run_replay(target, limit=3) == [], "the same run, tried again"
    assert list(became(run_replay(target, limit=3, run_id="next"))) == ["mixed[0]@3"]


def test_a_run_that_is_tried_again_does_not_try_its_letters_again(target: Target) -> None:
    run_replay(target, NO_ROUTES)
    assert run_replay(target, NO_ROUTES) == []
    assert [letter.attempts for letter in kept(target)] == [1] * 4


def test_letters_of_a_topic_the_stream_no_longer_reads_are_left_alone_and_named() -> None:
    target = loaded(BROKEN, Part([Msg(event("a"))]), Part([Msg(event("b"))], topic="mixed2"))
    shrunk = replace(FIXED, topics="mixed")
    plan = plan_replay(target.sink, shrunk, DeadLetterFilter(), run_id="r")
    assert (plan.letters, plan.left_out) == (1, {"mixed2": 1})
    assert became(run_replay(target, shrunk)) == {"mixed[0]@0": "row"}
    with pytest.raises(ConfigError, match=r"stream mixed no longer reads topic mixed2, .*it reads mixed\."):
        run_replay(target, shrunk)
    with pytest.raises(ConfigError, match="no longer reads topic mixed2"):
        run_replay(target, shrunk, DeadLetterFilter(topics=("mixed", "mixed2")))
    assert [letter.attempts for letter in kept(target)] == [1, 0]
