"""Whatever is loaded in which order and how often, a kept column holds what the last message that carried it said."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.partial import (
    LOGS,
    PARTITIONS,
    PEOPLE,
    Log,
    apply,
    forecast_and_outcome,
    found,
    places,
    plans,
    wanted,
)

pytestmark = pytest.mark.slow


@settings(max_examples=15, deadline=None)
@given(data=st.data(), log=LOGS)
def test_the_table_is_the_same_whoever_came_first(data: st.DataObject, log: Log) -> None:
    plan = data.draw(plans(log))
    target, clean = Target(PEOPLE), Target(PEOPLE)
    apply(target, log, plan)
    assert found(target) == wanted(log)
    before = places(target)
    apply(target, log, data.draw(plans(log)))
    assert found(target) == wanted(log)
    assert places(target) == before
    apply(clean, log, [])
    assert places(clean) == before


@settings(max_examples=15, deadline=None)
@given(data=st.data(), log=LOGS)
def test_the_forecast_of_a_backfill_says_what_it_does(data: st.DataObject, log: Log) -> None:
    target = Target(PEOPLE)
    target.pin(dict.fromkeys(PARTITIONS, 0))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.sampled_from([0, 1]))
        start = data.draw(st.integers(0, len(log[place]) - 1))
        forecast, outcome = forecast_and_outcome(
            target, log, [(place, start, data.draw(st.integers(start + 1, len(log[place]))))]
        )
        assert forecast == outcome
