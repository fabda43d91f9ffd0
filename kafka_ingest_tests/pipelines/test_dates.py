"""Every form and rule of kafka_ingest.pipelines.dates, one row of a table each."""

from __future__ import annotations

import enum
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kafka_ingest.errors import ConfigError
from kafka_ingest.pipelines.dates import DateRule, translate

UTC = DateRule()
MACHINE_ZONES = ["UTC", "Asia/Shanghai", "America/New_York", "Australia/Lord_Howe"]


@pytest.fixture(params=MACHINE_ZONES)
def machine_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The machine's own zone, which must never matter."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


def read(value: object, rule: DateRule = UTC) -> str:
    """The instant of one value as ISO text, or the error."""
    translated = translate(pd.Series([value], dtype=object), rule)
    assert translated.instants.dtype == "datetime64[us]"
    if len(translated.errors):
        assert translated.instants.isna().all()
        return f"error: {translated.errors.iloc[0]}"
    instant = translated.instants.iloc[0]
    return "NaT" if pd.isna(instant) else str(instant.isoformat())


NOON, HALF = "2024-05-01T00:00:00", "2024-05-01T12:30:00"
SECOND, MICRO, EAST = "2024-05-01T12:30:15", "2024-05-01T12:30:15.123456", "2024-05-01T04:30:15"

