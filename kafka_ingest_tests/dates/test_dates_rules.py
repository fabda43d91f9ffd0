"""Rules of kafka_ingest.dates: day first, time zones and their clock changes, formats of your own."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from kafka_ingest.dates import DateRule, parse_dates
from kafka_ingest.errors import ConfigError
from kafka_ingest_tests.support.dates import EAST, HALF, MICRO, NOON, SECOND, read


def test_slashes_follow_day_first_and_dots_never_do() -> None:
    day_first = DateRule(day_first=True)
    assert read("01/02/2024") == "2024-01-02T00:00:00"
    assert read("01/02/2024", day_first) == "2024-02-01T00:00:00"
    assert read("31/1/2024 12:30", day_first) == "2024-01-31T12:30:00"
    assert read("2024/02/01", day_first) == "2024-02-01T00:00:00"
    assert read("01.02.2024") == read("01.02.2024", day_first) == "2024-02-01T00:00:00"
    assert "D/M/YYYY" in read("1/13/2024", day_first)
    assert "M/D/YYYY" in read("13/1/2024")


def test_a_wall_clock_is_in_the_rules_zone_and_a_zoned_value_or_an_epoch_is_not(machine_zone: str) -> None:
    shanghai = DateRule(timezone="Asia/Shanghai")
    for wall in ("2024-05-01 12:30:15", "20240501123015", 20240501123015, "2024年5月1日 12时30分15秒"):
        assert read(wall, shanghai) == EAST
    for fixed in ("2024-05-01T12:30:15Z", 1714566615, "1714566615123", 1714566615.0, "01 May 2024 12:30:15 GMT"):
        assert read(fixed, shanghai)[:19] == SECOND
    assert read("2024-05-01", shanghai) == "2024-04-30T16:00:00"


@pytest.mark.parametrize(
    ("zone", "wall", "instant"),
    [
        # skipped by spring forward: the distance is kept, as with the offset before the change
        ("America/New_York", "2024-03-10 02:30:00", "2024-03-10T07:30:00"),
        ("America/New_York", "2024-03-10 03:30:00", "2024-03-10T07:30:00"),
        ("America/New_York", "2024-03-10 01:59:60", "2024-03-10T07:00:00"),
        ("Australia/Lord_Howe", "2024-10-06 02:15:00", "2024-10-05T15:45:00"),
        ("America/Sao_Paulo", "2018-11-04 00:30:00", "2018-11-04T03:30:00"),
        # twice in autumn: the first
        ("America/New_York", "2024-11-03 01:30:00", "2024-11-03T05:30:00"),
        ("Europe/Berlin", "2024-10-27 02:30:00", "2024-10-27T00:30:00"),
        ("Australia/Lord_Howe", "2024-04-07 01:45:00", "2024-04-06T14:45:00"),
        # a day that never was, a rule far ahead, local mean time
        ("Pacific/Apia", "2011-12-30 12:00:00", "2011-12-30T22:00:00"),
        ("Europe/Berlin", "2525-07-01 12:00:00", "2525-07-01T10:00:00"),
        ("Asia/Shanghai", "1900-01-01 12:00:00", "1900-01-01T03:54:17"),
        ("Asia/Kathmandu", "2024-05-01 12:30:15", "2024-05-01T06:45:15"),
        ("Etc/UTC", "2024-05-01 12:30:15", SECOND),
        ("Asia/Shanghai", "9999-12-31 12:00:00", "9999-12-31T04:00:00"),
    ],
)
def test_clock_changes_are_read_as_python_reads_them_with_fold_0(
    zone: str, wall: str, instant: str, machine_zone: str
) -> None:
    assert read(wall, DateRule(timezone=zone)) == instant


def test_every_quarter_hour_of_two_years_agrees_with_zoneinfo() -> None:
    start = datetime(2023, 1, 1)
    walls = [start + timedelta(minutes=15 * at) for at in range(2 * 365 * 96)]
    for zone in ("America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"):
        info = ZoneInfo(zone)
        expected = [wall.replace(tzinfo=info).astimezone(timezone.utc).replace(tzinfo=None) for wall in walls]
        column = pd.Series([wall.strftime("%Y-%m-%d %H:%M") for wall in walls], dtype=object)
        got = parse_dates(column, DateRule(timezone=zone)).instants
        assert (got.to_numpy() == np.array(expected, dtype="M8[us]")).all()


@pytest.mark.parametrize(
    "zone", ["America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia", "Asia/Shanghai", "America/New_York"]
)
def test_the_day_of_every_quarter_hour_of_three_years_agrees_with_zoneinfo(zone: str) -> None:
    """Among them those whose clocks change at midnight, and one that left a day out."""
    start = datetime(2010, 1, 1, tzinfo=timezone.utc)
    instants = [start + timedelta(minutes=15 * at) for at in range(3 * 365 * 96)]
    expected = [instant.astimezone(ZoneInfo(zone)).date() for instant in instants]
    column = pd.Series([int(instant.timestamp()) for instant in instants])
    got = parse_dates(column, DateRule(timezone=zone, is_date=True)).instants
    assert (got.to_numpy() == np.array(expected, dtype="M8[us]")).all()


@pytest.mark.parametrize(
    ("formats", "value", "instant"),
    [
        (("%d-%m-%y",), "01-05-24", NOON),
        (("%d-%m-%y",), "1-5-69", "1969-05-01T00:00:00"),
        (("%Y%m%d%H",), 2024050112, "2024-05-01T12:00:00"),
        (("%Y%m%d%H",), 2024050112.0, "2024-05-01T12:00:00"),
        (("%y%m%d",), 240501, NOON),
        (("%Y",), "2024", "2024-01-01T00:00:00"),
        (("%Y-%j",), "2024-122", NOON),
        (("%Y-%j",), "2024-366", "2024-12-31T00:00:00"),
        (("%d %B %Y %I:%M:%S %p",), "1 may 2024 12:30:15 PM", SECOND),
        (("%I:%M %Y-%m-%d",), "12:30 2024-05-01", "2024-05-01T00:30:00"),
        (("%A %d. %b %Y",), "Wednesday 1. May 2024", NOON),
        (("%H:%M:%S.%f %d/%m/%Y",), "12:30:15.123456789 01/05/2024", MICRO),
        (("%Y-%m-%dT%H:%M:%SZ",), "2024-05-01T12:30:15Z", SECOND),
        (("at %H h, %d|%m|%Y %%",), "AT 12 h,   01|05|2024 %", "2024-05-01T12:00:00"),
        (("%Yé%m学%d",), "2024é05学01", NOON),
        (("%d/%m/%Y %H:%M %z",), "01/05/2024 12:30 +0800", "2024-05-01T04:30:00"),
        (("%d/%m/%Y %H:%M %z",), "01/05/2024 12:30 Z", HALF),
        # in their order, row by row; then the built-in forms
        (("%d/%m/%Y", "%m/%d/%Y"), "01/02/2024", "2024-02-01T00:00:00"),
        (("%d/%m/%Y", "%m/%d/%Y"), "01/13/2024", "2024-01-13T00:00:00"),
        (("%d/%m/%Y",), "01/13/2024", "2024-01-13T00:00:00"),
        (("%d/%m/%Y",), "2024-05-01T12:30:15+08:00", EAST),
        (("%Y%d%m",), "20240105", NOON),
        (("%Y%d%m",), 1714566615, SECOND),
        (("%Y%d%m",), 1714566615.5, "2024-05-01T12:30:15.500000"),
    ],
)
def test_formats_come_first(formats: tuple[str, ...], value: object, instant: str, machine_zone: str) -> None:
    assert read(value, DateRule(formats=formats)) == instant


def test_a_format_is_strict_and_named_in_the_error() -> None:
    rule = DateRule(formats=("%d|%m|%Y",))
    assert "accepted: %d|%m|%Y, ISO 8601" in read("31|02|2024", rule)
    assert read("x01|02|2024", rule).startswith("error")
    assert read("152024 x", DateRule(formats=("%d%m%Y x",))).startswith("error")
    assert read("2024-366", DateRule(formats=("%Y-%j",))) == "2024-12-31T00:00:00"
    assert read("2023-366", DateRule(formats=("%Y-%j",))).startswith("error")
    assert read("9999-366", DateRule(formats=("%Y-%j",))).startswith("error")
    assert read("2023-000", DateRule(formats=("%Y-%j",))).startswith("error")


def test_a_format_without_zone_is_a_wall_clock_and_one_with_zone_is_not() -> None:
    rule = DateRule(formats=("%d|%m|%Y %H:%M", "%d|%m|%Y %H:%M%z"), timezone="Asia/Kathmandu")
    assert read("01|05|2024 12:30", rule) == "2024-05-01T06:45:00"
    assert read("01|05|2024 12:30+0100", rule) == "2024-05-01T11:30:00"


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            {"timezone": name}
            for name in ("Mars/Olympus", "", "../etc/passwd", "/etc/passwd", "America", "\0", None, 8)
        ),
        *(
            {"formats": (text,)}
            for text in ("", "Y-m-d", "%Y %", "%Y %Q", "%Y %c", "%Y %z %Z %Z", "%Y %U", "%Y%Y", "%H:%M", "%b %B %Y")
        ),
        {"formats": (None,)},
        {"formats": (5,)},
        {"formats": ([],)},
        {"formats": "%Y-%m-%d"},
        {"formats": ["%Y-%m-%d"]},
        {"day_first": "yes"},
        *({"unit": unit} for unit in ("day", "seconds", "S", "", 0)),
        *(
            {"zones": (pair,)}
            for pair in (("CST", "+8"), ("CST", "China"), ("CST", "+24:00"), ("CST", None), ("CST", ""))
        ),
        *({"zones": (pair,)} for pair in (("C", "+08:00"), ("+08", "+08:00"), ("", "+08:00"), (8, "+08:00"))),
    ],
    ids=repr,
)
def test_a_rule_that_cannot_work_is_refused_when_it_is_made(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"(?s).{20}"):
        DateRule(**arguments)
