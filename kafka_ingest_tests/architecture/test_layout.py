"""Arrows lead downward, cross as little as they can, and pass between the boxes."""

from __future__ import annotations

import itertools

from kafka_ingest_tests.architecture.layout import BOX_WIDTH, LANE_WIDTH, lay_out

ROWS = [["top"], ["left", "right"], ["middle", "other"], ["bottom"]]
ARROWS = [("top", "left"), ("top", "right"), ("left", "other"), ("right", "middle"), ("top", "bottom")]


def test_nothing_in_a_row_overlaps() -> None:
    layout = lay_out(ROWS, ARROWS, left=10)
    for at, row in enumerate(ROWS):
        spans = [(layout.x[name] - BOX_WIDTH / 2, layout.x[name] + BOX_WIDTH / 2) for name in row]
        lanes = [lane[at] for lane in layout.lanes.values() if at in lane]
        spans += [(x - LANE_WIDTH / 2, x + LANE_WIDTH / 2) for x in lanes]
        assert all(left[1] < right[0] for left, right in itertools.pairwise(sorted(spans)))


def test_a_long_arrow_has_a_lane_in_each_row_it_passes() -> None:
    assert {arrow: sorted(lanes) for arrow, lanes in lay_out(ROWS, ARROWS, left=0).lanes.items()} == {
        ("top", "bottom"): [1, 2]
    }


def test_rows_are_ordered_so_that_arrows_do_not_cross() -> None:
    x = lay_out(ROWS, ARROWS, left=0).x
    assert (x["left"] < x["right"]) == (x["other"] < x["middle"])


def test_the_picture_begins_where_it_is_told_to() -> None:
    layout = lay_out(ROWS, ARROWS, left=70)
    assert min(layout.x.values()) - BOX_WIDTH / 2 == 70
    assert layout.right >= max(layout.x.values()) + BOX_WIDTH / 2


def test_a_row_without_arrows_is_laid_out_too() -> None:
    assert lay_out([["one", "two"]], [], left=0).x.keys() == {"one", "two"}