FORMS: list[tuple[object, str]] = [
    # ISO 8601
    ("2024-05-01", NOON),
    ("2024-5-1", NOON),
    ("2024-05-01T12:30", HALF),
    ("2024-05-01T12:30Z", HALF),
    ("2024-05-01t12:30:15z", SECOND),
    ("2024-05-01T12:30:15", SECOND),
    ("2024-05-01 12:30:15", SECOND),
    ("2024-05-01  12:30:15", SECOND),
    ("2024-05-01 9:30", "2024-05-01T09:30:00"),
    ("2024-05-01T12:30:15.1", "2024-05-01T12:30:15.100000"),
    ("2024-05-01T12:30:15,123", "2024-05-01T12:30:15.123000"),
    ("2024-05-01T12:30:15.123456", MICRO),
    ("2024-05-01T12:30:15.1234569", MICRO),
    ("2024-05-01T12:30:15.123456999Z", MICRO),
    ("2024-05-01T12:30:15+08:00", EAST),
    ("2024-05-01T12:30:15+0800", EAST),
    ("2024-05-01T12:30:15+08", EAST),
    ("2024-05-01 12:30:15 +08:00", EAST),
    ("2024-05-01T12:30:15.123456789-05:30", "2024-05-01T18:00:15.123456"),
    ("2024-05-01T12:30:15-0000", SECOND),
    ("2024-05-01 12:30:15 UTC", SECOND),
    ("20240501T123015", SECOND),
    ("20240501T123015.5Z", "2024-05-01T12:30:15.500000"),
    ("20240501T1230+0800", "2024-05-01T04:30:00"),
    ("20240501 12:30:15", SECOND),
    # slashes and dots
    ("2024/05/01", NOON),
    ("2024/5/1 12:30", HALF),
    ("2024/05/01 12:30:15.123456", MICRO),
    ("5/1/2024", NOON),
    ("05/01/2024 12:30:15", SECOND),
    ("5/1/2024 12:30 PM", HALF),
    ("5/1/2024 12:30 AM", "2024-05-01T00:30:00"),
    ("5/1/2024 1:30:15pm", "2024-05-01T13:30:15"),
    ("2024.05.01 12:30:15", SECOND),
    ("01.05.2024", NOON),
    ("1.5.2024 12:30", HALF),
    # compact
    ("20240501", NOON),
    ("202405011230", HALF),
    ("20240501123015", SECOND),
    ("20240501123015.123456", MICRO),
    (20240501, NOON),
    (202405011230, HALF),
    (20240501123015, SECOND),
    (20240501.0, NOON),
    ("20240501.0", NOON),
    (19000101, "1900-01-01T00:00:00"),
    (21001231, "2100-12-31T00:00:00"),
    # Chinese
    ("2024年5月1日", NOON),
    ("2024年05月01号", NOON),
    ("2024年5月1日 12时30分", HALF),
    ("2024年5月1日12時30分15秒", SECOND),
    ("2024年05月01日12:30", HALF),
    ("2024年05月01日 12:30:15.123456", MICRO),
    ("2024年5月1日 上午9:30", "2024-05-01T09:30:00"),
    ("2024年5月1日 下午1点", "2024-05-01T13:00:00"),
    ("2024年5月1日上午12时5分", "2024-05-01T00:05:00"),
    ("２０２４－０５－０１　１２：３０：１５", SECOND),
    # RFC 2822 and English
    ("Wed, 01 May 2024 12:30:15 +0800", EAST),
    ("Wed, 1 May 2024 12:30:15 GMT", SECOND),
    ("01 May 2024 12:30:15 -0000", SECOND),
    ("01 May 2024 12:30 UT", HALF),
    ("01 MAY 2024 08:30:15 edt", SECOND),
    ("Wed, 01 May 2024 05:30:15 PDT", SECOND),
    ("Wed, 01 May 2024 06:30:15 CST", SECOND),
    ("Wed, 01 May 2024 12:30:15 +0800 (China Standard Time)", EAST),
    ("May 1, 2024 12:30", HALF),
    ("may 1 2024", NOON),
    ("Wednesday, May 1, 2024 12:30 PM", HALF),
    ("1 May 2024", NOON),
    ("01-May-2024 12:30:15", SECOND),
    ("Sept. 5, 2024", "2024-09-05T00:00:00"),
    ("29 February 2024", "2024-02-29T00:00:00"),
    # epochs
    (1714566615, SECOND),
    ("1714566615", SECOND),
    (1714566615123, "2024-05-01T12:30:15.123000"),
    ("1714566615123", "2024-05-01T12:30:15.123000"),
    (1714566615123456, MICRO),
    ("1714566615123456", MICRO),
    (1714566615123456789, MICRO),
    ("1714566615123456789", MICRO),
    (1714566615.123456, MICRO),
    ("1714566615.123456", MICRO),
    ("1714566615.123456999", MICRO),
    ("1714566615.1234569999999", MICRO),
    (1714566615123.456, MICRO),
    ("1714566615123.4569", MICRO),
    (1714566615000.0, SECOND),
    ("+1714566615", SECOND),
    (0, "1970-01-01T00:00:00"),
    ("0", "1970-01-01T00:00:00"),
    (-1, "1969-12-31T23:59:59"),
    ("-1.5", "1969-12-31T23:59:58.500000"),
    (-1.5, "1969-12-31T23:59:58.500000"),
    ("-0.0000001", "1969-12-31T23:59:59.999999"),
    (-1714566615123, "1915-09-02T11:29:44.877000"),
    (-123456789012345678, "1966-02-02T02:26:50.987654"),
    (-20240501, "1969-05-11T17:38:19"),
    # the limits between the units
    (99_999_999_999, "5138-11-16T09:46:39"),
    (100_000_000_000, "1973-03-03T09:46:40"),
    (99_999_999_999_999, "5138-11-16T09:46:39.999000"),
    (100_000_000_000_000, "1973-03-03T09:46:40"),
    (99_999_999_999_999_999, "5138-11-16T09:46:39.999999"),
    (100_000_000_000_000_000, "1973-03-03T09:46:40"),
    (2**63 - 1, "2262-04-11T23:47:16.854775"),
    # the limits of a compact date
    (18_999_999, "1970-08-08T21:46:39"),
    (21_010_000, "1970-09-01T04:06:40"),
    # instants that do not exist on a 24-hour clock but are written
    ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00"),
    ("2016-12-31T23:59:60.999Z", "2017-01-01T00:00:00"),
    ("2024-05-01T24:00:00", "2024-05-02T00:00:00"),
    (20241231240000, "2025-01-01T00:00:00"),
    # white space
    (" \t2024-05-01T12:30:15Z\r\n", SECOND),
    ("\u30002024-05-01\u00a0", NOON),
    # the ends of the range
    ("1000-01-01", "1000-01-01T00:00:00"),
    ("9999-12-31T23:59:59.999999", "9999-12-31T23:59:59.999999"),
    ("0999-12-31T20:00:00-05:00", "1000-01-01T01:00:00"),
]


@pytest.mark.parametrize(("value", "instant"), FORMS, ids=[repr(value) for value, _ in FORMS])
def test_a_form_is_read(value: object, instant: str) -> None:
    assert read(value) == instant


def test_all_forms_are_read_in_one_column_wherever_the_machine_is(machine_zone: str) -> None:
    column = pd.Series([value for value, _ in FORMS], dtype=object)
    translated = translate(column)
    assert [instant.isoformat() for instant in translated.instants] == [instant for _, instant in FORMS]
    assert translated.errors.empty


@pytest.mark.parametrize(
    "value", [None, np.nan, pd.NA, pd.NaT, "", "   ", "\t\n", "\u3000", "\u00a0", np.float32("nan")]
)
def test_what_is_missing_is_no_error(value: object) -> None:
    assert read(value) == "NaT"


