"""The example asset: counts, converges, follows its input. And what topics' observations say."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from kafka_ingest.engine.stream_state import StreamState
from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka.metadata import TopicState, Watermarks
from kafka_ingest.ledger.positions import LedgerPosition
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.information_per_hour import count_hours, example_definitions, hours_of
from kafka_ingest.orchestration.topic_observations import TopicObserver
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.information import STREAM
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import NOW, Target
from kafka_ingest_tests.support.placed import environment_resources, placed

pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

SEVEN = "2026-01-01-07:00"
KEY = dg.AssetKey(["information", "information_per_hour"])


def item(number: int, source: str | None, *, minutes: int, original: bool = False) -> Msg:
    body: dict[str, Any] = {
        "type": "information",
        "id": f"n{number}",
        "title": "t",
        "publishTime": f"2026-01-01T0{number}:00Z",
    }
    body |= {"source": {"name": source}} if source else {}
    return Msg(body | ({"isOriginal": True} if original else {}), timestamp_ms=MORNING_MS + minutes * 60_000)


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    url = f"sqlite:///{tmp_path}/t.db"
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", url)
    found = Target(STREAM, SQLiteSink(sa.make_url(url)))
    found.pin({TopicPartition("information", 0): 0})
    messages = [
        item(1, "a", minutes=0, original=True),
        item(2, "a", minutes=59),
        item(3, None, minutes=30),
        item(4, "a", minutes=60),
    ]
    found.load(raw_slice(Part(messages, topic="information")))
    return found


def counted(target: Target) -> list[tuple[object, ...]]:
    return target.all("SELECT hour, source, items, originals, last_published FROM information_per_hour ORDER BY 1, 2")


SEVEN_ROWS = [
    ("2026-01-01 07:00:00.000000", "", 1, 0, "2026-01-01 03:00:00.000000"),
    ("2026-01-01 07:00:00.000000", "a", 2, 1, "2026-01-01 02:00:00.000000"),
]


def test_items_are_counted_per_source_and_hour_and_counting_again_changes_nothing(target: Target) -> None:
    hours = hours_of(STREAM, [SEVEN])
    assert count_hours(target.sink, hours) == 2
    assert counted(target) == SEVEN_ROWS
    count_hours(target.sink, hours)
    assert counted(target) == SEVEN_ROWS


def test_after_rows_are_gone_the_counts_follow(target: Target) -> None:
    count_hours(target.sink, hours_of(STREAM, [SEVEN]))
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM information WHERE source IS NULL")
    count_hours(target.sink, hours_of(STREAM, [SEVEN]))
    assert counted(target) == SEVEN_ROWS[1:]


def example(streams: list[Stream]) -> dg.Definitions:
    """The example with the resources it asks for."""
    return dg.Definitions.merge(example_definitions(streams), dg.Definitions(resources=dict(environment_resources())))


def test_the_asset_materializes_a_window_and_a_range_of_them(target: Target) -> None:
    definition = example([STREAM]).resolve_assets_def(KEY)
    result = dg.materialize([definition], partition_key=SEVEN)
    assert counted(target) == SEVEN_ROWS
    (event,) = result.asset_materializations_for_node(definition.node_def.name)
    assert event.metadata["rows"].value == 2
    tags = {
        "dagster/asset_partition_range_start": SEVEN,
        "dagster/asset_partition_range_end": "2026-01-01-08:00",
    }
    assert dg.materialize([definition], tags=tags).success
    assert len(counted(target)) == 3


def test_it_is_there_for_the_example_stream_only() -> None:
    assert list(example([MIXED]).resolve_all_asset_specs()) == []
    assert KEY in {spec.key for spec in example([MIXED, STREAM]).resolve_all_asset_specs()}


P = [TopicPartition("mixed", 0), TopicPartition("mixed2", 0)]


def look(high: int, position: int) -> StreamState:
    return StreamState(
        topics=TopicState(tuple(P), {}, ()),
        watermarks={tp: Watermarks(2, high + n) for n, tp in enumerate(P)},
        ledger={tp: LedgerPosition(position, None, NOW) for tp in P},
        starts={},
    )


def test_topics_are_observed_with_numbers_and_the_rate_since_the_last_look() -> None:
    clock = iter([0.0, 10.0, 12.0])
    observer = TopicObserver(placed(MIXED), look(10, 10), lambda: next(clock), lambda: NOW + dt.timedelta(seconds=7))
    one, two = observer.observations(look(30, 25))
    assert (one.asset_key.to_user_string(), two.asset_key.to_user_string()) == ("kafka/mixed", "kafka/mixed2")
    numbers = {name: value.value for name, value in two.metadata.items() if isinstance(value.value, int | float)}
    assert numbers == {
        "lag": 6,
        "end_offsets": 31,
        "messages_per_second": 2.0,
        "kafka_partitions": 1,
        "seconds_since_load": 7.0,
    }, "the age of what waits was not asked for"
    assert "| `mixed` | 0 | 2 | 30 | 25 | 5 |" in str(one.metadata["partitions"].value)
    (one, two) = observer.observations(look(30, 30), waits={P[1]: 3.21})
    assert one.metadata["messages_per_second"].value == one.metadata["oldest_waiting_seconds"].value == 0.0
    assert two.metadata["oldest_waiting_seconds"].value == 3.2


def test_a_users_own_assets_stand_beside_ours() -> None:
    @dg.asset(deps=[KEY])
    def report() -> None: ...

    both = dg.Definitions.merge(
        build_definitions([STREAM]), example_definitions([STREAM]), dg.Definitions(assets=[report])
    )
    dg.Definitions.validate_loadable(both)
    assert {KEY, dg.AssetKey("report")} <= {s.key for s in both.resolve_all_asset_specs()}


def test_columns_lead_back_to_the_fields_of_the_topic() -> None:
    both = dg.Definitions.merge(build_definitions([STREAM]), example_definitions([STREAM]))
    specs = {s.key.to_user_string(): s for s in both.resolve_all_asset_specs()}
    lineage = specs["information/information"].metadata["dagster/column_lineage"].deps_by_column
    (origin,) = lineage["source"]
    assert (origin.asset_key.to_user_string(), origin.column_name) == ("kafka/information", "source.name")
    (origin,) = specs["information/information_per_hour"].metadata["dagster/column_lineage"].deps_by_column["source"]
    assert origin.asset_key.to_user_string() == "information/information"
    assert specs["information/information"].freshness_policy is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"warn_dead_letter_ratio": 1.1},
        {"fresh_warn": dt.timedelta(hours=25)},
        {"fresh_warn": dt.timedelta(seconds=5)},
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        dataclasses.replace(STREAM, **wrong)


def test_a_topic_that_may_rest_has_no_freshness_policy() -> None:
    resting = build_definitions([dataclasses.replace(STREAM, fresh_fail=None)])
    specs = {s.key.to_user_string(): s for s in resting.resolve_all_asset_specs()}
    assert specs["information/information"].freshness_policy is None
