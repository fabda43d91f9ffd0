"""However scattered the partitions are that a tick asks for, they become few runs, and none is left out."""

from __future__ import annotations

import itertools

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_ingest.orchestration.automation import AtMostRuns, join_stretches

POSITIONS = [1, 2, 5, 9, 10, 20]
MISSING: dg.AutomationCondition[dg.AssetKey] = dg.AutomationCondition.missing()  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("most", "joined"),
    [
        (9, [(1, 2), (5, 5), (9, 10), (20, 20)]),
        (4, [(1, 2), (5, 5), (9, 10), (20, 20)]),
        (3, [(1, 5), (9, 10), (20, 20)]),
        (2, [(1, 10), (20, 20)]),
        (1, [(1, 20)]),
    ],
)
def test_the_narrowest_gaps_are_filled_first(most: int, joined: list[tuple[int, int]]) -> None:
    assert join_stretches(reversed(POSITIONS), most) == joined


def test_nothing_becomes_nothing() -> None:
    assert join_stretches([], 3) == []


@given(st.sets(st.integers(0, 300)), st.integers(1, 12))
def test_all_are_held_by_as_few_others_as_so_many_stretches_allow(positions: set[int], most: int) -> None:
    joined = join_stretches(positions, most)
    held = {n for first, last in joined for n in range(first, last + 1)}
    assert positions <= held
    assert len(joined) <= most
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(joined))
    # Independently: the hull without the widest gaps, as many of them as may stay.
    ordered = sorted(positions)
    gaps = sorted((b - a - 1 for a, b in itertools.pairwise(ordered)), reverse=True)
    hull = ordered[-1] - ordered[0] + 1 if ordered else 0
    assert len(held) == hull - sum(gaps[: most - 1])


def test_less_than_one_run_is_refused() -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="at most 0 runs"):
        AtMostRuns(MISSING, 0)


def asked(asset: dg.AssetsDefinition, instance: dg.DagsterInstance) -> dg.EvaluateAutomationConditionsResult:
    selection = dg.AssetSelection.assets(asset.key)
    return dg.evaluate_automation_conditions(defs=[asset], instance=instance, asset_selection=selection)


def test_assets_without_partitions_are_asked_for_as_before() -> None:
    @dg.asset(automation_condition=AtMostRuns(MISSING, 1))
    def one() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        assert asked(one, instance).total_requested == 1


def test_static_partitions_are_joined_in_their_own_order() -> None:
    @dg.asset(
        partitions_def=dg.StaticPartitionsDefinition(["z", "a", "m", "b"]), automation_condition=AtMostRuns(MISSING, 1)
    )
    def four() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        for there in ("a", "b"):
            instance.report_runless_asset_event(dg.AssetMaterialization("four", partition=there))
        assert asked(four, instance).get_requested_partitions(four.key) == {"z", "a", "m"}