@pytest.mark.parametrize(
    "value",
    [
        *("2024-02-30", "2023-02-29", "2024-13-01", "2024-00-10", "2024-05-00", "0000-00-00", "0000-00-00 00:00:00"),
        *(
            "2024-05-01T25:00",
            "2024-05-01T24:00:01",
            "2024-05-01T12:60",
            "2024-05-01T12:30:61",
            "2024-05-01T12:30+24:00",
        ),
        *(
            "2024-05-01T12:30+08:60",
            "2024-05-01X12:30",
            "13/1/2024",
            "1.13.2024",
            "2024年2月30日",
            "2024年5月1日下午13:30",
            "2024年5月1日24时1分",
        ),
        *("1 Foo 2024", "Foo, 1 May 2024", "1 May 2024 12:30 XYZ", "5/1/2024 13:30 PM", "5/1/2024 0:30 AM"),
        *("20240230", 20240230, 20240230.0, "202405012530", 202405012530, "20240501126000", 20240501.5, "20240501.5"),
        *("00000000", "0001", "-00"),
    ],
)
def test_what_looks_like_a_date_but_cannot_be_one_is_an_error(value: object) -> None:
    assert "does not exist; accepted: ISO 8601" in read(value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "hello",
            "12:30",
            "2024-05",
            "24-05-01",
            "05/01/24",
            "2024-05-01T",
            "2024-05-01T12:30:15.",
            "T12:30",
            "٢٠٢٤-٠٥-٠١",
        ),
        *(
            "2024-05-01T12:30:15.1234567890",
            "2024\x0005-01",
            "2024\u00f85\u00f91",
            "2024-05-01;",
            "1e9",
            "1_000",
            "--1",
        ),
        *("12345678901234567890", "x" * 200, "2024-05-01" + " " * 200 + "12:30", "\ud800", "²0240501", "2024年", "GMT"),
    ],
)
def test_other_text_is_an_error(value: str) -> None:
    assert "is not in a form that is read; accepted: ISO 8601" in read(value)


def test_an_object_that_raises_at_every_touch_is_an_error() -> None:
    assert read(Hostile()).startswith("error: <Hostile> is neither text nor a number")
    assert "is neither text nor a number" in read([Hostile()])


class Colour(enum.Enum):
    RED = "2024-05-01"


class Day(enum.IntEnum):
    FIRST = 20240501


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    @property
    def __class__(self) -> Any:
        raise RuntimeError("no")

    @__class__.setter
    def __class__(self, value: Any) -> None: ...


@pytest.mark.parametrize(
    "value",
    [
        *(True, False, np.True_, {}, [], {"a": 1}, ["2024-05-01"], (1,), b"2024-05-01", object),
        *(date(2024, 5, 1), datetime(2024, 5, 1, tzinfo=timezone.utc), Decimal(1714566615), Colour.RED, 1j),
        *(pd.Timestamp("2024-05-01"), np.datetime64("2024-05-01"), np.array([1, 2])),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_neither_text_nor_a_number_is_an_error(value: object) -> None:
    assert "is neither text nor a number" in read(value)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("0999-12-31T23:59:59", UTC),
        ("0001-01-01", UTC),
        ("1000-01-01T00:00:00+08:00", UTC),
        ("9999-12-31T23:59:59-00:01", UTC),
        ("9999-12-31T24:00:00", UTC),
        ("1000-01-01", DateRule(timezone="Asia/Shanghai")),
        ("9999-12-31T23:00:00", DateRule(timezone="America/New_York")),
        (-99_999_999_999, UTC),
        (float("inf"), UTC),
        (float("-inf"), UTC),
        (1e300, UTC),
        (2**63, UTC),
        (-(2**63), UTC),
        (10**30, UTC),
        (10**5000, UTC),
        (10**5000, DateRule(formats=("%Y",))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_instant_a_mysql_datetime_cannot_hold_is_an_error(value: object, rule: DateRule) -> None:
    assert "is outside the years 1000 to 9999 in UTC" in read(value, rule)


def test_subclasses_of_text_and_numbers_are_read_as_what_they_are() -> None:
    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise RuntimeError("no")

    values: list[object] = [
        Text("2024-05-01"),
        np.str_("2024-05-01"),
        np.int64(20240501),
        np.int32(20240501),
        np.float64(20240501),
        Day.FIRST,
    ]
    assert [read(value) for value in values] == [NOON] * len(values)


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
        got = translate(column, DateRule(timezone=zone)).instants
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
            for text in ("", "Y-m-d", "%Y %", "%Y %Q", "%Y %c", "%Y %Z", "%Y %U", "%Y%Y", "%H:%M", "%b %B %Y")
        ),
        {"formats": (None,)},
        {"formats": (5,)},
        {"formats": ([],)},
        {"formats": "%Y-%m-%d"},
        {"formats": ["%Y-%m-%d"]},
        {"day_first": "yes"},
    ],
    ids=repr,
)
def test_a_rule_that_cannot_work_is_refused_when_it_is_made(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"(?s).{20}"):
        DateRule(**arguments)


