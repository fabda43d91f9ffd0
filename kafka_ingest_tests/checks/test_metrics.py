"""What a look at a stream exports: numbers that rows, log and ledger bear out."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import pytest

from kafka_ingest.checks.metric_families import FAMILIES, LAG, Sample
from kafka_ingest.checks.metrics import StreamMetrics
from kafka_ingest.errors import KafkaUnavailable, SchemaMismatch
from kafka_ingest.ledger.tables import LEDGER
from kafka_ingest.ledger.version import VERSION
from kafka_ingest.testing.target import NOW
from kafka_ingest_tests.support.cluster import FakeMessage
from kafka_ingest_tests.support.world import P0, STREAM, World, first_five

FIRST_STAMP = 1_767_250_800.0


def values(samples: list[Sample]) -> dict[str, float]:
    """By the text that stands in the exposition."""
    found = {f"{s.family.name[13:]}{{{','.join(s.labels)}}}": s.value for s in samples}
    assert len(found) == len(samples), "a sample comes twice"
    return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def metrics_of(world: World, *, has_partitions: bool = True, seconds_after: float = 30.0) -> StreamMetrics:
    now = dt.datetime.fromtimestamp(FIRST_STAMP + seconds_after, dt.timezone.utc)
    return StreamMetrics(
        STREAM,
        world.metadata,
        world.target.sink,
        world.settings,
        has_partitions=has_partitions,
        kafka_seconds=5.0,
        now=lambda: now,
        clock=lambda: 7.0,
    )


def test_before_the_first_run_everything_waits(world: World) -> None:
    found = values(metrics_of(world).look())
    assert found["lag_offsets{mixed}"] == 20
    assert found["partitions{mixed}"] == 2
    assert found["missing_topics{mixed}"] == 1  # mixed2
    assert 29 <= found["oldest_waiting_seconds{mixed}"] <= 30
    assert found["loads_total{mixed}"] == 0
    assert not [name for name in found if name.startswith(("last_load", "partition_next_offset"))]


def test_what_has_not_happened_yet_is_zero_so_that_its_first_time_is_a_rise(world: World) -> None:
    found = values(metrics_of(world).look())
    for name in ("offsets_total{mixed,lost,absent}", "offsets_total{mixed,live,dead_letter}"):
        assert found[name] == 0
    assert [name for name in found if "lost" in name] == ["offsets_total{mixed,lost,absent}"]
    assert found["rows_total{mixed,t_account,replay}"] == found["rows_total{mixed,t_event,live}"] == 0


def test_a_run_moves_every_number(world: World) -> None:
    metrics = metrics_of(world)
    metrics.look()
    world.logs[P0].messages[1] = FakeMessage(P0, 1, b"{", world.logs[P0].messages[1].stamp)
    first_five(world.run())
    found = values(metrics.look())
    loaded = {p: int(found[f"partition_next_offset{{mixed,mixed,{p}}}"]) for p in range(2)}
    assert found["lag_offsets{mixed}"] == 20 - sum(loaded.values()) == 15
    assert {p: found[f"partition_lag_offsets{{mixed,mixed,{p}}}"] for p in range(2)} == {
        0: 12 - loaded[0],
        1: 8 - loaded[1],
    }
    assert found["partition_log_start_offset{mixed,mixed,1}"] == 0
    assert found["partition_log_end_offset{mixed,mixed,1}"] == 8
    rows = len(world.names())
    assert found["offsets_total{mixed,live,row}"] == found["rows_total{mixed,t_event,live}"] == rows == 4
    assert found["offsets_total{mixed,live,dead_letter}"] == found["dead_letters_waiting{mixed}"] == 1
    assert found["last_load_timestamp_seconds{mixed,live}"] == NOW.timestamp()
    assert found["loads_total{mixed}"] == 2
    assert found["look_seconds{mixed}"] == 0


def test_where_nothing_waits_the_oldest_has_no_age(world: World) -> None:
    run = world.run()
    batch = dataclasses.replace(first_five(run), until_caught_up=True)
    list(run.drain(batch))
    found = values(metrics_of(world).look())
    assert found["lag_offsets{mixed}"] == 0
    assert found["oldest_waiting_seconds{mixed}"] == 0


def test_an_age_is_told_however_great_it_is(world: World) -> None:
    found = values(metrics_of(world, seconds_after=3 * 86_400).look())
    assert found["oldest_waiting_seconds{mixed}"] == 3 * 86_400


def test_partitions_may_be_left_out_and_the_streams_own_numbers_stay(world: World) -> None:
    first_five(world.run())
    every, fewer = (values(metrics_of(world, has_partitions=has).look()) for has in (True, False))
    assert fewer == {name: value for name, value in every.items() if not name.startswith("partition_")}
    assert len(every) - len(fewer) == 8


def test_a_cluster_or_a_ledger_that_cannot_be_read_is_an_error_of_ours(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.target.sink.engine.begin() as connection:
        connection.execute(LEDGER.update().values(version=99))
    with pytest.raises(SchemaMismatch, match="newer"):
        metrics_of(world).look()
    with world.target.sink.engine.begin() as connection:
        connection.execute(LEDGER.update().values(version=VERSION))

    def silent(*_arguments: object) -> None:
        raise KafkaUnavailable("silent")

    monkeypatch.setattr(world.metadata, "watermarks", silent)
    with pytest.raises(KafkaUnavailable):
        metrics_of(world).look()


def test_names_follow_the_conventions_of_prometheus() -> None:
    assert len({f.name for f in FAMILIES}) == len(FAMILIES)
    for each in FAMILIES:
        assert each.name.startswith("kafka_ingest_")
        assert each.name.endswith("_total") == (each.kind == "counter")
        assert not each.name.endswith(("_ms", "_milliseconds", "_minutes", "_count", "_sum", "_bucket", "_info"))
        assert ("timestamp" in each.name) <= each.name.endswith("_timestamp_seconds")


def test_a_sample_with_other_labels_than_its_metric_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kafka_ingest_lag_offsets has the labels \('stream',\)"):
        LAG.sample("a", "b", value=1)
