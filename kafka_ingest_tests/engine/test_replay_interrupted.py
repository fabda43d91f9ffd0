"""A replay that is killed, or meets backfills and other replays, is as one clean replay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import Event
from kafka_ingest.testing.target import Crash, Target
from kafka_ingest_tests.support.letters import (
    BROKEN,
    FIXED,
    NO_ROUTES,
    account,
    became,
    dump,
    event,
    kept,
    loaded,
    names,
    run_replay,
)

STEPS = [*(step for step in LoadStep if step is not LoadStep.AHEAD)]


@pytest.mark.parametrize("step", STEPS)
def test_a_replay_killed_at_any_step_and_repeated_is_one_clean_replay(step: str) -> None:
    parts = Part([Msg(event("a")), Msg(account("x", 5)), Msg(event("bad", 13)), Msg(None, b"y"), Msg(account("y", 1))])
    clean, killed = loaded(NO_ROUTES, parts), loaded(NO_ROUTES, parts)
    run_replay(clean)

    def die(at: str) -> None:
        if at == step:
            raise Crash

    before = dump(killed)
    with pytest.raises(Crash):
        run_replay(killed, at_step=die)
    if step != LoadStep.DONE:  # after the COMMIT
        assert dump(killed) == before
    run_replay(killed)
    assert dump(killed) == dump(clean)


def test_a_crash_in_a_later_slice_keeps_the_slices_before_it() -> None:
    small = replace(FIXED, batch=replace(FIXED.batch, max_rows=2))
    target = loaded(BROKEN, Part([Msg(event(f"e{n}")) for n in range(5)]))
    seen: list[str] = []

    def die_in_second(at: str) -> None:
        seen.append(at)
        if seen.count(LoadStep.DEAD_LETTERS) == 2:
            raise Crash

    with pytest.raises(Crash):
        run_replay(target, small, at_step=die_in_second)
    assert names(target) == ["e0", "e1"]
    assert [len(result.letters) for result in run_replay(target, small)] == [2, 1]
    assert names(target) == [f"e{n}" for n in range(5)]


@pytest.mark.parametrize("step", [LoadStep.STAGE, LoadStep.BEGIN])
def test_what_a_backfill_loads_while_a_replay_prepares_is_left_to_it(tmp_path: Path, step: str) -> None:
    target = loaded(sink=SQLiteSink(sa.make_url(f"sqlite:///{tmp_path}/x.db")))
    part = Part([Msg(event("a")), Msg(event("b", 13))])

    def meanwhile(at: str) -> None:
        if at == step:
            target.load(raw_slice(part), "backfill", stream=FIXED, run_id="backfill")

    results = run_replay(target, at_step=meanwhile)
    assert became(results) == {"mixed[0]@2": "row", "mixed[0]@3": "row"}
    assert names(target) == ["a", "c"]
    assert [(b[0], b[1]) for b in target.batches()[1:]] == [
        ("mixed[0]@[0,2)", "backfill"),
        ("mixed[0]@[2,4)", "replay"),
    ]
    waiting = kept(target, DeadLetterFilter())
    assert [(letter.kafka_offset, letter.run_id, letter.attempts) for letter in waiting] == [(1, "backfill", 0)]


def test_two_replays_at_once_take_each_letter_once(tmp_path: Path) -> None:
    target = loaded(sink=SQLiteSink(sa.make_url(f"sqlite:///{tmp_path}/x.db")))
    others: list[dict[str, str]] = []

    def meanwhile(at: str) -> None:
        if at == LoadStep.STAGE and not others:
            others.append({})
            others[0] = became(run_replay(target, wanted=DeadLetterFilter(end_offset=3), run_id="other"))

    assert became(run_replay(target, at_step=meanwhile)) == {"mixed[0]@3": "row"}
    assert len(others[0]) == 3
    assert names(target) == ["a", "b", "c"]


def test_a_backfill_after_a_replay_converges(target: Target) -> None:
    run_replay(target)
    rows = target.rows(Event, "*")
    part = Part([Msg(event("a")), Msg(event("b")), Msg(event("c")), Msg(account("x", 5))])
    target.load(raw_slice(part), "backfill", stream=FIXED)
    assert target.rows(Event, "*") == rows
    assert kept(target) == [], "loading a range again forgets what was wrong with it before"


def test_a_slice_that_is_gone_before_it_is_locked_changes_nothing(tmp_path: Path) -> None:
    target = loaded(sink=SQLiteSink(sa.make_url(f"sqlite:///{tmp_path}/x.db")))
    raw = raw_slice(Part([Msg(event("a")), Msg(event("b")), Msg(event("c")), Msg(account("x", 5))]))

    def meanwhile(at: str) -> None:
        if at == LoadStep.STAGE:
            target.load(raw, "backfill", stream=FIXED)

    results = run_replay(target, at_step=meanwhile)
    assert became(results) == {}
    assert [b[1] for b in target.batches()] == ["live", "backfill"]
    assert names(target) == ["a", "b", "c"]
