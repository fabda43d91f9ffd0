"""A run of several streams: each gets its turn as a batch of it is due, a few of them at the same time. No Dagster here.

A turn is a drain of what waits, over clients that the streams share. Who has been due for the longest is next, and a turn
begins no further slice after TURN_SECONDS, so that a stream with much to read keeps no other from its `max_wait_seconds`. What
fails in a stream's turn is that stream's trouble: it is left alone for a while, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import NamedTuple

from kafka_ingest.engine.backoff import Trouble, backoff_seconds_after
from kafka_ingest.engine.ended_runs import RunRecords
from kafka_ingest.engine.fingerprint import Fingerprint
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.engine.shared_clients import SharedClients
from kafka_ingest.engine.stream_state import next_offsets_of
from kafka_ingest.engine.triggers import FIRST_SLOT_SECONDS, SLOT_SECONDS, TOPICS_SECONDS
from kafka_ingest.errors import KafkaIngestError, LeaseLost, WrongEnvironment
from kafka_ingest.kafka.timeouts import kafka_deadline
from kafka_ingest.ledger.leases import RENEW_SECONDS
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import Batch, LoadResult, TopicPartition
from kafka_ingest.streams.group import StreamGroup

# How often all streams are looked at: one request to Kafka and one to the ledger.
LOOK_SECONDS = 0.5
# Where Kafka refuses that, so long for the streams one by one.
LOOK_AGAIN_SECONDS = 30.0
# After so long a turn begins no further slice.
TURN_SECONDS = 1.0
# When its time is up, a run goes on for so long with streams that its successor has not taken over yet: that one has a process to
# start, and then a look at each stream's tables to take.
TAKEOVER_SECONDS = 120.0
# So many streams have their turn at the same time: a few that wait for a lock or for a broker do not hold up the others.
TURNS = 4

# What ends the run wherever it is met: nothing may be written any more.
_FATAL = (LeaseLost, WrongEnvironment)


class Loaded(NamedTuple):
    """One slice of one stream."""

    stream: str
    result: LoadResult


class _Ended(NamedTuple):
    member: _Member
    error: BaseException | None
    has_more: bool


@dataclass(eq=False, slots=True)
class _Member:
    """A stream of the group, in this run. Written by the thread that plans the turns only."""

    ingestion: Ingestion
    not_before: float
    """When it may be tried again, by the run's clock."""
    trouble: Trouble | None = None
    partitions: tuple[TopicPartition, ...] = ()
    is_ready: bool = False
    """Whether it was planned, and is followed."""
    is_busy: bool = False
    is_left: bool = False
    """To a run that began after this one."""
    waiting: int = 0
    waiting_since: float | None = None
    due_since: float | None = None
    was_due_since: float | None = None
    """As its turn, or the making ready before it, began."""
    topics_seen: float = 0.0
    error: Exception | None = None
    """Why its last try in this run failed; None where it did not, or there was none."""

    @property
    def name(self) -> str:
        return self.ingestion.stream.name

    def see(self, waiting: int, now: float) -> None:
        """So many messages wait."""
        policy = self.ingestion.stream.batch
        self.waiting = waiting
        if not waiting:
            self.waiting_since = self.due_since = None
            return
        self.waiting_since = now if self.waiting_since is None else self.waiting_since
        if waiting >= policy.min_messages or now - self.waiting_since >= policy.max_wait_seconds:
            self.due_since = now if self.due_since is None else self.due_since

    def begin(self) -> None:
        self.is_busy = True
        self.waiting = 0
        self.was_due_since = self.due_since
        self.waiting_since = self.due_since = None


