"""A crash at any step, then a repeat, is as one clean pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.slices import RawSlice
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Crash, Target
from kafka_ingest_tests.support.loads import P0, P1, account, event, gone

pytestmark = pytest.mark.slow

STEPS = [step for step in LoadStep if step is not LoadStep.AHEAD]
STEPS_AHEAD = [step for step in LoadStep if step is not LoadStep.EMPTY]  # emptied before, in AHEAD
SEQUENCE: list[tuple[RawSlice, str]] = [
    (raw_slice(Part([event("a"), account("k", 1), Msg(b"bad")]), Part([account("k", 9), gone("m")], partition=1)), "live"),
    (raw_slice(Part([event("b", amount=13), gone("k"), account("m", 4), event("c")], start=3, end=9)), "live"),
    (raw_slice(Part([event("A"), account("k", 1), event("x")]), Part([account("k", 9), gone("m")], partition=1)), "backfill"),
]  # fmt: skip


def dying_at(step: str) -> Callable[[str], None]:
    def at_step(now: str) -> None:
        if now == step:
            raise Crash(step)

    return at_step


def pinned() -> Target:
    target = Target(MIXED)
    target.pin({P0: 0, P1: 0})
    return target


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_before_any_step_then_a_repeat_is_as_one_clean_pass(step: str) -> None:
    crashed = pinned()
    _crash_and_repeat(crashed, crashed.load, step)


@pytest.mark.parametrize("step", STEPS_AHEAD)
def test_so_is_a_crash_of_a_slice_that_was_written_ahead(step: str) -> None:
    crashed = pinned()
    _crash_and_repeat(crashed, crashed.load_ahead, step)


def _crash_and_repeat(crashed: Target, load: Callable[..., object], step: str) -> None:
    clean = pinned()
    for raw, kind in SEQUENCE:
        clean.load(raw, kind)  # type: ignore[arg-type]
        before = crashed.state(), crashed.batches()
        with pytest.raises(Crash):
            load(raw, kind, at_step=dying_at(step))
        if step != LoadStep.DONE:
            assert (crashed.state(), crashed.batches()) == before
        load(raw, kind)
    assert crashed.state() == clean.state()
    # A backfill that was committed is loaded again, and stands twice in the ledger.
    extra = 2 if step == LoadStep.DONE else 0
    assert len(crashed.batches()) == len(clean.batches()) + extra
    assert crashed.batches()[:3] == clean.batches()[:3]
