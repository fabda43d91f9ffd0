"""Mends taken out on purpose: each has to be found by the interleavings, or they would not notice if it were lost.

A mutation patches the loaded code for as long as its context is open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from kafka_ingest.sinks import admission, ledger
from kafka_ingest_tests.interleavings.example import Shape

_LITTLE = Shape(
    held=0, codes=False, late=False, replays=False, refused=False, faults=False, ahead=False, versions=False
)
_KEYS = Shape(
    held=0, codes=False, late=False, replays=False, refused=False, faults=False, ahead=False, versions=False,
    events=False, backfills=False,
)  # fmt: skip

SHAPES: Mapping[str, Shape] = {
    "everything": Shape(),
    "plain": Shape(**(vars(_LITTLE) | {"runs_back": False, "keys": False, "backfills_above": False, "faults": True})),
    "keys": Shape(**(vars(_KEYS) | {"writers": (2, 2), "runs_back": False, "tombstones": False})),
    "tombstones": Shape(**(vars(_KEYS) | {"writers": (2, 2), "runs_back": False})),
    "order": Shape(**(vars(_KEYS) | {"writers": (1, 1)})),
    "held": Shape(**(vars(_KEYS) | {"writers": (1, 1), "runs_back": False, "held": 1})),
    "backfills ahead": Shape(
        **(vars(_LITTLE) | {"upserts": False, "ahead": True, "versions": True, "backfills_above": False})
    ),
    "backfills above": Shape(**(vars(_LITTLE) | {"upserts": False, "writers": (2, 2), "versions": True})),
}
"""Examples in which one kind of trouble is likely, by name."""


@dataclass(frozen=True)
class Mutation:
    """One mend taken out."""

    mend: str
    """What the code does no longer."""
    apply: Callable[[], AbstractContextManager[Any]]
    shape: str = "everything"


@contextmanager
def _no_ledger_lock() -> Iterator[None]:
    positions = ledger.positions

    def without(connection: Any, stream: str, *, lock: Any = None, waits: bool = True) -> Any:
        found = positions(connection, stream)
        return found if lock is None else {tp: position for tp, position in found.items() if tp in lock}

    with mock.patch.object(ledger, "positions", without):
        yield


@contextmanager
def _no_overlap_skipped() -> Iterator[None]:
    def admit(parsed: Any, kind: Any, next_offsets: Any, stream: str) -> Any:
        return [(each, kind) for each in parsed.raw.ranges]

    with mock.patch.object(load, "_admit", admit):
        yield


MUTATIONS: Mapping[str, Mutation] = {
    "no ledger lock": Mutation("the ledger's rows are locked before they are compared", _no_ledger_lock, "plain"),
    "no overlap skipped": Mutation("what the ledger has already is left out", _no_overlap_skipped, "plain"),
}