def test_an_error_shows_the_value_cut_to_80_characters() -> None:
    for long in ("x" * 1_000, "\n" * 1_000, list(range(1_000)), b"x" * 1_000, "年" * 1_000):
        shown = read(long).removeprefix("error: ").partition(" is n")[0]
        assert len(shown) <= 80
    assert read("x" * 1_000).startswith("error: 'xxxx")
    assert "…" in read("x" * 1_000)[:100]
    assert "…" not in read("x" * 78)[:100]


def test_results_keep_order_index_and_name_and_the_input_is_untouched() -> None:
    values = ["2024-05-01", "bad", None, 20240230, np.int64(1714566615), "5/1/2024"]
    column = pd.Series(values, index=[9, 4, 7, 1, 0, 3], name="created", dtype=object)
    before = column.copy(deep=True)
    translated = translate(column)
    assert translated.instants.index.tolist() == [9, 4, 7, 1, 0, 3]
    assert translated.instants.isna().tolist() == [False, True, True, True, False, False]
    assert translated.errors.index.tolist() == [4, 1]
    assert translated.errors.dtype == object
    assert all(type(error) is str for error in translated.errors)
    assert translated.instants.name == translated.errors.name == "created"
    pd.testing.assert_series_equal(column, before)
    assert [type(value) for value in column] == [type(value) for value in values]


def test_labels_may_be_text_or_occur_twice() -> None:
    translated = translate(pd.Series(["bad", "2024-05-01", "worse"], index=["a", "a", "b"], dtype=object))
    assert translated.errors.index.tolist() == ["a", "b"]
    assert translated.instants.isna().tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", ["object", "string", "string[python]", "int64", "float64"])
def test_an_empty_column_gives_empty_results(dtype: str) -> None:
    translated = translate(pd.Series([], dtype=dtype))
    assert translated.instants.dtype == "datetime64[us]"
    assert len(translated.instants) == len(translated.errors) == 0
    assert translated.errors.dtype == object


@pytest.mark.parametrize(
    "dtype",
    ["object", "string", "string[python]", "string[pyarrow]", "str", "category", pd.ArrowDtype(pa.string())],
    ids=str,
)
def test_every_kind_of_text_column_reads_the_same(dtype: Any) -> None:
    texts = [value for value, _ in FORMS if isinstance(value, str)] + ["bad", "", "2024-02-30"]
    column = pd.Series([*texts, None], dtype=dtype, index=range(5, len(texts) + 6))
    expected = translate(pd.Series([*texts, None], dtype=object, index=range(5, len(texts) + 6)))
    translated = translate(column)
    pd.testing.assert_series_equal(translated.instants, expected.instants)
    pd.testing.assert_series_equal(translated.errors, expected.errors)
    part = translate(column.iloc[3:-1:2])
    pd.testing.assert_series_equal(part.instants, expected.instants.iloc[3:-1:2])


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int64", [20240501, 1714566615]),
        ("Int64", [20240501, None]),
        ("int32", [20240501, 0]),
        ("uint64", [20240501, 2**63 + 5]),
        ("float64", [20240501.0, np.nan]),
        ("float32", [0.5, np.inf]),
        ("bool", [True, False]),
        ("datetime64[ns]", ["2024-05-01", None]),
        (pd.ArrowDtype(pa.int64()), [20240501, None]),
    ],
    ids=str,
)
def test_a_column_of_another_dtype_reads_as_its_values_do(dtype: Any, values: list[Any]) -> None:
    column = pd.Series(values, dtype=dtype)
    translated, expected = translate(column), translate(pd.Series(column.to_numpy(dtype=object), dtype=object))
    pd.testing.assert_series_equal(translated.instants, expected.instants)
    pd.testing.assert_series_equal(translated.errors, expected.errors)


def test_text_that_differs_in_a_nul_only_is_told_apart() -> None:
    translated = translate(pd.Series(["", "\0", "2024-05-01", "2024-05-01\0", "2024-05-01\0\0"], dtype=object))
    assert translated.instants.notna().tolist() == [False, False, True, False, False]
    assert translated.errors.index.tolist() == [1, 3, 4]


def test_a_column_longer_than_a_round_is_read_in_order() -> None:
    count = 150_001
    values: list[object] = [
        f"2024-05-01T{at // 3600 % 24:02d}:{at // 60 % 60:02d}:{at % 60:02d}" for at in range(count)
    ]
    values[0], values[65_535], values[65_536], values[131_072], values[-1] = "bad", 20240501, "bad", None, "5/1/2024"
    translated = translate(pd.Series(values, dtype=object))
    assert translated.errors.index.tolist() == [0, 65_536]
    seconds = translated.instants.drop([0, 65_535, 65_536, 131_072, count - 1]) - pd.Timestamp("2024-05-01")
    assert (seconds.dt.total_seconds() == seconds.index.to_numpy() % 86_400).all()
    assert translated.instants.iloc[[65_535, count - 1]].tolist() == [pd.Timestamp("2024-05-01")] * 2
