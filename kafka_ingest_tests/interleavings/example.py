"""An example: a log, what each writer does, which faults come, and in which order the writers go on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

from hypothesis import strategies as st

from kafka_ingest.slices import OffsetRange
from kafka_ingest_tests.interleavings.log import HELD, NULL_CODE, REFUSED, TOPIC, Log, Message, Version

T = TypeVar("T")

FaultKind = Literal["kill", "cut", "lost commit"]
LONGEST_SCHEDULE = 160
_KEYS = ("a", "b", "c")


@dataclass(frozen=True)
class Task:
    """What a writer does as one run."""

    kind: Literal["live", "backfill", "replay", "recreated"]
    """`recreated`: live from another topic of the same name, of which the ledger knows nothing."""
    version: Version
    sizes: tuple[int, ...] = ()
    """Offsets of each slice, per partition; the second one is written ahead, while the first is being loaded."""
    partitions: tuple[int, ...] = ()
    start: int = 0
    """First offset of a backfill; live runs start at the ledger's position."""

    def __str__(self) -> str:
        if self.kind == "replay":
            return f"replay by {self.version}"
        where = f" from {self.start}" if self.kind == "backfill" else ""
        sizes = ", then ".join(map(str, self.sizes))
        return f"{self.kind} of partitions {list(self.partitions)}{where}, {sizes} offsets, by {self.version}"


@dataclass(frozen=True)
class Fault:
    writer: int
    at: int
    """The how-manieth time the writer goes on, or, for a lost answer, the how-manieth COMMIT."""
    kind: FaultKind

    def __str__(self) -> str:
        return f"{self.kind} of w{self.writer} at its {'COMMIT' if self.kind == 'lost commit' else 'step'} {self.at}"


@dataclass(frozen=True)
class Example:
    log: Log
    is_held: bool
    """Whether the row of the key HELD, offset 0 of partition 0, is there from the start, and cannot be deleted."""
    scripts: tuple[tuple[Task, ...], ...]
    faults: tuple[Fault, ...]
    schedule: tuple[int, ...]
    """0: the writer that went on last goes on; n: the n-th of those that can. 0 after the end."""
    is_begun: bool = False
    """Whether offset 0 of partition 0 is loaded before the writers begin, as it is where its row is held."""

    def __str__(self) -> str:
        scripts = "\n".join(f"w{n}: {'; '.join(map(str, script))}" for n, script in enumerate(self.scripts))
        faults = "".join(f"\nfault: {fault}" for fault in self.faults)
        return f"{self.log}\n{scripts}{faults}\nheld: {self.is_held}, schedule: {list(self.schedule)}"


@dataclass(frozen=True)
class Shape:
    """What may be part of an example; all of it unless said otherwise."""

    writers: tuple[int, int] = (2, 4)
    runs_back: bool = True
    """Timestamps also run backwards within a partition."""
    tombstones: bool = True
    refused: bool = True
    late: bool = True
    codes: bool = True
    partial: int = 6
    """One in so many logs has accounts that keep what a message does not carry; 0: none."""
    held: int = 6
    """One in so many logs has a row that cannot be deleted; 0: none."""
    versions: bool = True
    backfills: bool = True
    backfills_above: bool = True
    """Backfills begin where the live runs may not have come to yet."""
    replays: bool = True
    ahead: bool = True
    faults: bool = True
    keys: bool = True
    """Upserts of the same keys in both partitions; else each has keys of its own."""
    apart: bool = False
    """Each writer has a partition of its own, from which it loads all, in one run."""
    parts: bool = False
    """The first two writers load the parts of one backfill, all of a partition each; the others load live."""
    longest: int = 7
    """Messages of a partition at most."""
    begun: bool = False
    """The first message of partition 0 is loaded before the writers begin."""
    one_key: bool = False
    """All upserts of one key."""
    events: bool = True
    upserts: bool = True
    lives: bool = True
    """Live runs beside the last one."""
    recreated: bool = True
    turned: bool = False
    """Accounts have an order of their own, and are deleted by values."""


class Source(Protocol):
    """Where choices come from."""

    def number(self, low: int, high: int) -> int: ...

    def schedule(self) -> tuple[int, ...]: ...


class RandomSource:
    """By a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def number(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def schedule(self) -> tuple[int, ...]:
        # One writer up to some step, then the others as far as they come: what one statement has seen no longer holds in the
        # next.
        if self._random.random() < 0.5:
            changes = {self._random.randint(0, 30) for _ in range(self._random.randint(1, 3))}
            return tuple(self._random.randint(1, 12) if at in changes else 0 for at in range(LONGEST_SCHEDULE))
        # How often the writers change differs, too: few changes leave one far ahead of the others.
        weight = self._random.choice([0.1, 0.3, 0.6, 1.0])
        return tuple(
            self._random.randint(1, 12) if self._random.random() < weight else 0 for _ in range(LONGEST_SCHEDULE)
        )


class DrawnSource:
    """By Hypothesis, which makes what fails smaller."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def number(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))

    def schedule(self) -> tuple[int, ...]:
        return tuple(self._draw(st.lists(st.integers(0, 12), max_size=LONGEST_SCHEDULE)))


