"""Rows the database refuses, too many of them, and messages that are nowhere."""

from __future__ import annotations

import dataclasses

import pytest

from kafka_ingest.errors import AccountingError, DeadLetterLimit
from kafka_ingest.sinks.load import LoadContext, load
from kafka_ingest.slices import OffsetRange, RawSlice
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, Part, piped, raw_slice
from kafka_ingest.testing.models import MIXED, Event
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.loads import account, balances, event, gone, names


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
    with pytest.raises(DeadLetterLimit, match="1 of 100") as caught:
        target.load(
            raw_slice(Part([m for _, m in Part([event(f"e{n}") for n in range(99)]).numbered] + [Msg(b"x")], start=99)),
            stream=strict,
        )
    assert caught.value.values() == {
        "stream": "mixed",
        "dead_letters": 1,
        "messages": 100,
        "limit": 0.0,
        "ranges": (OffsetRange("mixed", 0, 99, 199),),
    }


@pytest.mark.parametrize("lose", ["row", "dead letter", "absent"])
def test_a_message_that_is_nowhere_fails_the_batch_and_nothing_is_committed(target: Target, lose: str) -> None:
    parsed = piped(MIXED, raw_slice(Part([event("a"), event("b"), Msg(b"bad")], end=6)))
    if lose == "row":
        parsed.rows[TargetTable.of(Event)] = parsed.rows[TargetTable.of(Event)][:1]
    elif lose == "dead letter":
        parsed.dead_letters.clear()
    else:
        parsed.raw = dataclasses.replace(parsed.raw, absent=(2,))
    before = target.state()
    with pytest.raises(AccountingError, match=r"mixed\[0\]@\[0,6\) has 6 offsets, but .* = 5") as caught:
        load(target.sink, parsed, "live", LoadContext(MIXED, "r"))
    assert caught.value.stream == "mixed"
    assert caught.value.range == OffsetRange("mixed", 0, 0, 6)
    counts = dict(caught.value.counts or {})
    assert set(counts) == {"rows", "deletes", "dead_letters", "ignored", "absent"}
    assert sum(counts.values()) == 5
    assert (target.state(), target.batches()) == (before, [])
