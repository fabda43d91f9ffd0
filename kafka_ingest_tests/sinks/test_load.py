# A row of a table is one line.
# ruff: noqa: E501
"""One slice into a real database: rows, dead letters and ledger together, once, whatever happens on the way."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_ingest.errors import (
    AccountingError,
    DatabaseUnavailable,
    DeadLetterLimit,
    OffsetGap,
    PermanentError,
    SchemaMismatch,
)
from kafka_ingest.records import RawSlice, TopicPartition
from kafka_ingest.sinks.dead_letters import decode_headers
from kafka_ingest.sinks.load import LoadContext, load
from kafka_ingest.sinks.sqlite import SQLiteSink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest_tests.support.database import Crash, Target
from kafka_ingest_tests.support.models import EVERYTHING, MIXED, Account, Event, Everything
from kafka_ingest_tests.support.raws import MORNING_MS, Msg, Part, piped, raw_slice

P0, P1 = TopicPartition("mixed", 0), TopicPartition("mixed", 1)


@pytest.fixture
def target() -> Target:
    found = Target(MIXED)
    found.pin({P0: 0, P1: 0})
    return found


def event(name: str, amount: int | None = None, code: str | None = None, **more: Any) -> Msg:
    return Msg({"type": "event", "name": name, "amount": amount, "code": code}, **more)


def account(key: str, balance: int, **more: Any) -> Msg:
    return Msg({"type": "account", "id": key, "balance": balance}, **more)


def gone(key: str, **more: Any) -> Msg:
    return Msg(None, key=key.encode(), **more)


def events(*names: str, start: int = 0, end: int | None = None, partition: int = 0) -> RawSlice:
    return raw_slice(Part([event(n) for n in names], start=start, end=end, partition=partition))


def names(target: Target) -> list[Any]:
    return [row[0] for row in target.rows(Event, "name")]


def test_rows_dead_letters_and_ledger_are_written_together(target: Target) -> None:
    raw = raw_slice(
        Part(
            [event("a"), Msg(b"broken", key=b"k", headers=[("h", b"\xff"), ("h", None)]), event("b", offset=5)], end=8
        ),
        Part([account("x", 5), gone("x"), Msg({"type": "no"})], partition=1),
    )
    result = target.load(raw)
    assert names(target) == ["a", "b"]
    assert target.rows(Account, "id") == []
    assert target.offsets() == {"mixed[0]": 8, "mixed[1]": 3}
    assert target.batches() == [
        ("mixed[0]@[0,8)", "live", 2, 0, 1, 0, 5),
        ("mixed[1]@[0,3)", "live", 1, 1, 1, 0, 0),
    ]
    assert target.dead_letters() == [
        ("mixed[0]@1", "decode", None, b"broken"),
        ("mixed[1]@2", "route", "no", b'{"type": "no"}'),
    ]
    key, headers, error = target.all("SELECT message_key, message_headers, error FROM kafka_ingest_dead_letters")[0]
    assert key == b"k"
    assert decode_headers(headers) == [("h", b"\xff"), ("h", None)]
    assert "not JSON" in error
    assert result.next_offsets == {P0: 8, P1: 3}
    assert result.rows_by_table == {"t_event": 2, "t_account": 1}
    assert (result.messages, result.total("rows"), result.total("dead_letters")) == (6, 3, 2)
    assert result.messages_by_window == {"2026-01-01-07:00": 6}
    assert result.latency_p50_seconds == pytest.approx(3_599.0)


def test_the_ledger_says_when_by_whom_and_which_event_times(target: Target) -> None:
    target.load(events("a", "b", "c"), run_id="run-7")
    query = "SELECT run_id, window_key, min_timestamp, max_timestamp, loaded_at FROM kafka_ingest_batches"
    assert target.all(query) == [
        (
            "run-7",
            "2026-01-01-07:00",
            "2026-01-01 07:00:00.000000",
            "2026-01-01 07:00:02.000000",
            "2026-01-01 08:00:00.000000",
        )
    ]
    assert target.all("SELECT run_id FROM kafka_ingest_offsets WHERE kafka_partition = 0") == [("run-7",)]


def test_every_kind_of_value_stands_in_the_table_as_it_was_sent() -> None:
    target = Target(EVERYTHING)
    target.pin({TopicPartition("everything", 0): 0})
    full = {
        "type": "e", "id": "é😀", "note": "a\"b\\N\nNULL", "small": -1, "number": 2, "big": 2**62, "ratio": 0.1, "price": "12.3400",
        "flag": False, "data": {"k": ["é"]}, "source": {"name": "NULL"}, "at": "2026-01-01 08:00:00.5",
    }  # fmt: skip
    target.load(raw_slice(Part([Msg(full), Msg({"type": "e", "id": ""})], topic="everything")))
    columns = "id, note, small, number, big, ratio, price, flag, data, source, level, at, seen, _kafka_timestamp"
    assert target.rows(Everything, columns) == [
        ("é😀", 'a"b\\N\nNULL', -1, 2, 2**62, 0.1, 12.34, 0, '{"k": ["é"]}', "NULL", 7, "2026-01-01 00:00:00.500000", None, "2026-01-01 07:00:00.000000"),
        ("", None, None, None, None, None, None, None, None, None, 7, None, None, "2026-01-01 07:00:01.000000"),
    ]  # fmt: skip


# --- position


def test_what_the_ledger_has_is_skipped(target: Target) -> None:
    target.load(events("a", "b", "c"))
    result = target.load(raw_slice(Part([event("x"), event("y"), event("z"), event("d"), event("e")])))
    assert names(target) == ["a", "b", "c", "d", "e"]
    assert target.batches() == [("mixed[0]@[0,3)", "live", 3, 0, 0, 0, 0), ("mixed[0]@[3,5)", "live", 2, 0, 0, 0, 0)]
    assert result.messages == 2


def test_a_slice_the_ledger_has_entirely_changes_nothing(target: Target) -> None:
    target.load(events("a", "b"))
    before, batches = target.state(), target.batches()
    result = target.load(events("a", "b"))
    assert (target.state(), target.batches()) == (before, batches)
    assert (result.counts, result.messages, result.next_offsets) == ((), 0, {P0: 2})


def test_an_overlap_with_holes_still_adds_up(target: Target) -> None:
    raw = raw_slice(Part([event("a"), event("b", offset=4), event("c", offset=7)], end=10))
    target.load(raw_slice(Part([event("a"), event("b", offset=4)], end=6)))
    target.load(raw)
    assert target.batches()[1] == ("mixed[0]@[6,10)", "live", 1, 0, 0, 0, 3)
    assert names(target) == ["a", "b", "c"]


def test_a_live_load_above_the_next_offset_is_refused_and_says_how_much_it_would_leave_out(target: Target) -> None:
    before = target.state()
    with pytest.raises(
        OffsetGap, match=r"mixed\[0\]@\[3,4\) starts above the ledger's next offset 0.*leave out 3 offsets"
    ):
        target.load(events("d", start=3))
    assert target.state() == before


def test_a_gap_in_one_partition_refuses_the_others_too(target: Target) -> None:
    before = target.state()
    with pytest.raises(OffsetGap):
        target.load(raw_slice(Part([event("a")]), Part([event("b")], start=2, partition=1)))
    assert target.state() == before


def test_a_partition_the_ledger_does_not_know_is_refused(target: Target) -> None:
    with pytest.raises(OffsetGap, match=r"no position for mixed\[9\]; plan pins it first"):
        target.load(events("a", partition=9))


# --- backfills


def test_a_backfill_replaces_its_range_and_leaves_the_rest_and_the_next_offset(target: Target) -> None:
    target.load(events("a", "b", "c", "d"))
    target.load(events("B", "C", start=1), "backfill")
    assert names(target) == ["a", "B", "C", "d"]
    assert target.offsets()["mixed[0]"] == 4
    assert target.batches()[1] == ("mixed[0]@[1,3)", "backfill", 2, 0, 0, 0, 0)


def test_a_backfill_takes_away_rows_that_are_no_rows_any_more_and_forgets_old_dead_letters(target: Target) -> None:
    target.load(raw_slice(Part([event("a"), Msg(b"broken"), event("c")])))
    assert [d[0] for d in target.dead_letters()] == ["mixed[0]@1"]
    target.load(raw_slice(Part([Msg(b"worse"), event("b"), account("k", 1)])), "backfill")
    assert names(target) == ["b"]
    assert target.rows(Account, "id") == [("k",)]
    assert [d[0] for d in target.dead_letters()] == ["mixed[0]@0"]


def test_a_backfill_across_the_next_offset_is_a_backfill_below_it_and_live_above(target: Target) -> None:
    target.load(events("a", "b"))
    target.load(events("B", "c", "d", start=1), "backfill")
    assert names(target) == ["a", "B", "c", "d"]
    assert target.offsets()["mixed[0]"] == 4
    assert target.batches()[1:] == [
        ("mixed[0]@[1,2)", "backfill", 1, 0, 0, 0, 0),
        ("mixed[0]@[2,4)", "live", 2, 0, 0, 0, 0),
    ]


def test_a_backfill_above_the_next_offset_does_not_move_it(target: Target) -> None:
    target.load(events("d", start=3), "backfill")
    assert target.offsets()["mixed[0]"] == 0
    target.load(events("a", "b", "c", "D"))
    assert names(target) == ["a", "b", "c", "D"]
    assert target.offsets()["mixed[0]"] == 4


def test_a_live_load_takes_away_what_a_backfill_ahead_of_it_had_stored(target: Target) -> None:
    target.load(events("d", start=3), "backfill")
    target.load(events("a", "b", "c"))
    target.load(raw_slice(Part([Msg(b"no JSON any more")], start=3)))
    assert names(target) == ["a", "b", "c"]


# --- upserts and deletes


def balances(target: Target) -> dict[str, Any]:
    return dict(target.all("SELECT id, balance FROM t_account"))


def test_the_message_with_the_highest_offset_wins_within_a_slice_and_between_slices(target: Target) -> None:
    target.load(raw_slice(Part([account("k", 1), account("k", 2), account("m", 3)])))
    assert balances(target) == {"k": 2, "m": 3}
    target.load(raw_slice(Part([account("k", 4)], start=3)))
    assert balances(target) == {"k": 4, "m": 3}
    target.load(raw_slice(Part([account("k", 1), account("k", 2), account("m", 3)])), "backfill")
    assert balances(target) == {"k": 4, "m": 3}
    assert target.batches()[0] == ("mixed[0]@[0,3)", "live", 3, 0, 0, 0, 0)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("stamps", "winner"),
    [((5_000, 4_000), 0), ((4_000, 5_000), 1), ((5_000, 5_000), 1), ((-1, 5_000), 1), ((5_000, -1), 0)],
)
def test_between_partitions_the_later_timestamp_wins_then_the_higher_partition(
    target: Target, together: bool, stamps: tuple[int, int], winner: int
) -> None:
    parts = [
        Part([account("k", 100 + p, timestamp_ms=s)], partition=p) for p, s in enumerate(stamps)
    ]  # the value names the partition
    if together:
        target.load(raw_slice(*parts))
    else:
        for part in parts:
            target.load(raw_slice(part))
    assert balances(target) == {"k": 100 + winner}


def test_keys_that_differ_by_case_accent_or_trailing_space_are_different_keys(target: Target) -> None:
    target.load(raw_slice(Part([account(k, n) for n, k in enumerate(["a", "A", "á", "a ", ""])])))
    assert len(balances(target)) == 5


def test_a_tombstone_deletes_and_a_later_message_brings_the_row_back(target: Target) -> None:
    target.load(raw_slice(Part([account("k", 1), account("m", 1)])))
    target.load(raw_slice(Part([gone("k")], start=2)))
    assert balances(target) == {"m": 1}
    target.load(raw_slice(Part([account("k", 2)], start=3)))
    assert balances(target) == {"k": 2, "m": 1}


def test_within_a_slice_the_last_word_on_a_key_counts(target: Target) -> None:
    target.load(raw_slice(Part([gone("k"), account("k", 1), account("m", 1), gone("m")])))
    assert balances(target) == {"k": 1}
    assert target.batches() == [("mixed[0]@[0,4)", "live", 2, 2, 0, 0, 0)]


def test_a_backfill_does_not_bring_a_deleted_row_back(target: Target) -> None:
    slices = [raw_slice(Part([account("k", 1)])), raw_slice(Part([gone("k")], start=1))]
    for each in slices:
        target.load(each)
    target.load(slices[0], "backfill")
    assert balances(target) == {}
    target.load(slices[1], "backfill")
    assert balances(target) == {}


def test_a_tombstone_loaded_again_does_not_delete_a_newer_row(target: Target) -> None:
    target.load(raw_slice(Part([account("k", 1), gone("k"), account("k", 2)])))
    target.load(raw_slice(Part([gone("k")], start=1)), "backfill")
    assert balances(target) == {"k": 2}


def test_a_tombstone_for_a_row_that_never_was_is_a_delete_like_any_other(target: Target) -> None:
    target.load(raw_slice(Part([gone("nobody")])))
    assert target.batches() == [("mixed[0]@[0,1)", "live", 0, 1, 0, 0, 0)]
    target.load(raw_slice(Part([account("nobody", 1, timestamp_ms=MORNING_MS - 5_000)], partition=1)))
    assert balances(target) == {}


# --- rows the database refuses


def test_rows_the_database_refuses_are_dead_letters_and_all_others_load(target: Target) -> None:
    good = [event(f"e{n}", amount=n) for n in range(60)]
    target.load(raw_slice(Part(good)))  # amount 13 is refused by a CHECK
    assert len(names(target)) == 59
    assert target.dead_letters() == [("mixed[0]@13", "database", "event", good[13].body)]
    error = target.all("SELECT error FROM kafka_ingest_dead_letters")[0][0]
    assert "CHECK constraint failed: no_thirteen" in error
    assert target.batches() == [("mixed[0]@[0,60)", "live", 59, 0, 1, 0, 0)]


def test_of_two_rows_that_may_not_both_be_there_the_first_one_stays(target: Target) -> None:
    target.load(
        raw_slice(Part([event("a", code="x"), event("b", code="y"), event("c", code="x"), event("d", code="x")]))
    )
    assert names(target) == ["a", "b"]
    assert [d[0] for d in target.dead_letters()] == ["mixed[0]@2", "mixed[0]@3"]


def test_when_every_row_is_refused_nothing_but_dead_letters_is_left(target: Target) -> None:
    result = target.load(raw_slice(Part([event(f"e{n}", amount=13) for n in range(9)])))
    assert names(target) == []
    assert len(target.dead_letters()) == 9
    assert result.rows_by_table == {"t_event": 0}


@pytest.mark.parametrize("together", [True, False])
def test_a_refused_message_leaves_its_key_to_the_message_before_it(target: Target, together: bool) -> None:
    messages = [account("k", 1), account("k", 2), account("m", 5), account("k", 13), account("n", 13), account("k", 13)]
    slices = [Part(messages)] if together else [Part([m], start=n) for n, m in enumerate(messages)]
    for each in slices:
        target.load(raw_slice(each))
    assert balances(target) == {"k": 2, "m": 5}
    assert [d[0] for d in target.dead_letters()] == ["mixed[0]@3", "mixed[0]@4", "mixed[0]@5"]
    assert target.offsets()["mixed[0]"] == 6


@pytest.mark.parametrize("together", [True, False])
def test_a_refused_message_does_not_take_the_place_of_a_tombstone(target: Target, together: bool) -> None:
    messages = [account("k", 1), gone("k"), account("k", 13)]
    slices = [Part(messages)] if together else [Part([m], start=n) for n, m in enumerate(messages)]
    for each in slices:
        target.load(raw_slice(each))
    assert balances(target) == {}
    assert [d[0] for d in target.dead_letters()] == ["mixed[0]@2"]


def test_a_delete_the_database_refuses_is_a_dead_letter(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER keep BEFORE DELETE ON t_account WHEN old.id = 'k' BEGIN SELECT RAISE(ABORT, 'we need k'); END"
        )
    target.load(raw_slice(Part([account("k", 1), account("m", 1), account("n", 1)])))
    target.load(raw_slice(Part([gone("k"), gone("m"), gone("n")], start=3)))
    assert balances(target) == {"k": 1}
    assert target.dead_letters() == [("mixed[0]@3", "database", "account", None)]
    assert target.batches()[1] == ("mixed[0]@[3,6)", "live", 0, 2, 1, 0, 0)


# --- limits and proofs


def part_bad(good: int, bad: int) -> RawSlice:
    return raw_slice(Part([*(event(f"e{n}") for n in range(good)), *(Msg(b"bad") for _ in range(bad))]))


def test_too_many_dead_letters_fail_the_batch_and_nothing_is_loaded(target: Target) -> None:
    before = target.state()
    with pytest.raises(
        DeadLetterLimit, match=r"51 of 100 messages in mixed\[0\]@\[0,100\) are bad, over the limit of 50%"
    ):
        target.load(part_bad(49, 51))
    assert (target.state(), target.batches()) == (before, [])
    target.load(part_bad(50, 50))
    assert len(target.dead_letters()) == 50


def test_rows_the_database_refuses_count_for_the_limit(target: Target) -> None:
    with pytest.raises(DeadLetterLimit, match="no_thirteen"):
        target.load(raw_slice(Part([event(f"e{n}", amount=13) for n in range(100)])))
    assert (names(target), target.offsets()["mixed[0]"]) == ([], 0)


def test_small_slices_are_not_judged_and_the_limit_is_the_streams_own(target: Target) -> None:
    target.load(part_bad(0, 99))
    strict = dataclasses.replace(MIXED, max_dead_letter_ratio=0.0)
    with pytest.raises(DeadLetterLimit, match="1 of 100"):
        target.load(
            raw_slice(Part([m for _, m in Part([event(f"e{n}") for n in range(99)]).numbered] + [Msg(b"x")], start=99)),
            stream=strict,
        )


@pytest.mark.parametrize("lose", ["row", "dead letter", "absent"])
def test_a_message_that_is_nowhere_fails_the_batch_and_nothing_is_committed(target: Target, lose: str) -> None:
    parsed = piped(MIXED, raw_slice(Part([event("a"), event("b"), Msg(b"bad")], end=6)))
    if lose == "row":
        parsed.rows[Event] = parsed.rows[Event][:1]
    elif lose == "dead letter":
        parsed.dead_letters.clear()
    else:
        parsed.raw = dataclasses.replace(parsed.raw, absent=(2,))
    before = target.state()
    with pytest.raises(AccountingError, match=r"mixed\[0\]@\[0,6\) has 6 offsets, but .* = 5"):
        load(target.sink, parsed, "live", LoadContext(MIXED, "r"))
    assert (target.state(), target.batches()) == (before, [])


# --- crashes

STEPS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]
SEQUENCE: list[tuple[RawSlice, str]] = [
    (raw_slice(Part([event("a"), account("k", 1), Msg(b"bad")]), Part([account("k", 9), gone("m")], partition=1)), "live"),
    (raw_slice(Part([event("b", amount=13), gone("k"), account("m", 4), event("c")], start=3, end=9)), "live"),
    (raw_slice(Part([event("A"), account("k", 1), event("x")]), Part([account("k", 9), gone("m")], partition=1)), "backfill"),
]  # fmt: skip


def dying_at(step: str) -> Callable[[str], None]:
    def at_step(now: str) -> None:
        if now == step:
            raise Crash(step)

    return at_step


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_before_any_step_then_a_repeat_is_as_one_clean_pass(step: str) -> None:
    clean, crashed = Target(MIXED), Target(MIXED)
    for target in (clean, crashed):
        target.pin({P0: 0, P1: 0})
    for raw, kind in SEQUENCE:
        clean.load(raw, kind)  # type: ignore[arg-type]
        before = crashed.state(), crashed.batches()
        with pytest.raises(Crash):
            crashed.load(raw, kind, at_step=dying_at(step))  # type: ignore[arg-type]
        if step != "11":
            assert (crashed.state(), crashed.batches()) == before
        crashed.load(raw, kind)  # type: ignore[arg-type]
    assert crashed.state() == clean.state()
    extra = 2 if step == "11" else 0  # a backfill that was committed is loaded again, and stands twice in the ledger
    assert len(crashed.batches()) == len(clean.batches()) + extra
    assert crashed.batches()[:3] == clean.batches()[:3]


# --- tables


def test_tables_are_made_once_and_preparing_again_changes_nothing(target: Target) -> None:
    target.load(events("a"))
    prepare_tables(target.sink, MIXED)
    assert names(target) == ["a"]


def drop_column(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE t_everything DROP COLUMN note")
        connection.exec_driver_sql("ALTER TABLE t_everything DROP COLUMN price")


def test_a_missing_column_is_an_error_that_names_the_statements_to_run() -> None:
    target = Target(EVERYTHING)
    drop_column(target)
    with pytest.raises(SchemaMismatch) as caught:
        prepare_tables(target.sink, EVERYTHING)
    assert "table t_everything lacks 2 column(s) of model Everything" in str(caught.value)
    statements = [line.strip(" ;") for line in str(caught.value).splitlines() if "ALTER TABLE" in line]
    assert statements == [
        "ALTER TABLE t_everything ADD COLUMN note TEXT",
        "ALTER TABLE t_everything ADD COLUMN price NUMERIC(12, 4)",
    ]
    with target.sink.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    prepare_tables(target.sink, EVERYTHING)


def test_a_stream_that_evolves_adds_the_missing_columns_and_keeps_the_rows() -> None:
    target = Target(EVERYTHING)
    topic = TopicPartition("everything", 0)
    target.pin({topic: 0})
    target.load(raw_slice(Part([Msg({"type": "e", "id": "x", "note": "n"})], topic="everything")))
    drop_column(target)
    prepare_tables(target.sink, dataclasses.replace(EVERYTHING, evolve=True))
    target.load(raw_slice(Part([Msg({"type": "e", "id": "y", "note": "n"})], topic="everything", start=1)))
    assert target.rows(Everything, "id", "note") == [("x", None), ("y", "n")]


def test_a_table_altered_under_the_load_is_a_schema_mismatch_and_nothing_is_committed(target: Target) -> None:
    target.load(events("a"))
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE t_event RENAME TO t_elsewhere")
    with pytest.raises(SchemaMismatch, match=r"loading mixed\[0\]@\[1,2\) of stream mixed"):
        target.load(events("b", start=1))
    assert target.offsets()["mixed[0]"] == 1


def test_a_database_another_process_writes_to_is_retryable(tmp_path: Any) -> None:
    url = sa.make_url(f"sqlite:///{tmp_path}/one.db")
    target = Target(MIXED, SQLiteSink(url))
    target.pin({P0: 0})
    impatient = SQLiteSink(url)
    sa.event.listen(impatient.engine, "connect", lambda c, _record: c.execute("PRAGMA busy_timeout = 1"))
    with target.sink.engine.begin(), pytest.raises(DatabaseUnavailable, match="database is locked"):
        load(impatient, piped(MIXED, events("a")), "live", LoadContext(MIXED, "r"))
    load(impatient, piped(MIXED, events("a")), "live", LoadContext(MIXED, "r"))
    assert names(target) == ["a"]
    impatient.close()
    target.sink.close()


def test_an_error_of_the_database_that_concerns_no_row_ends_the_load(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TRIGGER odd BEFORE INSERT ON t_event BEGIN SELECT no_such_function(); END")
    with pytest.raises(PermanentError):
        target.load(events("a"))
    assert target.offsets()["mixed[0]"] == 0


def test_dead_letters_keep_headers_as_json_and_errors_as_printable_text(target: Target) -> None:
    target.load(raw_slice(Part([Msg(b"x", headers=[("a", b"1")]), Msg(b"y")])))
    found = target.all("SELECT message_headers FROM kafka_ingest_dead_letters ORDER BY kafka_offset")
    assert [None if h is None else json.loads(h) for (h,) in found] == [[["a", "MQ=="]], None]
