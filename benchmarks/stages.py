"""Microseconds a message costs in each stage, on one core, against the target of 150,000 messages a second.

    python -m benchmarks.stages [--messages 200000] [--rounds 5] [--format json|avro|protobuf|…] [--explode] [--json FILE]

With `--explode` messages are orders of ten lines in JSON, each line a row, and the figures are those of a row.

Real Kafka; no database. A stage's time is that of its thread's processor (`time.thread_time`), so that what else runs on the
machine counts little; librdkafka's own threads are a line of their own. Medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks.command import Figures, table, write_json
from benchmarks.exploded import EXPLODED, LINES
from benchmarks.formats import FORMATS, Written, written
from benchmarks.messages import produce
from benchmarks.streams import STREAM
from kafka_ingest.cli.samples.producer import ensure_topic
from kafka_ingest.kafka.consumer import open_consumer
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.mysql import load_data_format
from kafka_ingest.slices import OffsetRange

TARGET_PER_SECOND = 150_000
EXPLODED_PER_SECOND = 300_000
"""Rows, of decoding them; the target of the three other stages is that of messages."""
STAGES = ("read", "decode and route", "translate and validate", "encode")
_OTHER = "librdkafka's threads"

T = TypeVar("T")


def _timed(times: dict[str, float], stage: str, call: Callable[[], T]) -> T:
    started = time.thread_time()
    try:
        return call()
    finally:
        times[stage] = times.get(stage, 0.0) + time.thread_time() - started


def one_pass(settings: Settings, messages: int, form: Written) -> dict[str, float]:
    """Processor seconds of each stage over the whole topic."""
    metadata = KafkaMetadata(settings)
    ends = metadata.ends(metadata.topics(STREAM).partitions)
    assert sum(ends.values()) == messages
    stream = form.stream
    decoder = StreamDecoder(stream, form.find_schemas)
    (target,) = stream.targets
    times: dict[str, float] = {}
    process = time.process_time()
    thread = time.thread_time()
    reader = RangeReader(open_consumer(settings, "stages"))
    reader.restart([OffsetRange(*tp, 0, end) for tp, end in ends.items()])
    policy = STREAM.batch
    while reader.remaining():
        raw = _timed(times, "read", partial(reader.read_slice, max_rows=policy.max_rows, max_bytes=policy.max_bytes))
        parsed = _timed(times, "decode and route", partial(decoder.decode, raw))
        done = _timed(times, "translate and validate", partial(run_pipeline, parsed, stream))
        _timed(times, "encode", partial(load_data_format.encode_rows, done.rows[target], target.columns))
    times[_OTHER] = (time.process_time() - process) - (time.thread_time() - thread)
    reader.close()
    return times


def measure(messages: int, rounds: int, form: Written, rows: int = 1) -> Figures:
    """Median microseconds a row of each stage, of messages that are so many, and rows a second of the four together."""
    with tempfile.TemporaryDirectory() as folder:
        kafka = LocalKafka.start(Path(folder) / "kafka", progress=print)
        try:
            settings = Settings.from_environment({"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers})
            topic = STREAM.topic_names[0]
            ensure_topic(settings, topic, 4)
            produce(kafka.bootstrap_servers, topic, messages, partitions=4, write=form.write)
            passes = [one_pass(settings, messages, form) for _ in range(rounds + 1)][1:]
        finally:
            kafka.stop()
    count = messages * rows
    cost = {stage: statistics.median(1e6 * p[stage] / count for p in passes) for stage in (*STAGES, _OTHER)}
    return {"us_per_message": cost, "per_second": 1e6 / sum(cost[stage] for stage in STAGES)}


def report(found: Figures) -> str:
    total, rate = sum(found["us_per_message"][s] for s in STAGES), found["per_second"]
    rows = [[stage, f"{cost:.2f}"] for stage, cost in found["us_per_message"].items()]
    rows.append(["**the four stages, one core**", f"**{total:.2f}**"])
    share = f"{rate:,.0f} messages a second, {rate / TARGET_PER_SECOND:.2f} × the target of {TARGET_PER_SECOND:,}"
    return f"{table(['stage', 'µs a message'], rows)}\n\n{share}"


def report_exploded(found: Figures) -> str:
    rows = [[stage, f"{cost:.2f}"] for stage, cost in found["us_per_message"].items()]
    decoded = 1e6 / found["us_per_message"]["decode and route"]
    share = f"{decoded / EXPLODED_PER_SECOND:.2f} × the target of {EXPLODED_PER_SECOND:,}"
    said = f"{decoded:,.0f} rows a second decoded, {share}; {found['per_second']:,.0f} through the four stages"
    return f"{table(['stage', 'µs a row'], rows)}\n\n{said}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages", description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--format", choices=sorted(FORMATS), default="json")
    parser.add_argument("--explode", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.explode:
        found = measure(options.messages // LINES, options.rounds, EXPLODED, LINES)
        print(report_exploded(found))
    else:
        found = measure(options.messages, options.rounds, written(options.format))
        print(report(found))
    write_json(options.json, found)


if __name__ == "__main__":
    main()
