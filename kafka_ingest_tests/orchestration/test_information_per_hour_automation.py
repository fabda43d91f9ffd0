"""When the example table's windows are asked for: after rows came, by few runs, and none is forgotten."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import dagster as dg
import pytest

from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.information_per_hour import MOST_RUNS, example_definitions
from kafka_ingest.orchestration.windows import partitions_of
from kafka_ingest.streams.information import STREAM

pytestmark = pytest.mark.slow

TABLE = dg.AssetKey(["information", "information"])
KEY = dg.AssetKey(["information", "information_per_hour"])
START = dt.datetime(2026, 3, 1, 8, 1, tzinfo=dt.timezone.utc)
WINDOWS = partitions_of(STREAM).get_partition_keys(current_time=START)


@cache
def definitions() -> dg.Definitions:
    """The stream's and the example's, made when a test asks: then the environment names a database."""
    return dg.Definitions.merge(build_definitions([STREAM]), example_definitions([STREAM]))


SEVEN = "2026-03-01-07:00"


class Sensor:
    """The automation sensor, one `tick` at a time, as Dagster evaluates it. The condition looks at materializations only,
    so that reported ones stand for the runs."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self._cursor: object = None
        assert self.tick(0) == set()

    def tick(self, minute: float) -> set[str]:
        """Windows asked for so many minutes after START."""
        result = dg.evaluate_automation_conditions(
            defs=definitions(),
            asset_selection=dg.AssetSelection.assets(KEY),
            instance=self.instance,
            evaluation_time=START + dt.timedelta(minutes=minute),
            cursor=self._cursor,  # type: ignore[arg-type]
        )
        self._cursor = result.cursor
        return {key for key in result.get_requested_partitions(KEY) if key is not None}

    def loaded(self, windows: Iterable[str]) -> None:
        """Rows came into these windows of the table."""
        for window in windows:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(TABLE, partition=window))

    def counted(self, windows: Iterable[str]) -> None:
        for window in windows:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=window))


@pytest.fixture
def sensor() -> Iterator[Sensor]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Sensor(instance)


def stretches(windows: set[str]) -> int:
    """Runs that Dagster makes of these: one for each unbroken row of them."""
    return sum(1 for n, key in enumerate(WINDOWS) if key in windows and (n == 0 or WINDOWS[n - 1] not in windows))


def test_a_window_that_got_rows_is_asked_for_at_the_next_five_minutes_once(sensor: Sensor) -> None:
    sensor.loaded([SEVEN])
    assert sensor.tick(1) == set()
    assert sensor.tick(5) == {SEVEN}
    sensor.counted([SEVEN])
    assert sensor.tick(10) == set()
    sensor.loaded([SEVEN])
    assert sensor.tick(15) == {SEVEN}


def test_a_few_scattered_windows_are_asked_for_alone(sensor: Sensor) -> None:
    scattered = set(WINDOWS[: 7 * MOST_RUNS : 7])
    assert stretches(scattered) == MOST_RUNS
    sensor.loaded(scattered)
    assert sensor.tick(5) == scattered


def test_very_many_scattered_windows_are_asked_for_at_once_by_few_runs(sensor: Sensor) -> None:
    scattered = set(WINDOWS[:360:3])
    assert stretches(scattered) == 120
    sensor.loaded(scattered)
    asked = sensor.tick(5)
    assert scattered <= asked
    assert stretches(asked) == MOST_RUNS
    sensor.counted(asked)
    assert sensor.tick(10) == set()
    assert sensor.tick(60) == set()


@pytest.mark.parametrize("looked_before_the_end", [False, True])
def test_rows_that_come_while_a_run_counts_are_counted_by_another(sensor: Sensor, looked_before_the_end: bool) -> None:
    sensor.loaded([SEVEN])
    assert sensor.tick(5) == {SEVEN}
    # The run has read the table; these come before it says that it is done.
    sensor.loaded([SEVEN])
    if looked_before_the_end:
        assert sensor.tick(5.5) == set()
    sensor.counted([SEVEN])
    assert sensor.tick(10) == {SEVEN}


def test_windows_whose_run_failed_are_asked_for_again_at_the_full_hour(
    sensor: Sensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor.loaded([SEVEN])
    assert sensor.tick(5) == {SEVEN}
    sensor.counted([SEVEN])
    definition = definitions().resolve_assets_def(KEY)

    def run(database: Path) -> bool:
        monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", f"sqlite:///{database}")
        return dg.materialize([definition], partition_key=SEVEN, instance=sensor.instance, raise_on_error=False).success

    assert not run(tmp_path / "without_tables.db")
    assert sensor.tick(10) == set()
    assert sensor.tick(60) == {SEVEN}
    sensor.counted([SEVEN])
    assert sensor.tick(120) == set()


def test_windows_never_counted_are_asked_for_at_the_full_hour(sensor: Sensor) -> None:
    sensor.loaded([SEVEN])
    assert sensor.tick(5) == {SEVEN}  # and the run was cancelled before it said anything
    assert sensor.tick(10) == set()
    assert sensor.tick(60) == {SEVEN}