class _Maker:
    def __init__(self, source: Source, shape: Shape) -> None:
        self._source = source
        self._shape = shape

    def one_in(self, number: int) -> bool:
        return self._source.number(0, number - 1) == number - 1

    def among(self, items: Sequence[T]) -> T:
        return items[self._source.number(0, len(items) - 1)]

    def message(self, partition: int, offset: int, stamp: int, *, log: Log, keys: Sequence[str]) -> Message:
        shape = self._shape
        kinds: list[Literal["account", "gone", "event", "broken"]] = []
        if shape.upserts:
            kinds += ["account"] * 4
        if shape.upserts and shape.tombstones:
            kinds += ["gone"] * 2
        if shape.events:
            kinds += ["event"] * 3
        if shape.refused:
            kinds += ["broken"]
        kind = self.among(kinds)
        if kind == "broken":
            return Message(kind, stamp)
        key = self.among(keys)
        if not shape.keys and key != HELD:
            key += str(partition)
        turn = self._source.number(0, 4) if shape.turned and kind in ("account", "gone") else None
        if kind == "gone":
            return Message(kind, stamp, key, turn=turn)
        is_partial = log.is_partial and kind == "account"
        value = 100 * (partition + 1) + offset
        if shape.refused and not is_partial and self.one_in(6):
            value = REFUSED
        code, tag = None, None
        if is_partial:
            code, tag = self.among((None, None, NULL_CODE, f"c{value}")), self.among((None, None, value))
        elif log.is_coded and kind == "account" and self.one_in(2):
            code = self.among(("x", "y"))
        is_late = shape.late and self.one_in(8)
        return Message(kind, stamp, key, value, code, is_late, tag, is_partial, turn)

    def log(self, *, is_held: bool) -> Log:
        is_partial = bool(self._shape.partial) and not is_held and self.one_in(self._shape.partial)
        is_coded = self._shape.codes and not is_held and not is_partial and self.one_in(6)
        log = Log((), is_coded, is_partial=is_partial, is_turned=self._shape.turned)
        keys = _KEYS[: 1 if self._shape.one_key else self._source.number(1, 3)]
        if is_held:
            keys = (HELD, *keys[:2])
        partitions = []
        for partition in range(2):
            stamps = [
                self._source.number(0, 3)
                for _ in range(self._source.number(min(2, self._shape.longest), self._shape.longest))
            ]
            if not self._shape.runs_back:
                stamps.sort()
            messages = [
                self.message(partition, offset, stamp, log=log, keys=keys) for offset, stamp in enumerate(stamps)
            ]
            if is_held and partition == 0:
                messages[0] = Message("account", stamps[0], HELD, 100)
            partitions.append(tuple(messages))
        return replace(log, messages=tuple(partitions))

    def task(self, longest: int, writer: int) -> Task:
        shape = self._shape
        if shape.apart:
            return Task("live", "v1", (shape.longest,), (writer % 2,))
        if shape.parts:
            sizes = tuple(self._source.number(1, 4) for _ in range(2 if self.one_in(2) else 1))
            version: Version = self.among(["v1", "v2"])
            return Task("backfill", version, sizes, (writer,)) if writer < 2 else Task("live", version, sizes, (0, 1))
        kinds: list[Literal["live", "backfill", "replay", "recreated"]] = ["live"] * (3 if shape.lives else 0)
        if shape.backfills:
            kinds += ["backfill"] * 2
        if shape.replays:
            kinds += ["replay"]
        if shape.recreated:
            kinds += ["recreated"]
        kind = self.among(kinds)
        if kind == "replay":
            return Task(kind, "fixed")
        if kind == "recreated":
            return Task(kind, "v1", (self._source.number(1, 4),), self.among([(0,), (1,), (0, 1)]))
        versions: list[Version] = ["v1", "v2"] if shape.versions else ["v1"]
        if shape.versions and shape.late and kind == "backfill":
            versions.append("fixed")
        slices = 2 if shape.ahead and self.one_in(4) else 1
        return Task(
            kind,
            self.among(versions),
            tuple(self._source.number(1, 4) for _ in range(slices)),
            self.among([(0,), (1,), (0, 1)]),
            self._source.number(0, longest - 1) if kind == "backfill" and shape.backfills_above else 0,
        )

    def interleaving(self, log: Log, *, is_held: bool) -> Example:
        low, high = self._shape.writers
        # Two writers more often than more: most of what can go wrong needs no third.
        writers = min(self._source.number(low, high), self._source.number(low, high))
        scripts = tuple(
            tuple(
                self.task(max(log.ends), n)
                for _ in range(2 if writers < 4 and not self._shape.apart and self.one_in(3) else 1)
            )
            for n in range(writers)
        )
        faults: list[Fault] = []
        if self._shape.faults and self.one_in(2):
            for _ in range(self._source.number(1, 2)):
                kind = self.among(("kill", "cut", "lost commit"))
                highest = 6 if kind == "lost commit" else 30
                faults.append(
                    Fault(self._source.number(0, writers - 1), self._source.number(1, highest), kind)  # type: ignore[arg-type]
                )
        is_begun = is_held or self._shape.begun
        return Example(log, is_held, scripts, tuple(faults), self._source.schedule(), is_begun)


def interleavings(seed: int, shape: Shape, number: int) -> list[Example]:
    """Several interleavings of one log."""
    maker = _Maker(RandomSource(seed), shape)
    is_held = bool(shape.held) and maker.one_in(shape.held)
    log = maker.log(is_held=is_held)
    return [maker.interleaving(log, is_held=is_held) for _ in range(number)]


@st.composite
def examples(draw: st.DrawFn, shape: Shape = Shape()) -> Example:
    """One interleaving of one log, as a strategy of Hypothesis."""
    maker = _Maker(DrawnSource(draw), shape)
    is_held = bool(shape.held) and maker.one_in(shape.held)
    return maker.interleaving(maker.log(is_held=is_held), is_held=is_held)


def ranges_from(log: Log, starts: Sequence[int], partitions: Sequence[int], size: int) -> tuple[OffsetRange, ...]:
    """`size` offsets of each partition, as far as the log goes; a partition at its end is left out."""
    found = (OffsetRange(TOPIC, p, starts[p], max(starts[p], min(starts[p] + size, log.ends[p]))) for p in partitions)
    return tuple(each for each in found if each.size)
