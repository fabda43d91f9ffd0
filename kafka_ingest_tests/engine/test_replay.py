"""Replay: the original bytes through today's code, once; what became of each is marked, all or nothing."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from kafka_ingest.checks.table_rows import audit_rows
from kafka_ingest.checks.whole_ledger import audit_accounting, audit_tiling
from kafka_ingest.errors import StepError
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter
from kafka_ingest.sinks.replay_proposal import raw_slice_of
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.step import StepContext
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, one, raw_slice
from kafka_ingest.testing.models import Account, Event
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.letters import (
    BROKEN,
    FIXED,
    LATER,
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


def test_letters_that_todays_code_takes_become_rows_and_say_so(target: Target) -> None:
    assert names(target) == []
    assert set(became(run_replay(target)).values()) == {"row"}
    assert target.rows(Event, "name", "_kafka_offset", "_kafka_timestamp") == [
        ("a", 0, "2026-01-01 07:00:00.000000"),
        ("b", 1, "2026-01-01 07:00:01.000000"),
        ("c", 2, "2026-01-01 07:00:02.000000"),
    ]
    assert target.rows(Account, "id", "balance", "_kafka_offset") == [("x", 5, 3)]
    for letter in kept(target):
        assert (letter.replay_outcome, letter.attempts, letter.replay_run_id) == ("row", 1, "replay")
        assert letter.replayed_at == LATER
        assert letter.error == "the step was wrong", "why it once failed stays readable"


def test_the_ledger_accounts_for_a_replay_and_no_offset_moves(target: Target) -> None:
    before = target.offsets()
    run_replay(target)
    assert target.offsets() == before == {"mixed[0]": 4}
    assert target.batches()[1:] == [("mixed[0]@[0,4)", "replay", 4, 0, 0, 0, 0)]


def test_the_audits_of_the_ledger_pass_after_replays_and_backfills(target: Target) -> None:
    def faults() -> list[str]:
        found = [audit_accounting(target.sink, FIXED), audit_tiling(target.sink, FIXED)]
        found.append(audit_rows(target.sink, FIXED, TargetTable.of(Event), seconds=60))
        return [fault for each in found for fault in each.faults]

    run_replay(target, NO_ROUTES)
    run_replay(target, wanted=DeadLetterFilter(first_offset=1, end_offset=2), run_id="one")
    assert faults() == []
    run_replay(target, run_id="all")
    assert faults() == []
    target.load(raw_slice(Part([Msg(event("a")), Msg(event("b", 13))])), "backfill", stream=FIXED)
    assert faults() == []
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM t_event WHERE name = 'c'")
    assert faults()


def test_a_second_replay_does_nothing(target: Target) -> None:
    run_replay(target)
    before = dump(target)
    assert run_replay(target, run_id="again") == []
    assert dump(target) == before


def test_a_letter_that_fails_again_waits_with_its_new_error_and_may_be_replayed_again(target: Target) -> None:
    assert set(became(run_replay(target, NO_ROUTES)).values()) == {"dead_letter"}
    for letter in kept(target):
        assert letter.is_waiting
        assert (letter.stage, letter.replay_outcome, letter.attempts) == ("route", "dead_letter", 1)
        assert letter.error.startswith("no route for type")
    assert target.batches()[1:] == [("mixed[0]@[0,4)", "replay", 0, 0, 4, 0, 0)]
    run_replay(target, run_id="fixed")
    assert [(letter.replay_outcome, letter.attempts) for letter in kept(target)] == [("row", 2)] * 4
    assert names(target) == ["a", "b", "c"]


def test_the_dead_letter_limit_does_not_hold_for_a_replay() -> None:
    target = loaded(BROKEN, Part([Msg(event(f"e{n}")) for n in range(150)]))
    strict = replace(NO_ROUTES, max_dead_letter_ratio=0.0)
    assert set(became(run_replay(target, strict)).values()) == {"dead_letter"}


def test_rows_the_database_refuses_stay_dead_letters_and_the_others_load() -> None:
    target = loaded(BROKEN, Part([Msg(event("good")), Msg(event("bad", 13)), Msg(event("fine"))]))
    results = run_replay(target)
    assert became(results) == {"mixed[0]@0": "row", "mixed[0]@1": "dead_letter", "mixed[0]@2": "row"}
    assert names(target) == ["good", "fine"]
    refused = kept(target, DeadLetterFilter())[0]
    assert (refused.stage, refused.route) == ("database", "event")
    assert "no_thirteen" in refused.error
    assert results[0].load.rows_by_table == {"t_event": 2}


def test_a_message_nobody_takes_any_more_is_ignored(target: Target) -> None:
    events_only = replace(FIXED, routes={"event": Event}, unrouted="ignore")
    assert became(run_replay(target, events_only))["mixed[0]@3"] == "ignored"
    assert run_replay(target, run_id="again") == []
    assert target.rows(Account, "id") == []


def test_a_row_a_step_drops_is_ignored(target: Target) -> None:
    def only_a(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
        return rows[rows["name"] == "a"] if "name" in rows else rows

    assert list(became(run_replay(target, replace(FIXED, steps=(only_a,)))).values()) == [
        "row",
        "ignored",
        "ignored",
        "row",
    ]


def test_an_older_letter_does_not_overwrite_a_newer_row_and_a_newer_one_does() -> None:
    target = loaded(BROKEN, Part([Msg(account("x", 1)), Msg(account("y", 1))]))
    target.load(raw_slice(Part([Msg(account("x", 2)), Msg(account("z", 2))], start=2)), stream=FIXED)
    target.load(raw_slice(Part([Msg(account("z", 3))], start=4)), stream=BROKEN)
    assert set(became(run_replay(target)).values()) == {"row"}
    assert sorted(target.rows(Account, "id", "balance", "_kafka_offset")) == [("x", 2, 2), ("y", 1, 1), ("z", 3, 4)]


def test_a_tombstone_deletes_what_is_older_and_spares_what_is_newer() -> None:
    target = Target(FIXED)
    target.pin({TopicPartition("mixed", 0): 0})
    target.load(one(account("old", 1)), stream=FIXED)
    target.load(raw_slice(Part([Msg(None, b"old"), Msg(None, b"new")], start=1)), stream=NO_ROUTES)
    target.load(raw_slice(Part([Msg(account("new", 2))], start=3)), stream=FIXED)
    assert became(run_replay(target)) == {"mixed[0]@1": "delete", "mixed[0]@2": "delete"}
    assert target.rows(Account, "id") == [("new",)]
    assert target.batches()[-1] == ("mixed[0]@[1,3)", "replay", 0, 2, 0, 0, 0)
    late = raw_slice(Part([Msg(account("old", 9))]))
    target.load(late, "backfill", stream=FIXED)
    assert target.rows(Account, "id") == [("new",)], "the replayed tombstone is remembered"


def test_the_messages_of_a_replay_are_what_kafka_delivered() -> None:
    headers: list[tuple[str, bytes | None]] = [("h", b"\x00\xff"), ("h", None), ("ü", b"")]
    parts = (
        Part([Msg(b"\xff\x00", b"k\x00", headers, offset=5), Msg(None, None, [], offset=9, timestamp_ms=-1)], end=12),
        Part([Msg(b"", b"", timestamp_ms=-62_000_000)], topic="mixed2", partition=3),
    )
    target = loaded(BROKEN, *parts)
    sent, found = raw_slice(*parts), raw_slice_of(kept(target))
    assert (found.keys, found.values, found.headers) == (sent.keys, sent.values, sent.headers)
    assert [found.position(n) for n in range(3)] == ["mixed[0]@5", "mixed[0]@9", "mixed2[3]@0"]
    assert found.timestamps_ms.tolist() == sent.timestamps_ms.tolist()
    assert found.absent == (3, 0)


def test_a_dry_run_says_the_same_and_writes_nothing() -> None:
    parts = Part([Msg(event("a")), Msg(event("bad", 13)), Msg(account("x", 5)), Msg(b"{"), Msg(None, b"y")])
    target = loaded(NO_ROUTES, parts)
    before = dump(target)
    forecast = run_replay(target, dry_run=True)
    assert dump(target) == before
    assert [r.letters for r in run_replay(target)] == [r.letters for r in forecast]
    assert became(forecast) == {
        "mixed[0]@0": "row",
        "mixed[0]@1": "dead_letter",
        "mixed[0]@2": "row",
        "mixed[0]@3": "dead_letter",
        "mixed[0]@4": "delete",
    }


def test_a_step_that_raises_fails_the_replay_and_the_letters_wait(target: Target) -> None:
    def buggy(_rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
        raise ZeroDivisionError

    before = dump(target)
    with pytest.raises(StepError, match="buggy"):
        run_replay(target, replace(FIXED, steps=(buggy,)))
    assert dump(target) == before


def test_tables_windows_and_counts_of_a_replay_are_those_of_what_changed() -> None:
    hour = 3_600_000
    target = loaded(
        BROKEN,
        Part(
            [
                Msg(event("a"), timestamp_ms=MORNING_MS),
                Msg(event("bad", 13), timestamp_ms=MORNING_MS + hour),
                Msg(account("x", 1), timestamp_ms=MORNING_MS + hour),
            ]
        ),
    )
    (result,) = run_replay(target)
    assert result.changes_by_window == {
        "t_event": {"2026-01-01-07:00": 1},
        "t_account": {"2026-01-01-08:00": 1},
    }
