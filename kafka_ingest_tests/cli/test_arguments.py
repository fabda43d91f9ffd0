"""Arguments are checked before anything is connected to."""

from __future__ import annotations

import datetime as dt

import click
import pytest
from click.testing import CliRunner

from kafka_ingest.cli.ingest import run_config
from kafka_ingest.cli.main import cli
from kafka_ingest.cli.options import RangeType, streams_named
from kafka_ingest.cli.produce import TimestampsType
from kafka_ingest.cli.samples.producer import timestamps_spread, topic_of
from kafka_ingest.errors import ConfigError
from kafka_ingest.slices import OffsetRange
from kafka_ingest.streams.information import STREAM


def test_a_range_is_topic_partition_start_and_exclusive_end() -> None:
    assert RangeType().convert("news.eu-1_x:12:100-200", None, None) == OffsetRange("news.eu-1_x", 12, 100, 200)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "news",
        "news:0",
        "news:0:5",
        "news:0:9-5",
        "news:0:5-5",
        "news:-1:0-5",
        "news:0:-5-9",
        "news:a:0-5",
        "n ws:0:0-5",
        ":0:0-5",
        "news:0:0-5:x",
        "news:0:1-99999999999999999999",
    ],
)
def test_what_is_no_range_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        RangeType().convert(text, None, None)
    assert repr(text) in str(caught.value) or "partition" in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["produce", "--rate", "-1"],
        ["produce", "--count", "0"],
        ["produce", "--bad-ratio", "1.1"],
        ["produce", "--partitions", "0"],
        ["produce", "--timestamps", "yesterday"],
        ["produce", "--timestamps", "spread:-1"],
        ["produce", "--timestamps", "spread:nan"],
        ["status", "--interval", "0"],
        ["ingest"],
        ["ingest", "information", "--range", "nonsense"],
        ["ingest", "information", "--kind", "backfill"],
        ["ingest", "information", "--kind", "lost"],
        ["ingest", "information", "--range", "information:0:0-5", "--until-caught-up"],
        ["demo", "--rate", "0"],
        ["demo", "--port", "80"],
        ["demo", "--kafka", "redpanda"],
        ["demo", "--database", "oracle"],
        ["demo", "--seconds", "0"],
    ],
)
def test_arguments_out_of_bounds_are_usage_errors(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2, result.output
    assert "Usage:" in result.output


@pytest.mark.parametrize(
    ("arguments", "value", "bound"),
    [
        (["produce", "--rate", "-1"], "-1.0", "0<=x<=1000000"),
        (["produce", "--rate", "nan"], "nan", "0<=x<=1000000"),
        (["produce", "--rate", "inf"], "inf", "0<=x<=1000000"),
        (["produce", "--count", "0"], "0", "1<=x<=1000000000000"),
        (["produce", "--count", "9" * 30], "9" * 30, "1<=x<=1000000000000"),
        (["produce", "--bad-ratio", "1.1"], "1.1", "0<=x<=1"),
        (["produce", "--bad-ratio", "NaN"], "nan", "0<=x<=1"),
        (["produce", "--partitions", "1001"], "1001", "1<=x<=1000"),
        (["produce", "--timestamps", "spread:nan"], "'spread:nan'", "up to 8784 hours"),
        (["produce", "--timestamps", "spread:9999"], "'spread:9999'", "up to 8784 hours"),
        (["status", "--interval", "nan"], "nan", "0.2<=x<=3600"),
        (["demo", "--rate", "nan"], "nan", "0.1<=x<=100000"),
        (["demo", "--seconds", "nan"], "nan", "x>=1"),
        (["demo", "--port", "80"], "80", "1024<=x<=65535"),
        (["dead-letters", "list", "--limit", "0"], "0", "1<=x<=100000"),
        (["dead-letters", "list", "--partition", "-1"], "-1", "0<=x<=2147483647"),
        (["dead-letters", "replay", "--partition", str(2**31)], str(2**31), "0<=x<=2147483647"),
        (["dead-letters", "replay", "--limit", str(2**63)], str(2**63), f"1<=x<={2**63 - 1}"),
        (["trace", "--limit", "1001", "a"], "1001", "1<=x<=1000"),
        (["find", "--limit", "1001", "a", "b"], "1001", "1<=x<=1000"),
        (["find", "--last", "0", "a", "b"], "0", f"1<=x<={2**63 - 1}"),
    ],
)
def test_a_number_out_of_range_is_refused_with_field_value_and_bound(
    arguments: list[str], value: str, bound: str
) -> None:
    field = next(each for each in arguments if each.startswith("--"))
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2, result.output
    refusal = next(line for line in result.output.splitlines() if line.startswith("Error: "))
    assert field in refusal
    assert value in refusal
    assert bound in refusal


def test_an_unknown_stream_is_named_with_those_that_are_declared() -> None:
    with pytest.raises(ConfigError, match=r"no stream is named 'nope'; declared: .*information"):
        streams_named("nope")
    assert streams_named("information") == {"information": STREAM}


def test_timestamps_are_now_or_spread_over_hours() -> None:
    assert TimestampsType().convert("now", None, None) == 0.0
    assert TimestampsType().convert("spread:1.5", None, None) == 1.5


def test_spread_timestamps_rise_where_the_count_is_known_and_stay_in_the_span() -> None:
    now = dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc)
    end = int(now.timestamp() * 1000)
    rising = timestamps_spread(2, count=100, seed=1, now=now)
    stamps = [rising(n) for n in range(100)]
    assert stamps == sorted(stamps)
    assert stamps[0] == end - 7_200_000
    assert stamps[-1] < end
    mixed = timestamps_spread(2, count=None, seed=1, now=now)
    assert all(end - 7_200_000 <= mixed(n) < end for n in range(100))


def test_the_topic_is_the_streams_unless_another_is_named() -> None:
    assert topic_of(STREAM, None) == "information"
    assert topic_of(STREAM, "other") == "other"


def test_the_run_config_is_the_sensors_with_until_caught_up_and_a_quiet_log() -> None:
    config = run_config(STREAM, (OffsetRange("information", 0, 5, 9),), "live", True, verbose=False)
    assert config["ops"]["information"]["ops"]["plan"]["config"] == {
        "kind": "live",
        "ranges": [{"topic": "information", "partition": 0, "start": 5, "end": 9}],
        "until_caught_up": True,
    }
    assert config["loggers"]["console"]["config"]["log_level"] == "CRITICAL"