class GroupRun:
    """One live run of a group. Iterate over `turns()`, then `close()` it."""

    def __init__(
        self,
        group: StreamGroup,
        settings: Settings,
        run_id: str,
        *,
        troubles: Mapping[str, Trouble] | None = None,
        is_slot_wanted: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        records: RunRecords | None = None,
    ) -> None:
        """troubles: by stream, those of earlier runs, which are waited for as well. records: see `LeaseKeeper`."""
        self._group = group
        self._clock = clock
        self._shared = SharedClients(settings, run_id, records)
        self._is_slot_wanted = is_slot_wanted
        now, known = clock(), troubles or {}
        self._members: dict[str, _Member] = {}
        for stream in group.streams:
            trouble = known.get(stream.name)
            wait = 0.0 if trouble is None else trouble.wait_seconds(time.time())
            ingestion = Ingestion(stream, settings, run_id=run_id, shared=self._shared)
            self._members[stream.name] = _Member(ingestion, now + wait, trouble, due_since=now)
        self._time_up = now + group.max_run_seconds
        self._next_look = now
        self._busy_at = now
        """When something waited, or was loaded, last."""
        self._leases_read = now
        self._slot_asked = now + FIRST_SLOT_SECONDS - SLOT_SECONDS
        self._last_round: set[_Member] | None = None
        """Who is still to have a turn before the run gives its slot away; None where it does not."""
        self._events: SimpleQueue[Loaded | _Ended] = SimpleQueue()

    @property
    def sink(self) -> Sink:
        """The database of all its streams."""
        return self._shared.sink

    def ingestion(self, stream: str) -> Ingestion:
        """The load of one of its streams."""
        return self._members[stream].ingestion

    @property
    def troubles(self) -> dict[str, Trouble]:
        """By stream: those that fail."""
        return {name: each.trouble for name, each in self._members.items() if each.trouble is not None}

    @property
    def failures(self) -> dict[str, Exception]:
        """By stream, why the last try of this run failed; those that were not tried, or do not fail any more, are left out."""
        return {name: each.error for name, each in self._members.items() if each.error is not None}

    def turns(self, expected: Fingerprint | None = None) -> Iterator[Loaded | None]:
        """What was loaded, stream by stream in order; None now and then, where nothing was.

        It ends when the run's time is up and newer runs have taken over the streams in which something waits (TAKEOVER_SECONDS
        later at the latest), nothing has waited for as long as the group lingers, all streams are left to newer runs, or it has
        caught up and another run waits for its slot. Raises LeaseLost, WrongEnvironment (expected: as `Ingestion.expect` takes
        it), and what keeps all streams from being looked at.
        """
        next(iter(self._members.values())).ingestion.expect(expected)
        turns = TURNS if self._shared.sink.loads_in_parallel else 1
        with ThreadPoolExecutor(turns, thread_name_prefix="turn") as pool:
            try:
                while not self._is_over():
                    self._begin(pool, turns)
                    while (left := self._next_look - self._clock()) > 0:
                        try:
                            event = self._events.get(timeout=left)
                        except Empty:
                            break
                        if isinstance(event, Loaded):
                            yield event
                        else:
                            self._end(event)
                            self._begin(pool, turns)
                    yield None
                    self._look()
            except BaseException:
                for each in self._members.values():
                    each.ingestion.end_drain()
                raise
        for each in self._members.values():
            each.ingestion.release_lease()

    def close(self) -> None:
        """Release connections. Idempotent."""
        with ExitStack() as closing_all:
            closing_all.callback(self._shared.close)
            for each in self._members.values():
                closing_all.callback(each.ingestion.close)

    def _is_over(self) -> bool:
        if any(each.is_busy for each in self._members.values()):
            return False
        now = self._clock()
        if self._is_time_up(now) or (self._last_round is not None and not self._round_left(now)):
            return True
        return self._is_idle() and now - self._busy_at >= self._group.linger

    def _is_time_up(self, now: float) -> bool:
        """Not while messages wait in streams that nobody else loads yet: of a hundred, the last would wait for a minute."""
        if now < self._time_up or now >= self._time_up + TAKEOVER_SECONDS:
            return now >= self._time_up
        return not any(m.waiting and not m.is_left and m.not_before <= now for m in self._members.values())

    def _round_left(self, now: float) -> list[_Member]:
        """Of the last round, who can have a turn still."""
        return [each for each in self._last_round or () if not each.is_left and each.not_before <= now]

    def _is_idle(self) -> bool:
        """Whether no stream that is not left alone waits for anything."""
        now = self._clock()
        return not any(
            each.is_busy or ((each.waiting or not each.is_ready) and not each.is_left and each.not_before <= now)
            for each in self._members.values()
        )

    def _begin(self, pool: ThreadPoolExecutor, turns: int) -> None:
        """Give those that have been due for the longest their turns. Streams that are ready come first: those that are not are
        loaded by the run that this one succeeds, for some time. One turn is kept for making ready, so that it gets there however
        much is due, and it takes half of them at most."""
        now = self._clock()
        if self._is_time_up(now):
            return
        busy = [each for each in self._members.values() if each.is_busy]
        due = [each for each in self._members.values() if self._is_due(each, now)]
        making = sum(not each.is_ready for each in busy)
        is_kept = turns > 1 and not making and any(not each.is_ready for each in due)
        left = turns - len(busy)
        free = {True: left - is_kept, False: max(1, turns // 2) - making}

        def rank(each: _Member) -> tuple[bool, float]:
            return turns > 1 and not each.is_ready, each.due_since or 0.0

        for each in sorted(due, key=rank):
            if min(left, free[each.is_ready]) <= 0:
                continue
            left -= 1
            free[each.is_ready] -= 1
            if self._last_round is not None:
                self._last_round.discard(each)
            work = self._turn if each.is_ready else self._make_ready
            each.begin()
            pool.submit(self._do, each, work)

    def _is_due(self, each: _Member, now: float) -> bool:
        if each.is_busy or each.is_left or now < each.not_before:
            return False
        if self._last_round is not None and each not in self._last_round:
            return False
        return each.due_since is not None or not each.is_ready

    def _do(self, member: _Member, work: Callable[[_Member], bool]) -> None:
        """In a thread of the pool: what goes wrong in a stream's turn, in its steps too, is told and not raised."""
        try:
            ended = _Ended(member, None, work(member))
        except BaseException as error:  # noqa: BLE001  # raised again by `_end`, where it is not the stream's own
            ended = _Ended(member, error, False)
        self._events.put(ended)

    def _make_ready(self, member: _Member) -> bool:
        ingestion = member.ingestion
        if not ingestion.metadata.topics(ingestion.stream).partitions:
            member.partitions = ()  # its topic does not exist yet, or any more
            return False
        ingestion.plan((), "live")
        ingestion.keep_lease()
        ingestion.commit({})
        member.partitions = ingestion.follow()
        return False

    def _turn(self, member: _Member) -> bool:
        """Load what waits; whether it ended before all was."""
        ingestion, began = member.ingestion, self._clock()
        is_long = False
        for result in ingestion.drain(Batch(ingestion.stream.name, "live", (), until_caught_up=True)):
            self._events.put(Loaded(member.name, result))
            if self._clock() - began >= TURN_SECONDS:
                is_long = True
                ingestion.end_drain()
        return is_long

    def _end(self, ended: _Ended) -> None:
        member, error, now = ended.member, ended.error, self._clock()
        member.is_busy = False
        if error is not None:
            if isinstance(error, _FATAL) or not isinstance(error, Exception):
                raise error
            self._fail(member, error)
            return
        if not member.is_ready:
            member.is_ready = True
            member.topics_seen = now
            # What waits has waited for the run to start. Its turn comes before others are made ready, as a run that this one
            # succeeds leaves it from now on.
            member.due_since = (member.was_due_since or now) if member.partitions else None
            return
        self._busy_at = now
        member.trouble = member.error = None
        if ended.has_more:
            member.waiting = 1
            member.waiting_since = member.due_since = now

    def _fail(self, member: _Member, error: Exception) -> None:
        failures = 1 if member.trouble is None else member.trouble.failures + 1
        member.trouble = Trouble(failures, time.time())
        member.error = error
        member.is_ready = False
        member.not_before = self._clock() + backoff_seconds_after(failures)

    def _look(self) -> None:
        """See what waits, and whether topics, leases or slots have changed."""
        now = self._clock()
        self._next_look = now + LOOK_SECONDS
        ready = [each for each in self._members.values() if each.is_ready and not each.is_busy]
        seen = [each for each in ready if each.partitions]
        positions = next_offsets_of(self._shared.sink, [each.name for each in seen]) if seen else {}
        ends = self._ends(seen)
        for each in ready:
            if not each.is_ready:  # looking at it failed
                continue
            own = positions.get(each.name, {})
            each.see(sum(max(0, ends[tp] - own[tp]) for tp in each.partitions if tp in ends and tp in own), now)
            if not each.waiting:
                each.trouble = each.error = None
            if now - each.topics_seen >= TOPICS_SECONDS:
                self._look_at_topics(each, now)
        if not self._is_idle():
            self._busy_at = now
        self._look_at_leases(now)
        self._look_at_slots(now)

    def _ends(self, members: Sequence[_Member]) -> dict[TopicPartition, int]:
        """Of all partitions, by one request; where one topic is refused, stream by stream."""
        metadata = self._shared.metadata
        try:
            return metadata.ends(tp for each in members for tp in each.partitions)
        except KafkaIngestError as trouble:
            ends: dict[TopicPartition, int] = {}
            failed: dict[_Member, KafkaIngestError] = {}
            with kafka_deadline(LOOK_AGAIN_SECONDS):
                for each in members:
                    try:
                        ends |= metadata.ends(each.partitions)
                    except KafkaIngestError as error:
                        failed[each] = error
            if len(failed) == len(members):
                raise trouble from None
            for each, its_error in failed.items():
                self._fail(each, its_error)
            return ends

    def _look_at_topics(self, member: _Member, now: float) -> None:
        member.topics_seen = now
        try:
            partitions = member.ingestion.metadata.topics(member.ingestion.stream).partitions
        except KafkaIngestError as error:
            self._fail(member, error)
            return
        if partitions != member.partitions:
            member.is_ready = False  # the next turn pins those that are new
            member.due_since = now

    def _look_at_leases(self, now: float) -> None:
        """Streams are left to a newer run of theirs: to the one that succeeds this one as its time is nearly up, and to one that
        loads the stream without this group."""
        if now - self._leases_read < RENEW_SECONDS:
            return
        self._leases_read = now
        is_late = now >= self._time_up - self._group.handover_seconds
        newer = self._shared.leases.newer(*self._members)
        left = {lease.stream for lease in newer if is_late or not lease.is_in_group}
        for name, each in self._members.items():
            each.is_left = name in left

    def _look_at_slots(self, now: float) -> None:
        if self._last_round is not None or now - self._slot_asked < SLOT_SECONDS:
            return
        is_behind = any(m.is_busy or m.waiting >= m.ingestion.stream.batch.min_messages for m in self._members.values())
        if is_behind:
            return
        self._slot_asked = now
        if self._is_slot_wanted():
            self._last_round = {each for each in self._members.values() if each.waiting}
            for each in self._last_round:
                each.due_since = each.due_since or now
