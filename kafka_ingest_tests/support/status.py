"""A stream's status with something of everything."""

from __future__ import annotations

import datetime as dt

from kafka_ingest.cli.status_state import LoadedTotals, PartitionStatus, StreamStatus, TableRows

AT = dt.datetime(2026, 3, 1, 12, 0, 30, tzinfo=dt.timezone.utc)
PARTITIONS = (
    PartitionStatus("news", 0, 0, 1_500, 1_400, 1_400, 100, "ok"),
    PartitionStatus("news", 1, 10, 2_000, 2_000, 1_990, 0, "group_behind"),
    PartitionStatus("news", 2, 0, 7, None, None, 7, "new"),
)
STATUS = StreamStatus(
    stream="news",
    group_id="kafka_ingest",
    at=AT,
    partitions=PARTITIONS,
    missing_topics=("old_news",),
    loaded={"live": LoadedTotals(12, 3_300, 1, 90, 2, 7)},
    tables=(
        TableRows("information", 3_200, True),
        TableRows("announcement", 99_000_000, False),
        TableRows("later", None, True),
    ),
    dead_letters=90,
    last_batch_at=AT - dt.timedelta(seconds=30),
    last_run_id="5f0c",
    windows=2,
    first_window="2026-03-01-11:00",
    last_window="2026-03-01-12:00",
)
