"""Messages through the pipeline without Kafka."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kafka_ingest.cli.samples.messages import SampleMessage
from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.slices import OffsetRange, RawSlice
from kafka_ingest.streams.information import STREAM


def run_messages(messages: Sequence[SampleMessage]) -> ParsedSlice:
    """The messages as one slice of topic `information`, decoded, translated and validated."""
    count = len(messages)
    raw = RawSlice(
        ranges=(OffsetRange("information", 0, 0, count),),
        range_index=np.zeros(count, dtype=np.int32),
        offsets=np.arange(count, dtype=np.int64),
        timestamps_ms=np.full(count, 1_772_352_000_000, dtype=np.int64),
        keys=[m.key for m in messages],
        values=[m.value for m in messages],
        headers=[m.headers for m in messages],
        absent=(0,),
    )
    return run_pipeline(StreamDecoder(STREAM).decode(raw), STREAM)
