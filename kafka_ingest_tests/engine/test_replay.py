"""Replay: the original bytes through today's code, once; what became of each is marked, all or nothing."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from kafka_ingest.engine.audit import audit_accounting, audit_tiling
from kafka_ingest.engine.replay import plan_replay
from kafka_ingest.engine.table_rows import audit_rows
from kafka_ingest.errors import ConfigError, OffsetGap, SchemaMismatch, StepError
from kafka_ingest.pipelines.step import StepContext
from kafka_ingest.records import TopicPartition
from kafka_ingest.sinks import ledger
from kafka_ingest.sinks.letters import LetterFilter
from kafka_ingest.sinks.replay import raw_slice_of
from kafka_ingest.sinks.sqlite import SQLiteSink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.streams.model import AppendModel, field, table_of
from kafka_ingest.streams.stream import Stream
from kafka_ingest_tests.support.database import NOW, Crash, Target
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
    run_replay,
)
from kafka_ingest_tests.support.models import Account, Event
from kafka_ingest_tests.support.raws import MORNING_MS, Msg, Part, one, raw_slice

STEPS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]


@pytest.fixture
def target() -> Target:
    return loaded()


def loaded(stream: Stream = BROKEN, *parts: Part, sink: SQLiteSink | None = None) -> Target:
    """A database where `stream` has loaded these ranges, by default four events and an account, into dead letters."""
    target = Target(FIXED, sink)
    ranges = parts or (Part([Msg(event("a")), Msg(event("b")), Msg(event("c")), Msg(account("x", 5))]),)
    raw = raw_slice(*ranges)
    target.pin({r.topic_partition: r.start for r in raw.ranges})
    target.load(raw, stream=stream)
    return target


def names(target: Target) -> list[str]:
    return [name for (name,) in target.rows(Event, "name")]


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
        found.append(audit_rows(target.sink, FIXED, table_of(Event), seconds=60))
        return [fault for each in found for fault in each.faults]

    run_replay(target, NO_ROUTES)
    run_replay(target, wanted=LetterFilter(first_offset=1, end_offset=2), run_id="one")
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


def test_scattered_letters_are_ranges_of_their_own_and_neighbours_one(target: Target) -> None:
    run_replay(target, wanted=LetterFilter(first_offset=0, end_offset=2))
    run_replay(target, wanted=LetterFilter(first_offset=3), run_id="second")
    assert [b[0] for b in target.batches()[1:]] == ["mixed[0]@[0,2)", "mixed[0]@[3,4)"]
    assert [letter.kafka_offset for letter in kept(target, LetterFilter())] == [2]


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
    refused = kept(target, LetterFilter())[0]
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
    if step != "11":  # after the COMMIT
        assert dump(killed) == before
    run_replay(killed)
    assert dump(killed) == dump(clean)


def test_a_crash_in_a_later_slice_keeps_the_slices_before_it() -> None:
    small = replace(FIXED, batch=replace(FIXED.batch, max_rows=2))
    target = loaded(BROKEN, Part([Msg(event(f"e{n}")) for n in range(5)]))
    seen: list[str] = []

    def die_in_second(at: str) -> None:
        seen.append(at)
        if seen.count("7") == 2:
            raise Crash

    with pytest.raises(Crash):
        run_replay(target, small, at_step=die_in_second)
    assert names(target) == ["e0", "e1"]
    assert [len(result.letters) for result in run_replay(target, small)] == [2, 1]
    assert names(target) == [f"e{n}" for n in range(5)]


@pytest.mark.parametrize("step", ["1", "2"])
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
    waiting = kept(target, LetterFilter())
    assert [(letter.kafka_offset, letter.run_id, letter.attempts) for letter in waiting] == [(1, "backfill", 0)]


def test_two_replays_at_once_take_each_letter_once(tmp_path: Path) -> None:
    target = loaded(sink=SQLiteSink(sa.make_url(f"sqlite:///{tmp_path}/x.db")))
    others: list[dict[str, str]] = []

    def meanwhile(at: str) -> None:
        if at == "1" and not others:
            others.append({})
            others[0] = became(run_replay(target, wanted=LetterFilter(end_offset=3), run_id="other"))

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


@pytest.mark.parametrize(
    ("wanted", "offsets"),
    [
        (LetterFilter(), [0, 1, 2, 0, 0]),
        (LetterFilter(topics=("mixed2",)), [0]),
        (LetterFilter(topics=("mixed2", "mixed")), [0, 1, 2, 0, 0]),
        (LetterFilter(partition=1), [0]),
        (LetterFilter(first_offset=1, end_offset=2), [1]),
        (LetterFilter(route="account"), [2]),
        (LetterFilter(stage="decode"), [1]),
        (LetterFilter(stage="database"), []),
        (LetterFilter(error="STEP was"), [0, 2, 0, 0]),
        (LetterFilter(error="step_was"), []),
        (LetterFilter(error="not JSON%"), [1]),
        (LetterFilter(error="JSON%"), []),
        (LetterFilter(since=NOW), [0, 1, 2, 0, 0]),
        (LetterFilter(until=NOW), []),
        (LetterFilter(since=NOW.astimezone(dt.timezone(dt.timedelta(hours=8)))), [0, 1, 2, 0, 0]),
        (
            LetterFilter(
                since=dt.datetime.fromtimestamp(MORNING_MS / 1000 + 1, dt.timezone.utc),
                until=dt.datetime.fromtimestamp(MORNING_MS / 1000 + 2, dt.timezone.utc),
                clock="kafka",
            ),
            [1],
        ),
        (LetterFilter(stage="step", topics=("mixed",), partition=0), [0, 2]),
    ],
)
def test_filters_choose_what_is_replayed(wanted: LetterFilter, offsets: list[int]) -> None:
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
        LetterFilter(since=dt.datetime(2026, 1, 1))
    with pytest.raises(ConfigError, match="has to be before"):
        LetterFilter(since=NOW, until=NOW)


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


class LaterMade(AppendModel):
    """A table that a stream gets after its messages came."""

    __tablename__ = "t_later_made"
    name: sa.orm.Mapped[str] = field(sa.String(20))


def test_a_type_that_gets_its_model_later_is_replayed_into_a_new_table(target: Target) -> None:
    grown = replace(FIXED, routes={"event": LaterMade, "account": Account})
    forecast = became(run_replay(target, grown, dry_run=True))
    assert not sa.inspect(target.sink.engine).has_table("t_later_made")
    assert became(run_replay(target, grown)) == forecast
    assert target.rows(LaterMade, "name") == [("a",), ("b",), ("c",)]


def test_letters_of_a_topic_the_stream_no_longer_reads_are_left_alone_and_named() -> None:
    target = loaded(BROKEN, Part([Msg(event("a"))]), Part([Msg(event("b"))], topic="mixed2"))
    shrunk = replace(FIXED, topics="mixed")
    plan = plan_replay(target.sink, shrunk, LetterFilter(), run_id="r")
    assert (plan.letters, plan.left_out) == (1, {"mixed2": 1})
    assert became(run_replay(target, shrunk)) == {"mixed[0]@0": "row"}
    with pytest.raises(ConfigError, match=r"stream mixed no longer reads topic mixed2, .*it reads mixed\."):
        run_replay(target, shrunk)
    with pytest.raises(ConfigError, match="no longer reads topic mixed2"):
        run_replay(target, shrunk, LetterFilter(topics=("mixed", "mixed2")))
    assert [letter.attempts for letter in kept(target)] == [1, 0]


def test_a_table_that_lacks_a_column_is_said_before_anything_is_replayed(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE t_event DROP COLUMN name")
    with pytest.raises(SchemaMismatch, match="lacks 1 column"):
        run_replay(target)
    assert [letter.attempts for letter in kept(target)] == [0] * 4


def test_a_step_that_raises_fails_the_replay_and_the_letters_wait(target: Target) -> None:
    def buggy(_rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
        raise ZeroDivisionError

    before = dump(target)
    with pytest.raises(StepError, match="buggy"):
        run_replay(target, replace(FIXED, steps=(buggy,)))
    assert dump(target) == before


def test_a_partition_without_a_ledger_position_is_refused(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.execute(sa.delete(ledger.OFFSETS))
    with pytest.raises(OffsetGap, match=r"no position for mixed\[0\]"):
        run_replay(target)


def test_a_database_without_a_ledger_has_nothing_to_replay() -> None:
    sink = SQLiteSink(sa.make_url("sqlite://"))
    assert plan_replay(sink, FIXED, LetterFilter(), run_id="r").letters == 0


def test_a_ledger_of_an_older_version_gets_the_columns_and_indexes_it_lacks(target: Target) -> None:
    added = ("attempts", "replayed_at", "replay_run_id", "replay_outcome", "published_at", "publish_error")
    with target.sink.engine.begin() as connection:
        for index in ledger.DEAD_LETTERS.indexes:
            index.drop(connection)
        for name in added:
            connection.exec_driver_sql(f"ALTER TABLE kafka_ingest_dead_letters DROP COLUMN {name}")
    assert not FIXED.evolve
    prepare_tables(target.sink, FIXED)
    prepare_tables(target.sink, FIXED)
    assert [(letter.attempts, letter.replay_outcome) for letter in kept(target)] == [(0, None)] * 4
    indexes = {i["name"] for i in sa.inspect(target.sink.engine).get_indexes("kafka_ingest_dead_letters")}
    assert {i.name for i in ledger.DEAD_LETTERS.indexes} <= indexes
    assert set(became(run_replay(target)).values()) == {"row"}


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


def test_a_slice_that_is_gone_before_it_is_locked_changes_nothing(tmp_path: Path) -> None:
    target = loaded(sink=SQLiteSink(sa.make_url(f"sqlite:///{tmp_path}/x.db")))
    raw = raw_slice(Part([Msg(event("a")), Msg(event("b")), Msg(event("c")), Msg(account("x", 5))]))

    def meanwhile(at: str) -> None:
        if at == "1":
            target.load(raw, "backfill", stream=FIXED)

    results = run_replay(target, at_step=meanwhile)
    assert became(results) == {}
    assert [b[1] for b in target.batches()] == ["live", "backfill"]
    assert names(target) == ["a", "b", "c"]
