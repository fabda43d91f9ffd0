"""Any sequence of loads, crashes, repeats and backfills leaves the tables and the ledger as one clean pass would."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.slices import BatchKind, TopicPartition
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Crash, Target

pytestmark = pytest.mark.slow

PARTITIONS = [TopicPartition("mixed", 0), TopicPartition("mixed2", 3)]
LENGTH = 14
IDS = ["k", "K", "m"]
STEPS = list(LoadStep)


def event(name: int, amount: int) -> Msg:
    return Msg({"type": "event", "name": f"e{name}", "amount": amount})


def account(key: str, balance: int) -> Msg:
    return Msg({"type": "account", "id": key, "balance": balance})


# 13 is refused by the database.
MESSAGES = st.one_of(
    st.builds(event, st.integers(0, 9), st.sampled_from([1, 2, 13])),
    st.builds(account, st.sampled_from(IDS), st.sampled_from([1, 2, 3, 13])),
    st.builds(lambda key: Msg(None, key=key.encode()), st.sampled_from(IDS)),
    st.sampled_from([Msg(b"broken"), Msg({"type": "unknown"}), Msg(None), Msg({"type": "event", "name": 1.5})]),
    st.none(),  # an offset without a message
)


class Loads(RuleBasedStateMachine):
    """Two partitions of fourteen offsets, loaded in any order that the rules of the ledger allow."""

    @initialize(logs=st.lists(st.lists(MESSAGES, min_size=LENGTH, max_size=LENGTH), min_size=2, max_size=2))
    def begin(self, logs: list[list[Msg | None]]) -> None:
        # Clocks go up within a partition: keys seen in two partitions are ordered by time.
        self.logs = {
            tp: {
                offset: Msg(m.value, m.key, m.headers, offset, MORNING_MS + 2_000 * offset + 700 * number)
                for offset, m in enumerate(log)
                if m is not None
            }
            for number, (tp, log) in enumerate(zip(PARTITIONS, logs, strict=True))
        }
        self.target = self.fresh()
        self.position = dict.fromkeys(PARTITIONS, 0)

    def fresh(self) -> Target:
        target = Target(MIXED)
        target.pin(dict.fromkeys(PARTITIONS, 0))
        return target

    def slice_of(self, ranges: dict[TopicPartition, tuple[int, int]]) -> Any:
        return raw_slice(
            *(
                Part(
                    [self.logs[tp][o] for o in range(start, end) if o in self.logs[tp]],
                    tp.topic,
                    tp.partition,
                    start,
                    end,
                )
                for tp, (start, end) in ranges.items()
            )
        )

    def load(
        self, ranges: dict[TopicPartition, tuple[int, int]], kind: BatchKind, crash: str | None, is_ahead: bool
    ) -> None:
        raw = self.slice_of(ranges)
        load = self.target.load_ahead if is_ahead else self.target.load
        if crash is not None:
            with suppress(Crash):
                load(raw, kind, at_step=self.dying_at(crash))
        load(raw, kind)

    @staticmethod
    def dying_at(step: str) -> Callable[[str], None]:
        def at_step(now: str) -> None:
            if now == step:
                raise Crash(step)

        return at_step

    @rule(
        back=st.integers(0, 4),
        sizes=st.tuples(st.integers(0, 6), st.integers(0, 6)),
        which=st.sampled_from([PARTITIONS, PARTITIONS[:1], PARTITIONS[1:]]),
        crash=st.none() | st.sampled_from(STEPS),
        is_ahead=st.booleans(),
    )
    def live(
        self, back: int, sizes: tuple[int, int], which: list[TopicPartition], crash: str | None, is_ahead: bool
    ) -> None:
        """The next messages, maybe with some that were loaded already."""
        ranges = {}
        for tp, size in zip(which, sizes, strict=False):
            start = max(0, self.position[tp] - back)
            ranges[tp] = (start, min(LENGTH, start + size))
        self.load(ranges, "live", crash, is_ahead)
        for tp, (_, end) in ranges.items():
            self.position[tp] = max(self.position[tp], end)

    @rule(
        tp=st.sampled_from(PARTITIONS),
        start=st.integers(0, LENGTH),
        size=st.integers(1, LENGTH),
        crash=st.none() | st.sampled_from(STEPS),
        is_ahead=st.booleans(),
    )
    def backfill(self, tp: TopicPartition, start: int, size: int, crash: str | None, is_ahead: bool) -> None:
        """Any range again, also across the next offset, never above it."""
        start = min(start, self.position[tp])
        end = min(LENGTH, start + size)
        if start == end:
            return
        self.load({tp: (start, end)}, "backfill", crash, is_ahead)
        self.position[tp] = max(self.position[tp], end)

    @precondition(lambda self: hasattr(self, "target"))
    @invariant()
    def ledger_stands_where_it_should(self) -> None:
        expected = {f"{tp.topic}[{tp.partition}]": offset for tp, offset in self.position.items()}
        assert self.target.offsets() == expected

    @precondition(lambda self: hasattr(self, "target"))
    @invariant()
    def every_offset_is_accounted_for_and_live_ranges_tile(self) -> None:
        reached = dict.fromkeys(PARTITIONS, 0)
        query = (
            "SELECT topic, kafka_partition, start_offset, end_offset, kind, "
            "row_count + delete_count + dead_letter_count + ignored_count + absent_count FROM kafka_ingest_batches ORDER BY id"
        )
        for topic, partition, start, end, kind, accounted in self.target.all(query):
            assert accounted == end - start > 0
            if kind == "live":
                assert reached[TopicPartition(topic, partition)] == start
                reached[TopicPartition(topic, partition)] = end
        assert reached == self.position

    def teardown(self) -> None:
        """Compared with a table that got every message on its own, in order of time, once."""
        if not hasattr(self, "target"):
            return
        clean = self.fresh()
        for offset in range(LENGTH):
            for tp in PARTITIONS:
                if offset < self.position[tp]:
                    clean.load(self.slice_of({tp: (offset, offset + 1)}))
        state, expected = self.target.state(), clean.state()
        # A row the database would refuse is not even offered to it where a newer one of its key came in the same slice.
        letters, wanted = set(state.pop("dead_letters")), set(expected.pop("dead_letters"))
        assert state == expected
        assert letters <= wanted
        assert all(route == "account" and stage == "database" for _, stage, route, _ in wanted - letters)


TestLoads = Loads.TestCase
TestLoads.settings = settings(max_examples=15, stateful_step_count=10)
