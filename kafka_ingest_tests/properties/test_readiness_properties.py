"""Any history of producing, ticks, runs and failures: nothing planned twice, nothing left out, nothing that is not there."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kafka_ingest.engine.readiness import Due, NotDue, PartitionState, readiness
from kafka_ingest.slices import OffsetRange, TopicPartition
from kafka_ingest.streams.stream import BatchPolicy

PARTITIONS = [TopicPartition("t", n) for n in range(4)]
TICK_SECONDS = 5


class Stream(RuleBasedStateMachine):
    """A sensor over four partitions. Time goes by in ticks; each message remembers when it came."""

    @initialize(
        min_messages=st.integers(1, 12),
        max_wait=st.integers(0, 30),
        max_rows=st.integers(1, 20),
    )
    def begin(self, min_messages: int, max_wait: int, max_rows: int) -> None:
        self.policy = BatchPolicy(min_messages=min_messages, max_wait_seconds=max_wait, max_rows=max_rows)
        self.produced: dict[TopicPartition, list[int]] = {tp: [] for tp in PARTITIONS}
        self.position = dict.fromkeys(PARTITIONS, 0)
        self.loaded: dict[TopicPartition, list[int]] = {tp: [] for tp in PARTITIONS}
        self.in_flight: tuple[OffsetRange, ...] | None = None
        self.now = 0
        self.backoff_until = 0

    @rule(tp=st.sampled_from(PARTITIONS), count=st.integers(1, 15))
    def produce(self, tp: TopicPartition, count: int) -> None:
        self.produced[tp] += [self.now] * count

    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    def states(self) -> dict[TopicPartition, PartitionState]:
        limit = self.now - max(0.0, self.policy.max_wait_seconds - TICK_SECONDS)
        return {
            tp: PartitionState(self.position[tp], 0, len(came), sum(1 for second in came if second < limit))
            for tp, came in self.produced.items()
        }

    @rule()
    def tick(self) -> None:
        busy = {} if self.in_flight is None else {r.topic_partition: "run" for r in self.in_flight}
        states = self.states()
        found = readiness(
            states, self.policy, in_flight=busy, backoff_seconds=float(max(0, self.backoff_until - self.now))
        )
        assert "\n" not in found.reason
        assert found.reason
        if isinstance(found, NotDue):
            free = [tp for tp in PARTITIONS if tp not in busy]
            waiting = sum(states[tp].high - self.position[tp] for tp in free)
            if self.backoff_until <= self.now:
                assert waiting < self.policy.min_messages
                assert not any(states[tp].aged > self.position[tp] for tp in free)
            return
        assert isinstance(found, Due)
        assert found.ranges
        assert len({r.topic_partition for r in found.ranges}) == len(found.ranges)
        assert sum(r.size for r in found.ranges) <= self.policy.max_rows + len(PARTITIONS)
        waiting_partitions = {tp for tp in PARTITIONS if tp not in busy and states[tp].high > self.position[tp]}
        assert {r.topic_partition for r in found.ranges} == waiting_partitions, "no waiting partition is left out"
        for each in found.ranges:
            assert each.topic_partition not in busy
            assert (
                self.position[each.topic_partition] == each.start < each.end <= len(self.produced[each.topic_partition])
            )
        if self.in_flight is None:
            self.in_flight = found.ranges

    @rule(succeeds=st.booleans())
    def run_ends(self, succeeds: bool) -> None:
        if self.in_flight is None:
            return
        if succeeds:
            for each in self.in_flight:
                self.loaded[each.topic_partition] += range(each.start, each.end)
                self.position[each.topic_partition] = each.end
        else:
            self.backoff_until = self.now + 5
        self.in_flight = None

    @invariant()
    def nothing_is_loaded_twice_or_out_of_order(self) -> None:
        for tp, offsets in getattr(self, "loaded", {}).items():
            assert offsets == list(range(self.position[tp]))

    def teardown(self) -> None:
        """From here on nothing new comes and runs succeed: everything is loaded in the end."""
        if not hasattr(self, "policy"):
            return
        self.in_flight = None
        for _ in range(2_000):
            self.now += TICK_SECONDS
            found = readiness(self.states(), self.policy)
            if isinstance(found, Due):
                for each in found.ranges:
                    self.position[each.topic_partition] = each.end
            elif found.reason == "nothing waiting":
                break
        assert self.position == {tp: len(came) for tp, came in self.produced.items()}


TestStream = Stream.TestCase
TestStream.settings = settings(max_examples=40, stateful_step_count=30)


@given(
    states=st.dictionaries(
        st.sampled_from(PARTITIONS),
        st.builds(
            PartitionState,
            position=st.none() | st.integers(0, 50),
            low=st.integers(0, 20),
            high=st.integers(20, 60),
            aged=st.integers(0, 70),
        ),
    ),
    max_rows=st.integers(1, 50),
    backoff=st.sampled_from([0.0, 3.0]),
)
def test_any_state_gives_ranges_inside_the_log_or_one_line_that_says_why_not(
    states: dict[TopicPartition, PartitionState], max_rows: int, backoff: float
) -> None:
    found = readiness(states, BatchPolicy(max_rows=max_rows), backoff_seconds=backoff)
    assert len(found.reason.splitlines()) == 1
    if isinstance(found, Due):
        assert found.ranges
        assert not backoff
        for each in found.ranges:
            state = states[each.topic_partition]
            assert each.start == (state.high if state.position is None else state.position)
            assert each.end <= max(state.high, each.start)
            assert not each.size or state.low <= each.start
