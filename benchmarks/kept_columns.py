"""Upserts of a table whose columns are kept (`keep_absent`), against one of whole rows, on one real database.

    python -m benchmarks.kept_columns [--database mysql] [--messages 200000] [--rounds 3] [--json FILE]

The same messages of nine fields go into a table without kept columns and into one where four of them are; from parsed slices to
committed rows, so neither Kafka nor decoding counts. Ratios of rows a second, taken round by round; medians.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import Any

import sqlalchemy as sa

from benchmarks.command import Figures, loading_parser, table, write_json
from benchmarks.servers import database_server
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.load import LoadContext, load
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import UpsertModel, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg, Part, piped, raw_slice
from kafka_ingest.testing.target import Target

_SLICE = 50_000
_KEPT = ("a", "b", "c", "d")
_OTHERS = ("e", "f", "g", "h")
CASES = {
    "new keys, whole messages": (1.0, 0),
    "known keys, whole messages": (1.0, 1),
    "known keys, half of the kept fields left out": (0.5, 2),
}
"""What share of the kept fields a message carries, and which range of offsets it loads."""


def _model(name: str, *, is_kept: bool) -> type[UpsertModel]:
    columns: dict[str, Any] = {"id": field(sa.Integer, primary_key=True)}
    columns |= {n: field(sa.String(60), nullable=True, keep_absent=is_kept) for n in _KEPT}
    columns |= {n: field(sa.String(60), nullable=True) for n in _OTHERS}
    return type(name, (UpsertModel,), {"__tablename__": name.lower(), **columns})


STREAMS = {
    kind: Stream(
        name=kind, topics=kind, routes={kind: _model(f"Bench{kind}", is_kept=kind == "kept")}, route_by=RouteByTopic()
    )
    for kind in ("whole", "kept")
}


def _seconds(sink: Sink, stream: Stream, messages: int, share: float, step: int) -> float:
    """To load a range of messages, all keys in random order."""
    rng = random.Random(step)
    keys = rng.sample(range(messages), messages)
    values = dict.fromkeys((*_KEPT, *_OTHERS), "x" * 40)
    found = 0.0
    for start in range(0, messages, _SLICE):
        some = [
            Msg({"id": key} | {n: v for n, v in values.items() if n in _OTHERS or rng.random() < share})
            for key in keys[start : start + _SLICE]
        ]
        parsed = piped(stream, raw_slice(Part(some, stream.name, 0, step * messages + start)))
        begun = time.perf_counter()
        load(sink, parsed, "live", LoadContext(stream, "bench"))
        found += time.perf_counter() - begun
    return found


def measure(database: str, messages: int, rounds: int) -> Figures:
    """Rows a second of both tables, and the median ratio, case by case."""
    seconds: dict[str, dict[str, list[float]]] = {case: {kind: [] for kind in STREAMS} for case in CASES}
    with database_server(database) as server:
        for number in range(rounds):
            server.create_database(f"bench{number}")
            sink = open_sink(sa.make_url(server.url(f"bench{number}")))
            for stream in STREAMS.values():
                Target(stream, sink).pin({TopicPartition(stream.name, 0): 0})
            for case, (share, step) in CASES.items():
                for kind, stream in STREAMS.items():
                    seconds[case][kind].append(_seconds(sink, stream, messages, share, step))
            sink.close()
    return {
        case: {kind: messages / statistics.median(took) for kind, took in kinds.items()}
        | {"ratio": statistics.median(w / k for w, k in zip(kinds["whole"], kinds["kept"], strict=True))}
        for case, kinds in seconds.items()
    }


def main() -> None:
    options = loading_parser("kept_columns", __doc__, messages=200_000, rounds=3).parse_args()
    found = measure(options.database, options.messages, options.rounds)
    rows = [[case, f"{f['whole']:,.0f}", f"{f['kept']:,.0f}", f"{f['ratio']:.2f}"] for case, f in found.items()]
    print(table(["case", "whole rows/s", "kept rows/s", "ratio"], rows))
    write_json(options.json, found)


if __name__ == "__main__":
    main()
