"""Of several messages for one business key in a slice, the newest counts."""

from __future__ import annotations

import pandas as pd

from kafka_ingest.streams.model import KAFKA_COLUMNS
from kafka_ingest.streams.target import TargetTable

# Stands for a missing Kafka timestamp in comparisons: older than every real one.
NO_TIMESTAMP = pd.Timestamp("1000-01-01").as_unit("us")


def newest_per_key(
    target: TargetTable, rows: pd.DataFrame | None, deletes: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to upsert and keys to delete, each business key in at most one of the two.

    Newer means: a higher offset in one Kafka partition; between partitions a later Kafka timestamp, then the higher
    topic, partition and offset. (UpsertModel gives the reasons.)
    """
    keys = list(target.key)
    columns = [*keys, *KAFKA_COLUMNS]
    if rows is not None and (deletes is None or not len(deletes)) and not rows.duplicated(keys).any():
        return rows, pd.DataFrame(columns=columns)
    parts = [f[columns].assign(_is_delete=d) for f, d in ((rows, False), (deletes, True)) if f is not None]
    # Message numbers rise with the offset within a partition, and a message is in one frame only.
    positions = pd.concat([p.astype(dict.fromkeys(columns, object)) for p in parts]).sort_index()
    last = positions[~positions.duplicated(keys, keep="last")]
    moved = positions.groupby(keys, sort=False)[["_kafka_topic", "_kafka_partition"]].nunique().max(axis=1)
    if len(moved) and moved.max() > 1:
        last = _newest_across_partitions(positions, keys)
    is_delete = last["_is_delete"].astype(bool)
    kept_rows = rows.loc[last.index[~is_delete]] if rows is not None else pd.DataFrame(columns=columns)
    kept_deletes = deletes.loc[last.index[is_delete]] if deletes is not None else pd.DataFrame(columns=columns)
    return kept_rows, kept_deletes


def _newest_across_partitions(positions: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """First the last of each key in each partition, then the latest of these."""
    partition = ["_kafka_topic", "_kafka_partition"]
    each = positions[~positions.duplicated([*keys, *partition], keep="last")]
    stamps = each["_kafka_timestamp"].astype("datetime64[us]").fillna(NO_TIMESTAMP)
    order = each.assign(_stamp=stamps).sort_values(["_stamp", *partition, "_kafka_offset"], kind="stable")
    return each.loc[order[~order.duplicated(keys, keep="last")].index].sort_index()


def newer_sql(one: str, other: str) -> str:
    """SQL for the same rule: row `one` is strictly newer than row `other`. Works on MySQL, MariaDB and SQLite."""

    def position(row: str) -> str:
        stamp = f"COALESCE({row}._kafka_timestamp, '{NO_TIMESTAMP:%Y-%m-%d %H:%M:%S}')"
        return f"({stamp}, {row}._kafka_topic, {row}._kafka_partition, {row}._kafka_offset)"

    return (
        f"CASE WHEN {one}._kafka_topic = {other}._kafka_topic AND {one}._kafka_partition = {other}._kafka_partition "
        f"THEN {one}._kafka_offset > {other}._kafka_offset ELSE {position(one)} > {position(other)} END"
    )
