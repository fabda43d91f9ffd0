# A row of a table is one line.
# ruff: noqa: E501
"""One slice into a real database: rows, dead letters and ledger together, once, whatever happens on the way."""

from __future__ import annotations

import json

import pytest

from kafka_ingest.errors import OffsetGap
from kafka_ingest.ledger.dead_letters import decode_headers
from kafka_ingest.slices import TopicPartition
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import EVERYTHING, Account, Everything
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.loads import P0, P1, account, event, events, gone, names


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
        ("é😀", 'a"b\\N\nNULL', -1, 2, 2**62, 0.1, "12.34", 0, '{"k": ["é"]}', "NULL", 7, "2026-01-01 00:00:00.500000", None, "2026-01-01 07:00:00.000000"),
        ("", None, None, None, None, None, None, None, None, None, 7, None, None, "2026-01-01 07:00:01.000000"),
    ]  # fmt: skip


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


def test_only_a_load_that_moves_a_position_is_the_one_that_moved_it_last(target: Target) -> None:
    target.load(raw_slice(Part([event("a")]), Part([event("b")], partition=1)), run_id="first")
    raw = raw_slice(Part([event("a")]), Part([event("b"), event("c")], partition=1))
    target.load(raw, "backfill", run_id="second")
    query = "SELECT kafka_partition, next_offset, run_id, revision FROM kafka_ingest_offsets ORDER BY 1"
    assert target.all(query) == [(0, 1, "first", 2), (1, 2, "second", 2)]


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


def test_dead_letters_keep_headers_as_json_and_errors_as_printable_text(target: Target) -> None:
    target.load(raw_slice(Part([Msg(b"x", headers=[("a", b"1")]), Msg(b"y")])))
    found = target.all("SELECT message_headers FROM kafka_ingest_dead_letters ORDER BY kafka_offset")
    assert [None if h is None else json.loads(h) for (h,) in found] == [[["a", "MQ=="]], None]
