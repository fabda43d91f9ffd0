"""A power cut that takes the end of a partition's log with it, as an unclean leader election does to a follower's readers."""

from __future__ import annotations

import struct

from kafka_ingest.local.kafka import LocalKafka


def cut_log(kafka: LocalKafka, topic: str, end: int, partition: int = 0) -> None:
    """Kill the broker, cut the partition's only segment before the record batch that begins at `end`, start again.

    The broker takes the leadership of the partition anew, so its leader epoch rises, as at every restart.
    """
    kafka.kill()
    segment = kafka.data_dir / "data" / f"{topic}-{partition}" / "00000000000000000000.log"
    data, at = segment.read_bytes(), 0
    while at < len(data):
        base, length = struct.unpack_from(">qi", data, at)
        if base == end:
            break
        at += 12 + length
    assert at < len(data), f"no record batch begins at {end}"
    with segment.open("r+b") as file:
        file.truncate(at)
    kafka.restart()
