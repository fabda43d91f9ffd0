"""A bound on the runs that one tick of an automation condition may ask for."""

# No `from __future__ import annotations` here: conditions are part of assets, whose annotations Dagster reads as they stand.

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import dagster as dg


def join_stretches(positions: Iterable[int], most: int) -> list[tuple[int, int]]:
    """At most `most` closed intervals, in order, that together hold all these positions and as few others as possible."""
    stretches: list[tuple[int, int]] = []
    for position in sorted(set(positions)):
        if stretches and stretches[-1][1] + 1 == position:
            stretches[-1] = (stretches[-1][0], position)
        else:
            stretches.append((position, position))
    # The widest gaps stay; each other one is filled. Of equal ones the earlier stay.
    gaps = sorted(itertools.pairwise(stretches), key=lambda gap: gap[0][1] - gap[1][0])[: most - 1]
    if not stretches:
        return []
    lasts = sorted(before[1] for before, _ in gaps)
    firsts = sorted(after[0] for _, after in gaps)
    return list(zip([stretches[0][0], *firsts], [*lasts, stretches[-1][1]], strict=True))


@dataclass(frozen=True)
class AtMostRuns(dg.AutomationCondition[dg.AssetKey]):
    """The partitions of `operand`; where they lie in more than `runs` stretches, also those in the narrowest gaps.

    With `BackfillPolicy.single_run()` Dagster launches one run per contiguous stretch of partitions, so a hundred scattered
    ones would be a hundred processes. This asks for all of them at once, in at most `runs` runs, and has partitions in
    between computed again: nothing waits for a later tick. For assets that may be computed again at any time only. It has
    to be the outermost condition, and its sensor needs `use_user_code_server=True`.
    """

    operand: dg.AutomationCondition[dg.AssetKey]
    runs: int

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise dg.DagsterInvalidDefinitionError(f"at most {self.runs} runs would never ask for anything")

    @property
    def name(self) -> str:
        return f"at_most_runs({self.runs})"

    @property
    def description(self) -> str:
        return f"In at most {self.runs} runs: gaps between the partitions are filled where there would be more"

    @property
    def children(self) -> Sequence[dg.AutomationCondition[dg.AssetKey]]:
        return [self.operand]

    async def evaluate(  # type: ignore[override]
        self, context: dg.AutomationContext[dg.AssetKey]
    ) -> dg.AutomationResult[dg.AssetKey]:
        """Called at each tick of the sensor. Dagster awaits it: its own operators are asynchronous too."""
        found = await context.for_child_condition(
            self.operand, child_indices=[0], candidate_subset=context.candidate_subset
        ).evaluate_async()
        subset = found.true_subset
        if context.partitions_def is not None and subset.size > self.runs:
            keys = context.partitions_def.get_partition_keys(current_time=context.evaluation_time)
            place = {key: number for number, key in enumerate(keys)}
            wanted = [place[key] for key in subset.expensively_compute_partition_keys() if key in place]
            for first, last in join_stretches(wanted, self.runs):
                between = dg.PartitionKeyRange(keys[first], keys[last])
                subset = subset.compute_union(context.asset_graph_view.get_entity_subset_in_range(context.key, between))
        return dg.AutomationResult(context, subset, child_results=[found])
