"""The contract of a sink as tests: what every promise needs of a database, whichever it is.

class TestOracle(SinkContract):
    @pytest.fixture
    def database_url(self, oracle: Server) -> str:
        return oracle.make_database()

Each test gets an empty database. The tests write a slice as a run does, by the load's own transaction, and look at the tables,
the ledger and the dead letters afterwards. They say nothing about speed.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any, ClassVar

import pandas as pd
import pytest
import sqlalchemy as sa

from kafka_ingest.engine.fingerprint import database_of
from kafka_ingest.engine.replay import plan_replay, replay
from kafka_ingest.errors import PermanentError, SchemaMismatch
from kafka_ingest.findings import Finding
from kafka_ingest.ledger import dead_letters
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter, conditions
from kafka_ingest.ledger.positions import ledger_positions, pin_positions
from kafka_ingest.sinks.base import Needs, Sink
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.step import StepContext
from kafka_ingest.testing.contract_stream import (
    P0,
    P1,
    STREAM,
    VERSIONS,
    ContractEvent,
    account,
    event,
    part,
    tombstone,
    version,
)
from kafka_ingest.testing.contract_values import StoredValues
from kafka_ingest.testing.messages import MORNING_MS, Msg, raw_slice
from kafka_ingest.testing.target import NOW, SECONDS, Crash, Held, Target

_ROUNDS = 12


def _refuse_all(rows: pd.DataFrame, context: StepContext) -> pd.DataFrame:
    context.reject(pd.Series("refused on purpose", index=rows.index))
    return rows.iloc[:0]


class SinkContract(StoredValues):
    """Subclass it in a test module, as `Test…`, with a fixture `database_url`."""

    locks_rows: ClassVar[bool] = True
    """Whether two transactions can be under way at once. False for a database with one lock for all writers."""

    @pytest.fixture
    def database_url(self) -> str:
        """The URL of a database that is empty and this test's own."""
        raise NotImplementedError("a test of the contract has a fixture `database_url`")

    @pytest.fixture
    def sink(self, database_url: str) -> Iterator[Sink]:
        """The sink under test, as a run opens it."""
        with closing(open_sink(sa.make_url(database_url))) as found:
            yield found

    @pytest.fixture
    def target(self, sink: Sink) -> Target:
        """The tables of `STREAM`, with both partitions at their beginning."""
        found = Target(STREAM, sink)
        found.pin({P0: 0, P1: 0})
        return found

    @pytest.fixture
    def other(self, target: Target, database_url: str) -> Iterator[Target]:
        """The same tables over a sink of its own, as another process has one."""
        with closing(open_sink(sa.make_url(database_url))) as found:
            yield Target(STREAM, found)

    # One transaction

    def test_a_slice_is_loaded_once_however_often_it_comes(self, target: Target) -> None:
        raw = raw_slice(part(0, event("a"), account("k", 1), Msg(b"bad"), end=5), part(1, event("b")))
        first = target.load(raw)
        assert (first.total("rows"), first.total("dead_letters"), first.total("absent")) == (3, 1, 2)
        state, batches = target.state(), target.batches()
        again = target.load(raw)
        assert (again.skipped, target.state(), target.batches()) == (6, state, batches)
        assert target.offsets() == {"contract[0]": 5, "contract[1]": 1}

    @pytest.mark.parametrize("step", [step for step in LoadStep if step is not LoadStep.AHEAD])
    def test_a_crash_before_a_step_leaves_all_or_nothing_and_a_repeat_completes_it(
        self, target: Target, step: LoadStep
    ) -> None:
        target.load(raw_slice(part(0, event("a"), account("k", 1), account("m", 2))))
        before = target.state()
        raw = raw_slice(part(0, event("b", amount=13), tombstone("k"), account("m", 4), event("c"), start=3))

        def die(now: str) -> None:
            if now == step:
                raise Crash(step)

        with pytest.raises(Crash):
            target.load(raw, at_step=die)
        if step is not LoadStep.DONE:
            assert target.state() == before
        target.load(raw)
        assert [row[0] for row in target.rows(ContractEvent, "name")] == ["a", "c"]
        assert self._balances(target) == {"m": 4}
        assert [letter[:2] for letter in target.dead_letters()] == [("contract[0]@3", "database")]
        assert target.offsets()["contract[0]"] == 7

    def test_what_the_database_refuses_is_a_dead_letter_and_the_rest_is_loaded(self, target: Target) -> None:
        messages = [event(f"n{i}", amount=13 if i in (7, 64) else 0, code=f"c{i % 90}") for i in range(100)]
        result = target.load(raw_slice(part(0, *messages, account("k", 13), account("m", 1))))
        # A check, the second row of a unique code (but of the code whose first row is refused), and a check of an upsert.
        expected = [7, 64, *(n for n in range(90, 100) if n != 97), 100]
        assert [letter[:2] for letter in target.dead_letters()] == [(f"contract[0]@{n}", "database") for n in expected]
        assert result.total("rows") == 102 - len(expected)
        assert self._balances(target) == {"m": 1}

    def test_a_backfill_replaces_its_range(self, target: Target) -> None:
        target.load(raw_slice(part(0, event("a"), event("b"), event("c"), event("d"))))
        target.load(raw_slice(part(0, event("B"), event("bad", amount=13), start=1)), "backfill")
        assert [row[0] for row in target.rows(ContractEvent, "name")] == ["a", "B", "d"]
        assert [letter[0] for letter in target.dead_letters()] == ["contract[0]@2"]
        target.load(raw_slice(part(0, event("b"), event("c"), start=1)), "backfill")
        assert [row[0] for row in target.rows(ContractEvent, "name")] == ["a", "b", "c", "d"]
        assert target.dead_letters() == []
        assert target.offsets()["contract[0]"] == 4

    def test_rows_written_ahead_are_as_those_written_in_order(self, target: Target, other: Target) -> None:
        target.load(raw_slice(part(0, event("a"), account("k", 1))))
        raw = raw_slice(part(0, event("b"), account("k", 2), tombstone("x"), event("bad", amount=13), start=2))
        target.load_ahead(raw)
        assert [row[0] for row in target.rows(ContractEvent, "name")] == ["a", "b"]
        assert self._balances(target) == {"k": 2}
        assert [letter[:2] for letter in target.dead_letters()] == [("contract[0]@5", "database")]

    # One row per key

    def test_the_last_message_of_a_key_stays_whichever_slice_is_loaded_first(self, target: Target, sink: Sink) -> None:
        slices = [
            raw_slice(part(0, account("k", 1), account("m", 1), tombstone("x"))),
            raw_slice(part(0, tombstone("k"), account("m", 2), account("x", 2), start=3)),
            raw_slice(
                part(1, account("k", 3, timestamp_ms=MORNING_MS + 1_500), tombstone("m", timestamp_ms=MORNING_MS))
            ),
        ]
        for raw in slices:
            target.load(raw)
        expected = self._balances(target)
        assert expected == {"m": 2, "x": 2}
        for order in itertools.permutations(slices):
            for raw in order:
                target.load(raw, "backfill")
            assert self._balances(target) == expected

    def test_keys_are_told_apart_byte_for_byte(self, target: Target) -> None:
        keys = ["a", "A", "á", "a\u0301", "a ", " a", "ß", "ss", "中", "😀", "%", "_", "\\", "'"]
        target.load(raw_slice(part(0, *(account(key, 100 + n) for n, key in enumerate(keys)))))
        assert self._balances(target) == {key: 100 + n for n, key in enumerate(keys)}
        target.load(raw_slice(part(0, *(tombstone(key) for key in keys[::2]), start=len(keys))))
        assert set(self._balances(target)) == set(keys[1::2])

    def test_an_older_message_does_not_bring_a_deleted_row_back(self, target: Target) -> None:
        old = raw_slice(part(0, account("k", 1)))
        target.load(old)
        target.load(raw_slice(part(0, tombstone("k"), start=1)))
        target.load(old, "backfill")
        assert self._balances(target) == {}
        target.load(raw_slice(part(0, account("k", 2), start=2)))
        assert self._balances(target) == {"k": 2}

    def test_deletes_have_the_models_own_order(self, sink: Sink) -> None:
        target = Target(VERSIONS, sink)
        target.pin({P0: 0, P1: 0})
        slices = [
            raw_slice(part(0, version("a", 1), version("b", 4), version("c", 2))),
            raw_slice(part(0, version("a", 3, gone=True), version("b", 3, gone=True), start=3)),
            raw_slice(part(1, version("a", 2), version("c", 2, gone=True))),
        ]
        for order in itertools.permutations(slices):
            for raw in order:
                target.load(raw, "backfill")
            assert target.all("SELECT id, version FROM contract_version ORDER BY id") == [("b", 4), ("c", 2)]

    def test_writers_of_one_key_from_two_partitions_come_to_one_outcome(self, target: Target, other: Target) -> None:
        random_ = random.Random(20261126)
        with ThreadPoolExecutor(2) as pool:
            for number in range(_ROUNDS):
                stamps = random_.sample(range(1_000), 2)
                deletes = random_.choice([(False, False), (True, False), (False, True)])
                base = MORNING_MS + number * 1_000
                loads = []
                for partition, (writer, stamp, is_delete) in enumerate(
                    zip((target, other), stamps, deletes, strict=True)
                ):
                    message = (
                        tombstone("k", timestamp_ms=base + stamp)
                        if is_delete
                        else account("k", stamp, timestamp_ms=base + stamp)
                    )
                    raw = raw_slice(part(partition, message, start=number))
                    loads.append(pool.submit(writer.load, raw))
                for load in loads:
                    load.result(SECONDS)
                last = 0 if stamps[0] > stamps[1] else 1
                expected = {} if deletes[last] else {"k": stamps[last]}
                assert self._balances(target) == expected, (number, stamps, deletes)

    # Others at the same time

    def test_a_second_load_of_a_partition_waits_for_the_first_and_skips_what_it_has(
        self, target: Target, other: Target
    ) -> None:
        raw = raw_slice(part(0, event("a"), event("b")))
        first = Held(target, raw, LoadStep.COMMIT)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(other.load, raw)
            assert not second.done()
            assert first.let_go().total("rows") == 2
            assert second.result(SECONDS).skipped == 2
        assert len(target.rows(ContractEvent, "name")) == 2

    def test_loads_of_two_partitions_do_not_wait_for_each_other(self, target: Target, other: Target) -> None:
        if not self.locks_rows:
            pytest.skip("this database has one lock for all writers")
        first = Held(target, raw_slice(part(0, event("a"), account("k", 1))), LoadStep.COMMIT)
        assert other.load(raw_slice(part(1, event("b"), account("m", 1)))).total("rows") == 2
        assert first.let_go().total("rows") == 2

    def test_a_database_is_known_again_before_and_after_a_first_run(self, sink: Sink, database_url: str) -> None:
        with closing(open_sink(sa.make_url(database_url))) as other:
            server = database_of(sink)
            assert server.startswith("server:")
            assert database_of(other) == server
            assert self._tables(sink) == set()
            prepare_tables(other, STREAM)
            ledger = database_of(sink)
            assert ledger.startswith("ledger:")
            assert database_of(other) == ledger
            assert database_of(sink, is_server=True) == server, "as a sensor saw it before the first run"

    def test_two_first_runs_make_the_tables_once(self, database_url: str) -> None:
        with (
            closing(open_sink(sa.make_url(database_url))) as one,
            closing(open_sink(sa.make_url(database_url))) as two,
            ThreadPoolExecutor(2) as pool,
        ):
            for made in [pool.submit(prepare_tables, each, STREAM) for each in (one, two)]:
                made.result(SECONDS)
            assert Target(STREAM, one).offsets() == {}
            assert len(Target(STREAM, two).all("SELECT ledger_id FROM kafka_ingest_ledger")) == 1

    def test_a_position_pinned_by_two_runs_is_that_of_the_first(self, target: Target) -> None:
        stands, missing = TopicPartition("contract", 0), TopicPartition("contract", 7)
        with target.sink.engine.begin() as connection:
            known = ledger_positions(connection, STREAM.name)
            assert stands in known
        with target.sink.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM kafka_ingest_offsets"))
        target.pin({stands: 3})
        # The other run had looked before, when neither partition was there.
        with target.sink.engine.begin() as connection, pytest.MonkeyPatch.context() as patch:
            patch.setattr("kafka_ingest.ledger.positions.ledger_positions", lambda *_all, **_more: {})
            pin_positions(connection, STREAM.name, {stands: 9, missing: 4}, {}, run_id="other", now=NOW)
        assert target.offsets() == {"contract[0]": 3, "contract[7]": 4}

    # Tables and people

    def test_a_missing_column_is_named_with_its_statement_before_anything_is_loaded(self, sink: Sink) -> None:
        with sink.engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE contract_event (name VARCHAR(20) NOT NULL, amount INTEGER)"))
        with pytest.raises(SchemaMismatch, match=r"contract_event(.|\n)*code(.|\n)*ALTER TABLE"):
            prepare_tables(sink, STREAM)

    def test_a_table_that_is_gone_is_no_fault_of_a_row(self, target: Target) -> None:
        with target.sink.engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE contract_event"))
        with pytest.raises(PermanentError) as caught:
            target.load(raw_slice(part(0, event("a"))))
        assert isinstance(caught.value, SchemaMismatch)
        assert target.dead_letters() == []

    def test_dead_letters_are_kept_with_their_bytes_found_and_replayed_once(self, target: Target) -> None:
        body = json.dumps({"type": "event", "name": "nul \x00 and \ud800"}).encode()
        headers: list[tuple[str, bytes | None]] = [("h\x00é", b"\x00\xff"), ("h", None)]
        broken = replace(STREAM, steps=(_refuse_all,))
        raw = raw_slice(part(0, Msg(b"\x00\xff", b"\x00k", headers), event("a"), account("k", 1), Msg(body)))
        target.load(raw, stream=broken)
        kept = self._letters(target, DeadLetterFilter(status="all"))
        assert [(one.key, one.value) for one in kept] == list(zip(raw.keys, raw.values, strict=True))
        assert kept[0].headers == headers
        assert [one.kafka_offset for one in self._letters(target, DeadLetterFilter(error="ON PURPOSE"))] == [1, 2]
        found = self._replayed(target, "one")
        assert {position: outcome for position, outcome in found.items() if outcome == "row"} == {
            "contract[0]@1": "row",
            "contract[0]@2": "row",
        }
        assert set(self._replayed(target, "two").values()) == {"dead_letter"}
        assert self._balances(target) == {"k": 1}

    def test_rows_are_counted_for_a_person(self, target: Target) -> None:
        target.load(raw_slice(part(0, event("a"), event("b"))))
        with target.sink.engine.connect() as connection:
            assert target.sink.count_rows(connection, ContractEvent.__table__, seconds=5.0) == (2, True)

    def test_the_doctor_finds_nothing_wrong_with_a_fit_database_and_leaves_nothing_behind(self, target: Target) -> None:
        target.load(raw_slice(part(0, event("a"))))
        needs = Needs(makes_tables=True, adds_columns=True, tables=[ContractEvent.__table__])
        before = target.state(), self._tables(target.sink)
        with target.sink.engine.connect() as connection:
            found: list[Finding] = list(target.sink.examine(connection, needs))
        assert [finding for finding in found if finding.verdict == "fail"] == []
        assert (target.state(), self._tables(target.sink)) == before

    # Ways to look

    @staticmethod
    def _balances(target: Target) -> dict[str, Any]:
        return dict(target.all("SELECT id, balance FROM contract_account"))

    @staticmethod
    def _tables(sink: Sink) -> set[str]:
        return set(sa.inspect(sink.engine).get_table_names())

    @staticmethod
    def _letters(target: Target, wanted: DeadLetterFilter) -> list[dead_letters.StoredDeadLetter]:
        with target.sink.engine.connect() as connection:
            return dead_letters.read_dead_letters(connection, conditions(wanted), 1_000)

    @staticmethod
    def _replayed(target: Target, run_id: str) -> dict[str, str]:
        plan = plan_replay(target.sink, STREAM, DeadLetterFilter(), run_id=run_id)
        results = replay(target.sink, plan, run_id=run_id, now=lambda: NOW + dt.timedelta(hours=1))
        return {letter.position: letter.outcome for result in results for letter in result.letters}
