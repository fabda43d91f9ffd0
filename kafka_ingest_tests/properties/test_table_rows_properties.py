"""Whatever is loaded, loaded again and replayed in whatever order, the table's rows lie where the ledger says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kafka_ingest.checks.table_rows import Entry, components, expected_rows

SIZE = 12
ranges = st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)).map(lambda p: (p[0], min(SIZE, p[0] + p[1])))
loads = st.lists(st.tuples(ranges, st.booleans(), st.sets(st.integers(0, SIZE))), max_size=8)


@given(loads)
def test_the_rows_of_a_table_are_always_within_what_is_expected(
    history: list[tuple[tuple[int, int], bool, set[int]]],
) -> None:
    rows: set[int] = set()
    entries = []
    for number, ((start, end), replays, chosen) in enumerate(history):
        inside = {n for n in chosen if start <= n < end}
        if replays:  # only what is no row yet can be replayed
            inside -= rows
        else:
            rows -= set(range(start, end))
        rows |= inside
        entries.append(Entry(number, start, end, replays, {"t": len(inside)}, "r"))
    for group in components(sorted(entries, key=lambda e: (e.start, e.id))):
        found = expected_rows(group, "t")
        assert found is not None
        assert found.low <= len([n for n in rows if found.start <= n < found.end]) <= found.high


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.data())
def test_loads_that_do_not_overlap_are_expected_exactly(sizes: list[int], data: st.DataObject) -> None:
    start = 0
    for number, size in enumerate(sizes):
        rows = data.draw(st.integers(0, size))
        found = expected_rows([Entry(number, start, start + size, False, {"t": rows}, "r")], "t")
        assert found is not None
        assert found.low == found.high == rows
        start += size
