"""Running sums over the ledger are the sums a whole look gives, whatever is loaded, merged or replaced in between."""

from __future__ import annotations

import datetime as dt
import random

import pytest
import sqlalchemy as sa

from kafka_ingest.checks.ledger_totals import KEPT_SECONDS, LedgerTotals, Totals
from kafka_ingest.engine.compaction import compact_ledger
from kafka_ingest.ledger.tables import BATCHES, LEDGER, OFFSETS
from kafka_ingest.slices import TopicPartition
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import NOW, Target

P0, P1 = TopicPartition("mixed", 0), TopicPartition("mixed", 1)
GOOD = {"type": "event", "name": "n"}
ACCOUNT = {"type": "account", "id": "a", "balance": 1}
LATER = NOW + dt.timedelta(days=15)


class Clock:
    """Monotonic seconds that a test moves on."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def target() -> Target:
    made = Target(MIXED)
    made.pin({P0: 0, P1: 0})
    return made


def part(start: int, *bodies: object, partition: int = 0) -> Part:
    messages = [Msg(body, timestamp_ms=MORNING_MS + start + n) for n, body in enumerate(bodies)]
    return Part(messages, start=start, partition=partition)


def look(totals: LedgerTotals, target: Target) -> Totals:
    found = totals.look(target.sink)
    assert found is not None
    return found


def anew(target: Target) -> Totals:
    return look(LedgerTotals("mixed"), target)


def nonzero(found: Totals) -> dict[tuple[str, str], int]:
    return {labels: number for labels, number in found.offsets.items() if number}


def test_every_offset_is_counted_by_kind_and_by_what_became_of_it(target: Target) -> None:
    target.load(raw_slice(part(0, GOOD, GOOD, ACCOUNT, b"{", None), part(0, GOOD, partition=1)))
    target.load(raw_slice(part(1, GOOD)), "backfill")
    found = anew(target)
    assert nonzero(found) == {
        ("live", "row"): 4,
        ("live", "dead_letter"): 2,
        ("backfill", "row"): 1,
    }
    assert found.rows == {("t_event", "live"): 3, ("t_account", "live"): 1, ("t_event", "backfill"): 1}
    assert found.last_load == {"live": NOW, "backfill": NOW}
    assert found.loads == 3  # two partitions, and one of them again


def test_a_ledger_that_no_run_has_made_or_brought_up_to_date_has_no_sums(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.execute(sa.delete(LEDGER))
    assert LedgerTotals("mixed").look(target.sink) is None
    with target.sink.engine.begin() as connection:
        LEDGER.drop(connection)
    assert LedgerTotals("mixed").look(target.sink) is None


def test_an_entry_that_appears_below_one_that_was_seen_is_counted(target: Target) -> None:
    totals = LedgerTotals("mixed")
    target.load(raw_slice(part(0, GOOD)))
    look(totals, target)
    target.load(raw_slice(part(0, GOOD, GOOD, partition=1)))
    with target.sink.engine.begin() as connection:
        last = connection.execute(sa.select(sa.func.max(BATCHES.c.id))).scalar_one()
        connection.execute(sa.update(BATCHES).where(BATCHES.c.id == last).values(id=-1))
    assert nonzero(look(totals, target)) == {("live", "row"): 3}


def test_only_what_was_loaded_since_is_read(target: Target) -> None:
    totals = LedgerTotals("mixed")
    target.load(raw_slice(part(0, GOOD)))
    look(totals, target)
    with target.sink.engine.begin() as connection:  # nobody does: it shows that the entry is not read again
        connection.execute(sa.update(BATCHES).values(row_count=1_000))
    target.load(raw_slice(part(1, GOOD)))
    assert nonzero(look(totals, target)) == {("live", "row"): 2}
    assert nonzero(look(totals, target)) == {("live", "row"): 2}


def test_compaction_between_two_looks_changes_no_sum(target: Target) -> None:
    totals = LedgerTotals("mixed")
    for number in range(6):
        target.load(raw_slice(part(number, GOOD)))
    before = nonzero(look(totals, target))
    assert compact_ledger(target.sink, MIXED, before=LATER, seconds=60).entries_removed == 5
    assert nonzero(look(totals, target)) == before == {("live", "row"): 6}
    target.load(raw_slice(part(6, GOOD, b"{")))
    assert nonzero(look(totals, target)) == nonzero(anew(target)) == {("live", "row"): 7, ("live", "dead_letter"): 1}


def test_sums_nobody_looked_after_for_long_are_taken_anew_as_entries_may_have_been_merged(target: Target) -> None:
    clock = Clock()
    totals = LedgerTotals("mixed", clock=clock)
    target.load(raw_slice(part(0, GOOD)))
    look(totals, target)
    target.load(raw_slice(part(1, GOOD)))  # never looked at by itself
    compact_ledger(target.sink, MIXED, before=LATER, seconds=60)
    clock.seconds += KEPT_SECONDS + 1
    found = look(totals, target)
    assert nonzero(found) == {("live", "row"): 2}
    assert found.rows == {("t_event", "live"): 2}


def test_another_ledger_in_its_place_is_summed_up_anew(target: Target) -> None:
    totals = LedgerTotals("mixed")
    for number in range(3):
        target.load(raw_slice(part(number, GOOD)))
    look(totals, target)
    with target.sink.engine.begin() as connection:
        connection.execute(sa.delete(BATCHES))
        connection.execute(sa.delete(OFFSETS))
    target.pin({P0: 0})
    target.load(raw_slice(part(0, GOOD)))
    found = look(totals, target)
    assert nonzero(found) == {("live", "row"): 1}
    assert found.loads == 1


def test_a_recreated_topic_loses_nothing_of_what_the_old_one_counted(target: Target) -> None:
    totals = LedgerTotals("mixed")
    for number in range(3):
        target.load(raw_slice(part(2 * number, GOOD, GOOD)))
    look(totals, target)
    with target.sink.engine.begin() as connection:
        for table in (OFFSETS, BATCHES):
            connection.execute(sa.update(table).values(topic="mixed@old"))
    target.pin({P0: 0, P1: 0})
    for number in range(5):  # more than were seen: the revision alone does not tell
        target.load(raw_slice(part(number, GOOD)))
    found = look(totals, target)
    assert nonzero(found) == nonzero(anew(target)) == {("live", "row"): 11}
    assert found.loads == 8


def test_a_failed_look_leaves_the_sums_as_they_were(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    totals = LedgerTotals("mixed")
    target.load(raw_slice(part(0, GOOD)))
    look(totals, target)
    target.load(raw_slice(part(1, GOOD)))
    with monkeypatch.context() as broken:
        broken.setattr("kafka_ingest.checks.ledger_totals.json.loads", lambda _text: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            totals.look(target.sink)
    assert nonzero(look(totals, target)) == {("live", "row"): 2}


def test_entries_of_the_ledgers_first_version_are_counted_once_and_say_no_table(target: Target) -> None:
    totals = LedgerTotals("mixed")
    target.load(raw_slice(part(0, GOOD)))
    with target.sink.engine.begin() as connection:
        connection.execute(sa.update(BATCHES).values(revision=None, rows_by_table=None))
        connection.execute(sa.update(OFFSETS).values(revision=0))
    look(totals, target)
    target.load(raw_slice(part(1, GOOD)))
    found = look(totals, target)
    assert nonzero(found) == nonzero(anew(target)) == {("live", "row"): 2}
    assert found.rows == {("t_event", "live"): 1}


@pytest.mark.parametrize("size", [1, 2, 50_000])
@pytest.mark.parametrize("seed", range(5))
def test_running_sums_are_those_of_a_whole_look(
    target: Target, seed: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_ingest.checks.ledger_totals.REVISIONS_A_STATEMENT", size)
    chance, totals, ends = random.Random(seed), LedgerTotals("mixed"), [0, 0]
    for _ in range(40):
        act = chance.randrange(5)
        partition = chance.randrange(2)
        if act <= 1 or not ends[partition]:
            bodies = chance.choices([GOOD, ACCOUNT, b"{"], k=chance.randint(1, 4))
            target.load(raw_slice(part(ends[partition], *bodies, partition=partition)))
            ends[partition] += len(bodies)
        elif act == 2:
            start = chance.randrange(ends[partition])
            target.load(raw_slice(part(start, GOOD, partition=partition)), "backfill")
        elif act == 3:
            look(totals, target)
        else:
            look(totals, target)  # before entries can be merged, it has looked: it does within the hour
            compact_ledger(target.sink, MIXED, before=LATER, seconds=60)
    found = look(totals, target)
    assert found == anew(target)
    in_ledger = target.all("SELECT SUM(end_offset - start_offset), SUM(row_count) FROM kafka_ingest_batches")
    assert [(found.offsets.total(), found.rows.total())] == in_ledger
