"""A slice of messages that are many rows each is loaded in parts: what a run holds in memory is bounded by rows, too."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_ingest.checks.table_rows import audit_rows
from kafka_ingest.checks.whole_ledger import audit_accounting, audit_tiling
from kafka_ingest.pipelines import explode
from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.slices import OffsetRange, RawSlice
from kafka_ingest.streams.stream import BatchPolicy, RouteByTopic, Stream
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, letters_of, outcomes, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.cluster import FakeMessage, Log
from kafka_ingest_tests.support.exploded import BOTH, LINES, Line, lines_of, order, stock
from kafka_ingest_tests.support.world import P0, P1, World, first_five

pytestmark = pytest.mark.slow

# Of ten columns 160 bytes a row: thirteen rows fill it.
SMALL = BatchPolicy(max_bytes=1_024, max_rows=1_000, max_wait_seconds=0, linger_seconds=0)
STREAM = Stream(name="many", topics="mixed", routes={"mixed": Line}, route_by=RouteByTopic(), batch=SMALL)


def many(number: int, lines: int) -> Msg:
    return order(number, *((f"s{n}", 1) for n in range(lines)))


def test_a_run_loads_every_row_whatever_a_slice_of_messages_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explode, "_PART_BYTES", 300)
    world = World(tmp_path, monkeypatch)
    policy = dataclasses.replace(SMALL, max_bytes=1 << 20)
    stream = dataclasses.replace(STREAM, batch=policy)
    monkeypatch.setattr("kafka_ingest.pipelines.decode._ROWS_SHARE", 1 / 512)
    wanted = []
    for tp, count in ((P0, 12), (P1, 8)):
        messages = [many(n, (n * 7) % 23) for n in range(count)]
        bodies = (m.body for m in messages)
        world.logs[tp] = Log({n: FakeMessage(tp, n, body, MORNING_MS + n) for n, body in enumerate(bodies)}, count)
        wanted += [(tp.partition, *row) for row in lines_of(enumerate(messages))]
    target = Target(stream, world.target.sink)
    ranges: tuple[OffsetRange, ...] = ()
    for kind in ("live", "backfill"):
        run = world.run(stream=stream)
        batch = first_five(run, ranges, kind)
        results = list(run.drain(batch))
        run.close()
        assert len(results) >= 8, "two slices of messages are many of rows"
        assert max(sum(result.rows_by_table.values()) for result in results) < 60
        query = "SELECT _kafka_partition, _kafka_offset, _kafka_index, sku, quantity FROM x_lines ORDER BY 1, 2, 3"
        assert target.all(query) == wanted
        assert target.offsets() == {"mixed[0]": 12, "mixed[1]": 8}
        ranges = (OffsetRange(*P0, 0, 12), OffsetRange(*P1, 0, 8))
    audits = [audit_accounting(target.sink, stream), audit_tiling(target.sink, stream)]
    audits.append(audit_rows(target.sink, stream, stream.targets[0], seconds=60))
    assert not [fault for found in audits for fault in found.faults]


PARTS = st.lists(
    st.tuples(st.integers(0, 5), st.lists(st.integers(1, 3), max_size=5), st.integers(0, 3)), min_size=1, max_size=3
)


def made(parts: list[tuple[int, list[int], int]]) -> RawSlice:
    """Ranges that begin at an offset, with messages so far apart, and so many empty offsets behind them."""
    ranges = []
    for number, (start, steps, behind) in enumerate(parts):
        offsets = (start + np.cumsum([0, *steps])).tolist()
        messages = [Msg({"n": n}, offset=offset, timestamp_ms=9_000 - 7 * offset) for n, offset in enumerate(offsets)]
        ranges.append(Part(messages, partition=number, start=start, end=offsets[-1] + 1 + behind))
    return raw_slice(*ranges)


@given(PARTS, st.data())
def test_a_slice_that_is_split_is_the_same_messages_and_offsets(
    parts: list[tuple[int, list[int], int]], data: st.DataObject
) -> None:
    raw = made(parts)
    if len(raw) < 2:
        return
    first, others = raw.split(data.draw(st.integers(1, len(raw) - 1)))
    assert [first.position(n) for n in range(len(first))] + [others.position(n) for n in range(len(others))] == [
        raw.position(n) for n in range(len(raw))
    ]
    assert [*first.values, *others.values] == raw.values
    assert [*first.orders, *others.orders] == raw.orders.tolist()
    for one in (first, others):
        counts = np.bincount(one.range_index, minlength=len(one.ranges)).tolist()
        assert [r.size for r in one.ranges] == [c + a for c, a in zip(counts, one.absent, strict=True)]
        assert all(a >= 0 for a in one.absent)
        recounted = one.with_order_starts({})
        assert recounted.orders.tolist() == one.orders.tolist(), "its orders go on from its own start"
    covered: dict[int, list[tuple[int, int]]] = {}
    for each in (*first.ranges, *others.ranges):
        covered.setdefault(each.partition, []).append((each.start, each.end))
    for whole in raw.ranges:
        bounds = covered[whole.partition]
        assert (bounds[0][0], bounds[-1][1]) == (whole.start, whole.end)
        assert all(a[1] == b[0] for a, b in pairwise(bounds))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(0, 3))
def test_the_parts_of_a_slice_have_each_message_once(counts: list[int], tombstones: int) -> None:
    stream = dataclasses.replace(BOTH, batch=SMALL, unrouted="ignore")
    messages = [many(n, count) if n % 3 else stock("p", *(("a", n),) * count) for n, count in enumerate(counts)]
    for place in range(tombstones):
        messages.insert(place * 5, Msg(None))
    raw = raw_slice(Part(messages))
    found, rows = 0, 0
    for part in StreamDecoder(stream).decode_all(raw):
        parsed = run_pipeline(part, stream)
        assert sorted(set(outcomes(parsed))) == list(range(len(part.raw)))
        found += len(part.raw)
        rows += sum(map(len, parsed.rows.values()))
    assert found == len(raw)
    assert rows == sum(counts)


def test_a_message_whose_rows_would_fill_the_memory_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explode, "MOST_MESSAGE_BYTES", 10_000)
    long = many(2, 9)
    long.value["order"]["customer"] = "c" * 2_000
    raw = raw_slice(Part([many(1, 9), long, many(3, 60), many(4, 70)], topic="lines"))
    parsed = run_pipeline(StreamDecoder(LINES).decode(raw), LINES)
    assert sorted(letters_of(parsed)) == [1, 3]
    stage, error = letters_of(parsed)[1]
    assert stage == "decode"
    assert error.startswith("its 9 elements would be rows of 19,440 bytes together")
