"""What a writer does: runs that load live, backfill, or replay, as the engine does it, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from kafka_ingest.errors import DataLoss, RetryableError
from kafka_ingest.ledger import dead_letters
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter, conditions, not_tried_by
from kafka_ingest.ledger.positions import ledger_positions
from kafka_ingest.sinks.commit_order import Abandoned, CommitTicket
from kafka_ingest.sinks.load import LoadContext, load
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.replay_proposal import raw_slice_of, replay_slice
from kafka_ingest.slices import BatchKind, OffsetRange
from kafka_ingest.testing.target import NOW, Crash
from kafka_ingest_tests.interleavings.example import Task, ranges_from
from kafka_ingest_tests.interleavings.harness import Actor, Process, Scheduler, WatchedTicket
from kafka_ingest_tests.interleavings.log import PARTITIONS, Log, Version

# Deadlocks and lost connections are tried again; a load that fails so often for them never comes to an end.
MOST_TRIES = 30

# Others see nothing of what a load does from these steps to its next stop; statements that look at rows to upsert are stops of
# their own.
UNSEEN_STEPS = frozenset({LoadStep.STAGE, LoadStep.DELETES, LoadStep.AGAIN, LoadStep.PROVE})

Ranges = tuple[OffsetRange, ...]


@dataclass
class Writer:
    """One process after the other of one name: when it is killed, a new one begins the same run again."""

    log: Log
    process: Process
    scheduler: Scheduler
    run_number: int = 0

    def run(self, actor: Actor, script: tuple[Task, ...]) -> None:
        """Raises what is no database trouble that may pass."""
        for task in script:
            self.run_number += 1
            self._repeat(actor, lambda task=task: self._run(actor, task))  # type: ignore[misc]

    def _run(self, actor: Actor, task: Task) -> None:
        self.scheduler.note(f"{actor.name} begins {self._run_id(task.version)}: {task}")
        if task.kind == "replay":
            self._replay(actor, task.version)
            return
        if task.kind in ("live", "recreated"):
            starts = self._positions()
            actor.pause("plan")
        else:
            starts = [task.start] * len(PARTITIONS)
        slices: list[Ranges] = []
        for size in task.sizes:
            slices.append(ranges_from(self.log, starts, task.partitions, size))
            starts = [start + size if p in task.partitions else start for p, start in enumerate(starts)]
        slices = [ranges for ranges in slices if ranges]
        if task.kind == "recreated":
            self._load_recreated(actor, slices)
            return
        kind: BatchKind = "live" if task.kind == "live" else "backfill"
        if len(slices) == 2:
            self._load_ahead(actor, kind, task.version, slices)
        elif slices:
            self._repeat(actor, lambda: self._load(actor, kind, task.version, slices[0]))

    def _repeat(self, actor: Actor, work: Callable[[], None]) -> None:
        """As Dagster tries an op again, and the sensor a run."""
        for _ in range(MOST_TRIES):
            try:
                return work()
            except (RetryableError, Abandoned) as error:
                if not self.process.is_dead:
                    self.scheduler.note(f"{actor.name} tries again: {type(error).__name__}: {str(error)[:160]}")
            except BaseException:
                if not self.process.is_dead:
                    raise
            if self.process.is_dead:
                self.process.is_dead = False
                self.run_number += 1
                self.scheduler.note(f"{actor.name} is started anew")
            actor.pause("again", dies=False)
        raise AssertionError(f"{actor.name} has been tried {MOST_TRIES} times")

    def _run_id(self, version: Version) -> str:
        return f"{self.process.name}.{self.run_number} {version}"

    def _context(self, actor: Actor, version: Version) -> LoadContext:
        return LoadContext(
            self.log.streams[version],
            self._run_id(version),
            now=lambda: NOW,
            at_step=lambda step: void(step in UNSEEN_STEPS or actor.pause(step)),
        )

    def _positions(self) -> list[int]:
        stream = self.log.streams["v1"].name
        sink = self.process.sink
        with sink.errors("looking where the ledger stands"), sink.engine.connect() as connection:
            found = ledger_positions(connection, stream)
        return [found[tp].next_offset for tp in PARTITIONS]

    def _load(
        self,
        actor: Actor,
        kind: BatchKind,
        version: Version,
        ranges: Ranges,
        ticket: CommitTicket | None = None,
        log: Log | None = None,
    ) -> None:
        self.scheduler.note(f"{actor.name} loads {', '.join(map(str, ranges))} {kind}")
        parsed = (log or self.log).parsed(ranges, version)
        result = load(self.process.sink, parsed, kind, self._context(actor, version), ticket)
        counts = "; ".join(
            f"{c.range} {c.kind} {c.rows} rows {c.deletes} deletes {c.dead_letters} dead" for c in result.counts
        )
        self.scheduler.note(f"{actor.name} has loaded {counts or 'nothing'}")

    def _load_ahead(self, actor: Actor, kind: BatchKind, version: Version, slices: list[Ranges]) -> None:
        """Two slices at the same time, over a connection each."""
        first = WatchedTicket()
        second = WatchedTicket(first)

        def follow(lane: Actor) -> None:
            with second:
                self._load(lane, kind, version, slices[1], second)

        lane = self.scheduler.start(f"{actor.name}+", self.process, follow)
        try:
            with first:
                self._load(actor, kind, version, slices[0], first)
        finally:
            actor.pause("waits for the slice ahead", lambda: lane.state == "ended", dies=False)
        if self.process.is_dead:
            raise Crash("the slice ahead")
        if lane.error is not None:
            raise lane.error

    def _load_recreated(self, actor: Actor, slices: list[Ranges]) -> None:
        """What a run has read that was under way as the topic was deleted and made again: refused, where anything of it would
        be loaded."""
        for ranges in slices:
            self.scheduler.note(f"{actor.name} loads {', '.join(map(str, ranges))} of the recreated topic")
            again = partial(self._load, actor, "live", "v1", ranges, log=self.log.recreated)
            with suppress(DataLoss):
                self._repeat(actor, again)

    def _replay(self, actor: Actor, version: Version) -> None:
        """Every letter that waits, few at a time, each once."""
        run_id = self._run_id(version)
        stream = self.log.streams[version]
        sink = self.process.sink
        where = sa.and_(conditions(DeadLetterFilter(stream=stream.name)), not_tried_by(run_id))
        after_id = 0
        while True:
            with sink.errors("reading dead letters"), sink.engine.connect() as connection:
                found = dead_letters.next_slice(connection, where, after_id=after_id, max_rows=4, max_bytes=1_000_000)
            if not found:
                return
            after_id = max(letter.id for letter in found)
            found.sort(key=lambda letter: (letter.topic_partition, letter.kafka_offset))
            actor.pause("letters read")
            parsed = self.log.parse(raw_slice_of(found), version)
            result = replay_slice(sink, parsed, found, where, self._context(actor, version))
            became = ", ".join(f"{letter.position} {letter.outcome}" for letter in result.letters)
            self.scheduler.note(f"{actor.name} has replayed {became or 'nothing'}")

    def load_what_is_left(self) -> None:
        """A last run that nobody disturbs."""
        starts = self._positions()
        ranges = ranges_from(self.log, starts, (0, 1), max(self.log.ends))
        if ranges:
            context = LoadContext(self.log.streams["v1"], "last v1", now=lambda: NOW)
            load(self.process.sink, self.log.parsed(ranges, "v1"), "live", context)


def void(_value: object) -> None:
    """`at_step` returns nothing."""
