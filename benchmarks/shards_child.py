"""One shard's run, without Dagster: `NUMBER/COUNT` of the benchmark's stream, until caught up. For `benchmarks.shards`.

It loads the first quarter of its messages, says `ready`, waits for a line, loads the others, prints what these took as JSON. So
imports, connections and the growth of its memory, which a process pays once, are not counted.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import replace

from benchmarks import counting_sink
from benchmarks.streams import STREAM
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.engine.shards import Shard
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.settings import Settings
from kafka_ingest.slices import TopicPartition


class FirstQuarter(KafkaMetadata):
    """Tells that the logs end there."""

    def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: end // 4 for tp, end in super().ends(partitions).items()}


def main(text: str) -> None:
    assert counting_sink.CountingSink.backends  # registered
    settings = Settings.from_environment()
    run = Ingestion(STREAM, settings, run_id=f"shard {text}", shard=Shard.parse(text))
    batch = replace(run.plan((), "live"), until_caught_up=True)
    run.keep_lease()
    run.metadata, whole = FirstQuarter(settings), run.metadata
    first = sum(result.messages for result in run.drain(batch))
    run.metadata = whole
    print("ready", flush=True)
    sys.stdin.readline()
    began, used = time.time(), time.process_time()
    messages = sum(result.messages for result in run.drain(batch))
    ended, seconds = time.time(), time.process_time() - used
    found = {"messages": messages, "first": first, "began": began, "ended": ended, "cpu_seconds": seconds}
    print(json.dumps(found), flush=True)
    run.release_lease()
    run.close()


if __name__ == "__main__":
    main(sys.argv[1])
