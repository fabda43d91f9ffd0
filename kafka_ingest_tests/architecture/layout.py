"""Where the boxes and arrows of a layered picture go: rows from top to bottom, every arrow downward, none through a box.

An arrow that passes a row without stopping there has a lane in it, which takes a place in the row as a box does. Rows are
ordered so that few arrows cross (barycentres, swept down and up), then everything is moved towards what it is joined to as far as
its neighbours let it. The same input gives the same picture.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BOX_WIDTH = 204.0
LANE_WIDTH = 10.0
GAP = 22.0
ORDERINGS = 24
STRAIGHTENINGS = 1000
# How much an arrow wants to be straight: between two boxes, at a box's end, and between two lanes, where a bend is seen most.
WEIGHTS = (1.0, 2.0, 12.0)


@dataclass(frozen=True, slots=True)
class Layout:
    """`x` is the middle of each box; `lanes` are the middles of the places an arrow passes, by row."""

    x: Mapping[str, float]
    lanes: Mapping[tuple[str, str], Mapping[int, float]]
    right: float
    """The edge of the last box."""


# A node is a box (its name) or a lane (the arrow and the row it passes).
_Lane = tuple[str, str, int]
_Node = str | _Lane


def lay_out(rows: Sequence[Sequence[str]], arrows: Sequence[tuple[str, str]], *, left: float) -> Layout:
    """Places for boxes in rows, the first one at the top. Every arrow must go from a row to one below it.
    `left` is where the first box begins."""
    row_of = {name: at for at, row in enumerate(rows) for name in row}
    levels: list[list[_Node]] = [list(row) for row in rows]
    joined: dict[_Node, list[_Node]] = {name: [] for name in row_of}
    for source, target in sorted(arrows):
        passed: list[_Node] = [(source, target, row) for row in range(row_of[source] + 1, row_of[target])]
        for lane, row in zip(passed, range(row_of[source] + 1, row_of[target]), strict=True):
            levels[row].append(lane)
            joined[lane] = []
        for upper, lower in itertools.pairwise([source, *passed, target]):
            joined[upper].append(lower)
            joined[lower].append(upper)
    levels = _few_crossings(levels, joined)
    x = _straight(levels, joined)
    shift = left - min(x[node] - _width(node) / 2 for node in x)
    right = shift + max(x[node] + _width(node) / 2 for node in x)
    lanes: dict[tuple[str, str], dict[int, float]] = {}
    for node in x:
        if not isinstance(node, str):
            lanes.setdefault(node[:2], {})[node[2]] = x[node] + shift
    return Layout({node: x[node] + shift for node in x if isinstance(node, str)}, lanes, right)


def _width(node: _Node) -> float:
    return BOX_WIDTH if isinstance(node, str) else LANE_WIDTH


def _few_crossings(levels: list[list[_Node]], joined: Mapping[_Node, Sequence[_Node]]) -> list[list[_Node]]:
    best, fewest = levels, _crossings(levels, joined)
    for sweep in range(ORDERINGS):
        order = range(1, len(levels)) if sweep % 2 == 0 else range(len(levels) - 2, -1, -1)
        levels = list(levels)
        for row in order:
            beside = {node: at for at, node in enumerate(levels[row - 1 if sweep % 2 == 0 else row + 1])}
            levels[row] = _by_barycentre(levels[row], beside, joined)
        if (crossings := _crossings(levels, joined)) < fewest:
            best, fewest = levels, crossings
    return best


def _by_barycentre(
    level: Sequence[_Node], beside: Mapping[_Node, int], joined: Mapping[_Node, Sequence[_Node]]
) -> list[_Node]:
    """Sorted by the mean place of what each is joined to; what is joined to nothing stays where it is."""
    at = {node: [beside[other] for other in joined[node] if other in beside] for node in level}
    moving = iter(sorted((n for n in level if at[n]), key=lambda node: sum(at[node]) / len(at[node])))
    return [next(moving) if at[node] else node for node in level]


def _crossings(levels: Sequence[Sequence[_Node]], joined: Mapping[_Node, Sequence[_Node]]) -> int:
    crossings = 0
    for upper, lower in itertools.pairwise(levels):
        below = {node: at for at, node in enumerate(lower)}
        ends = [(at, below[other]) for at, node in enumerate(upper) for other in joined[node] if other in below]
        crossings += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in itertools.combinations(ends, 2))
    return crossings


def _straight(levels: Sequence[Sequence[_Node]], joined: Mapping[_Node, Sequence[_Node]]) -> dict[_Node, float]:
    """The middles of all nodes: row by row, each time the best places for what the rows beside it look like."""
    x: dict[_Node, float] = {node: 0.0 for level in levels for node in level}
    for _ in range(STRAIGHTENINGS):
        for level in levels:
            x |= zip(level, _apart(level, [_pulls(node, joined[node], x) for node in level]), strict=True)
    return x


def _pulls(node: _Node, others: Sequence[_Node], x: Mapping[_Node, float]) -> tuple[float, float]:
    """Where the arrows of a node pull it, and how strongly."""
    if not others:
        return x[node], WEIGHTS[0]
    weights = [WEIGHTS[(not isinstance(node, str)) + (not isinstance(other, str))] for other in others]
    strength = sum(weights)
    # Not sum(): it rounds in another way from Python 3.12 on, and the picture is compared to the letter.
    return math.fsum(weight * x[other] for weight, other in zip(weights, others, strict=True)) / strength, strength


def _apart(level: Sequence[_Node], pulls: Sequence[tuple[float, float]]) -> list[float]:
    """The places nearest to those wanted (least squares) in which the nodes keep their order and their distance."""
    offsets = [0.0]
    for left, right in itertools.pairwise(level):
        offsets.append(offsets[-1] + (_width(left) + _width(right)) / 2 + GAP)
    groups: list[tuple[float, float, int]] = []  # of what has run into one another: mean place, strength, size
    for (place, strength), offset in zip(pulls, offsets, strict=True):
        mean, size = place - offset, 1
        while groups and groups[-1][0] > mean:
            other, other_strength, other_size = groups.pop()
            mean = (mean * strength + other * other_strength) / (strength + other_strength)
            strength, size = strength + other_strength, size + other_size
        groups.append((mean, strength, size))
    means = [mean for mean, _, size in groups for _ in range(size)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]
