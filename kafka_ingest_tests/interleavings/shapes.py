"""Shapes of examples, each for one kind of trouble: in one of them a mend that is lost is found soon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kafka_ingest_tests.interleavings.example import Shape

_LITTLE = Shape(
    held=0,
    partial=0,
    codes=False,
    late=False,
    replays=False,
    refused=False,
    faults=False,
    ahead=False,
    versions=False,
    recreated=False,
)
_KEYS = replace(_LITTLE, events=False, backfills=False, one_key=True, writers=(2, 2))
_APART = replace(_KEYS, runs_back=False, apart=True, longest=2)

SHAPES: Mapping[str, Shape] = {
    "everything": Shape(),
    "plain": replace(_LITTLE, runs_back=False, keys=False, backfills_above=False, faults=True, writers=(2, 3)),
    "keys": replace(_APART, tombstones=False),
    "tombstones": _APART,
    "two tombstones": replace(_KEYS, runs_back=False),
    "row and tombstone": replace(_APART, begun=True),
    "order": replace(_KEYS, writers=(1, 1)),
    "held": replace(_KEYS, writers=(1, 1), runs_back=False, held=1),
    "codes": replace(_KEYS, tombstones=False, codes=True),
    "backfills ahead": replace(
        _LITTLE, upserts=False, ahead=True, versions=True, lives=False, backfills_above=False, writers=(2, 2)
    ),
    "backfills above": replace(_LITTLE, upserts=False, writers=(1, 2), versions=True),
    "lives ahead": replace(_LITTLE, upserts=False, ahead=True, versions=True, backfills=False, writers=(2, 2)),
    "parts": replace(_LITTLE, faults=True, writers=(3, 3), parts=True),
    "partial": replace(
        _LITTLE, partial=1, events=False, one_key=True, writers=(1, 3), late=True, replays=True, ahead=True
    ),
    "turned": Shape(held=0, partial=0, codes=False, recreated=False, turned=True),
    "recreated": replace(_LITTLE, writers=(1, 2), recreated=True),
}
"""Examples in which one kind of trouble is likely, by name."""
