"""The forms of feeds, units and days, for any date: read back exactly or refused, and never an instant that another reader of the
same text does not give."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import dateutil.parser  # type: ignore[import-untyped]
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kafka_ingest.dates import DateRule, parse_dates
from kafka_ingest_tests.properties.test_dates_properties import (
    DAY,
    DAYS,
    EPOCH,
    MICROSECOND,
    MINUTE,
    MONTHS,
    SECOND,
    cut,
    read_all,
    utc,
    walls,
    zones,
)

pytestmark = pytest.mark.slow

MILLISECOND = timedelta(milliseconds=1)
CHINESE_DAYS, JAPANESE_DAYS = "一二三四五六日", "月火水木金土日"
Write = Callable[[datetime], object]


def short(names: list[str], at: int) -> str:
    return names[at][:3]


def java(at: datetime, zone: str) -> str:
    return f"{short(DAYS, at.weekday())} {MONTHS[at.month - 1]} {at:%d %H:%M:%S} {zone} {at.year:04d}"


def part_of_day(at: datetime) -> str:
    """As moment.js does in zh-cn, where the word is certain at that hour, else 上午 and 下午."""
    hour = (at.hour - 1) % 12 + 1
    words = {range(6): "凌晨", range(6, 9): "早上", range(9, 12): "上午", range(12, 13): "中午", range(13, 18): "下午"}
    return f"{next((word for hours, word in words.items() if at.hour in hours), '晚上')}{hour}:{at:%M:%S}"


# How a wall clock is written, and how much of it that keeps.
WALLS: list[tuple[Write, timedelta]] = [
    (lambda at: time.asctime(at.timetuple()), SECOND),
    (lambda at: f"{MONTHS[at.month - 1]} {at.day} {at:%H:%M:%S} {at.year:04d}", SECOND),
    (lambda at: f"{at.year:04d}-{at:%m-%d %H:%M:%S}:{at.microsecond // 1000:03d}", MILLISECOND),
    (lambda at: f"{at.month}/{at.day}/{at.year:04d}, {at:%I:%M:%S}\u202f{'AP'[at.hour // 12]}M", SECOND),
    (
        lambda at: f"{at.year:04d}/{at.month}/{at.day} {'上下'[at.hour // 12]}午 {(at.hour - 1) % 12 + 1}:{at:%M:%S}",
        SECOND,
    ),
    (lambda at: f"{at.year:04d}-{at:%m-%d} {(at.hour - 1) % 12 + 1}:{at:%M}{'上下'[at.hour // 12]}午", MINUTE),
    (
        lambda at: (
            f"{at.year:04d}年{at.month}月{at.day}日 {'午前' if at.hour < 12 else '午後'}{at.hour % 12}時{at:%M}分"
        ),
        MINUTE,
    ),
    (lambda at: f"{at.year:04d}-{at:%m-%d} {part_of_day(at)}", SECOND),
    (lambda at: f"{at.year:04d}年{at.month}月{at.day}日星期{CHINESE_DAYS[at.weekday()]}{at:%H:%M:%S}", SECOND),
    (lambda at: f"{at.year:04d}-{at:%m-%d} 周{CHINESE_DAYS[at.weekday()]} {at:%H:%M:%S.%f}", MICROSECOND),
    (lambda at: f"{at.year:04d}年 {at:%m}月 {at:%d}日 星期{CHINESE_DAYS[at.weekday()]} {at:%H:%M:%S}", SECOND),
    (lambda at: f"{at.year:04d}年{at.month}月{at.day}日（{JAPANESE_DAYS[at.weekday()]}）{at:%H:%M}", MINUTE),
    (lambda at: f"{at.year:04d}/{at:%m/%d}({JAPANESE_DAYS[at.weekday()]}曜日)", DAY),
    (lambda at: f"{at.year:04d}-{at:%m-%d}\u00a0{at:%H:%M:%S}", SECOND),
    (lambda at: [at.year, at.month, at.day], DAY),
    (lambda at: [at.year, at.month, at.day, at.hour, at.minute], MINUTE),
    (lambda at: [at.year, at.month, at.day, at.hour, at.minute, at.second], SECOND),
    (lambda at: [at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond * 1000], MICROSECOND),
]
# How an instant with its offset is written.
ZONED: list[tuple[Write, timedelta]] = [
    (lambda at: java(at, f"{at:%z}"), SECOND),
    (lambda at: java(at, f"GMT{at.isoformat()[-6:]}"), SECOND),
    (
        lambda at: (
            f"{short(DAYS, at.weekday())} {MONTHS[at.month - 1]} {at:%d} {at.year:04d} {at:%H:%M:%S GMT%z} (Some Time)"
        ),
        SECOND,
    ),
    (lambda at: f"{at.replace(tzinfo=None).isoformat(' ')} {at:%z} UTC m=+0.000000001", MICROSECOND),
    (lambda at: f"{at.replace(tzinfo=None).isoformat(' ', 'seconds')} {at:%z} {at:%z}"[:-2], SECOND),
    (lambda at: f"{at.isoformat()}[Area/Some_City]", MICROSECOND),
    (lambda at: f"{at.replace(tzinfo=None).isoformat(' ', 'seconds')} UTC{at:%z}", SECOND),
    (lambda at: f"/Date({(at - EPOCH) // MILLISECOND}{at:%z})/", MILLISECOND),
    (lambda at: f"/Date({(at - EPOCH) // MILLISECOND})/", MILLISECOND),
]
UNITS = {"s": SECOND, "ms": MILLISECOND, "us": MICROSECOND}
offsets = st.integers(-1439, 1439)


@given(wall=walls, zone=zones)
@example(wall=datetime(2024, 5, 1, 12, 0), zone="UTC")
@example(wall=datetime(2024, 5, 1, 0, 0), zone="UTC")
def test_every_wall_clock_of_a_feed_is_read_back_in_every_zone(wall: datetime, zone: str) -> None:
    got = read_all([write(wall) for write, _ in WALLS], DateRule(timezone=zone))
    assert got == [utc(cut(wall, unit), zone) for _, unit in WALLS]


@given(wall=walls, zone=zones, minutes=offsets)
def test_every_instant_of_a_feed_is_read_back_whatever_the_columns_zone(
    wall: datetime, zone: str, minutes: int
) -> None:
    at = wall.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    got = read_all([write(at) for write, _ in ZONED], DateRule(timezone=zone))
    assert got == [cut(wall, unit) - timedelta(minutes=minutes) for _, unit in ZONED]


@given(wall=st.datetimes(datetime(1969, 1, 1), datetime(2049, 12, 31)), minutes=offsets)
def test_a_year_of_two_digits_is_read_as_the_standard_library_does(wall: datetime, minutes: int) -> None:
    at = wall.replace(tzinfo=timezone(timedelta(minutes=minutes)), microsecond=0)
    text = f"{short(DAYS, at.weekday())}, {at.day} {MONTHS[at.month - 1]} {at:%y %H:%M:%S %z}"
    assert (
        read_all([text, text.replace(f" {MONTHS[at.month - 1]} ", f"-{MONTHS[at.month - 1]}-")], DateRule())
        == [at.astimezone(timezone.utc).replace(tzinfo=None)] * 2
    )
    assert email.utils.parsedate_to_datetime(text) == at


@given(wall=st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)), zone=zones)
def test_every_instant_in_every_unit_is_read_back_exactly(wall: datetime, zone: str) -> None:
    at = wall.replace(tzinfo=timezone.utc)
    for name, unit in UNITS.items():
        count = (at - EPOCH) // unit
        micros = Decimal((at - EPOCH) // MICROSECOND) / Decimal(unit // MICROSECOND)
        rule = DateRule(unit=name, timezone=zone)
        assert read_all([count, str(count), Decimal(count)], rule) == [EPOCH.replace(tzinfo=None) + count * unit] * 3
        assert read_all([micros, f"{micros:f}"], rule) == [wall] * 2
    nanos = (at - EPOCH) // MICROSECOND * 1_000 + 999
    assert read_all([nanos, str(nanos)], DateRule(unit="ns", timezone=zone)) == [wall] * 2
    days = (at - EPOCH) // DAY
    midnight = cut(wall, DAY)
    with suppress(OverflowError):
        there = utc(midnight, zone)
        if there.year >= 1000:
            assert read_all([days, str(days), float(days)], DateRule(unit="days", timezone=zone)) == [there] * 3


@given(wall=st.datetimes(datetime(1977, 1, 1), datetime(2100, 12, 31, 23, 59, 59)), draw=st.randoms())
@settings(max_examples=300)
def test_a_number_without_a_unit_is_read_as_it_was_meant_or_refused(wall: datetime, draw: random.Random) -> None:
    """From 1977 on no instant in any unit, and no date in digits, has a number that is read as another."""
    at = wall.replace(tzinfo=timezone.utc)
    meant: dict[int, datetime] = {(at - EPOCH) // unit: cut(wall, unit) for unit in UNITS.values()}
    meant[(at - EPOCH) // MICROSECOND * 1_000 + 1] = wall
    meant[(at - EPOCH) // DAY] = cut(wall, DAY)
    for text_format, unit in (
        ("%Y%m%d", DAY),
        ("%Y%m%d%H", timedelta(hours=1)),
        ("%Y%m%d%H%M", MINUTE),
        ("%Y%m%d%H%M%S", SECOND),
    ):
        meant[int(wall.strftime(text_format))] = cut(wall, unit)
    meant |= {wall.year: datetime(wall.year, 1, 1), int(wall.strftime("%Y%m")): datetime(wall.year, wall.month, 1)}
    numbers = draw.sample(list(meant), len(meant))
    parsed = parse_dates(pd.Series([*numbers, *map(str, numbers)], dtype=object))
    for number, instant in zip(numbers * 2, parsed.instants, strict=True):
        assert pd.isna(instant) or instant == meant[number], number
    assert all("unit=" in error and "formats=" in error for error in parsed.errors)


names = st.sampled_from([*MONTHS, *DAYS, "Sept", "May", "EST", "PDT", "UTC", "GMT", "Z", "CST", "AM", "pm", "T", "at"])
pieces = st.one_of(
    st.integers(1, 31).map(str),
    st.integers(1000, 2100).map(str),
    st.integers(0, 99).map("{:02d}".format),
    st.tuples(st.integers(0, 24), st.integers(0, 60), st.integers(0, 60)).map(
        "{0[0]:02d}:{0[1]:02d}:{0[2]:02d}".format
    ),
    st.tuples(st.sampled_from("+-"), st.integers(0, 23), st.sampled_from([0, 30])).map(
        "{0[0]}{0[1]:02d}{0[2]:02d}".format
    ),
    names,
)
mixes = st.lists(st.tuples(pieces, st.sampled_from([" ", " ", " ", ", ", "-", "  "])), min_size=3, max_size=8).map(
    lambda parts: "".join(piece + gap for piece, gap in parts).rstrip(" ,-")
)
OFFSET_HOURS = {"EST": -5, "EDT": -4, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "Z": 0}


@st.composite
def shuffled(draw: st.DrawFn) -> str:
    """A date of a feed with its parts in an order of chance, and some of them changed or left out."""
    wall = draw(walls)
    parts = [
        short(DAYS, wall.weekday()) + draw(st.sampled_from(["", ","])),
        str(wall.day),
        MONTHS[wall.month - 1],
        draw(st.sampled_from([f"{wall.year:04d}", f"{wall:%y}"])),
        f"{wall:%H:%M:%S}",
        draw(st.sampled_from(["+0800", "-0330", "EST", "GMT", "UTC", "CST", "GMT+0800", ""])),
    ]
    if draw(st.booleans()):
        parts = draw(st.permutations(parts))
    if draw(st.booleans()):
        parts[draw(st.integers(0, 5))] = draw(pieces)
    return " ".join(part for part in parts if part)


@given(text=mixes | shuffled())
@settings(max_examples=500)
@example(text="1 May 24 12:30:15 EST")
def test_what_another_reader_reads_otherwise_is_not_read(text: str) -> None:
    """dateutil guesses much more than we read; what both read is the same instant."""
    parsed = parse_dates(pd.Series([text], dtype=object)).instants.iloc[0]
    if (
        pd.isna(parsed) or "GMT+" in text
    ):  # of which dateutil has the POSIX sign: JavaScript's +0800 would be west of UTC
        return
    zones = {name: hours * 3_600 for name, hours in OFFSET_HOURS.items()}
    with suppress(ValueError, OverflowError):
        theirs = dateutil.parser.parse(text, tzinfos=zones, default=datetime(2001, 1, 1))
        naive = theirs if theirs.tzinfo is None else theirs.astimezone(timezone.utc).replace(tzinfo=None)
        ours = parsed.to_pydatetime()
        is_other_century = abs(naive.year - ours.year) == 100 and ours.replace(year=naive.year) == naive
        assert ours == naive or is_other_century  # of a year of two digits it takes the nearest to today


@given(text=shuffled())
@settings(max_examples=300)
def test_a_date_that_the_standard_library_reads_as_mail_is_the_same_or_refused(text: str) -> None:
    parsed = parse_dates(pd.Series([text], dtype=object)).instants.iloc[0]
    if pd.isna(parsed) or ":" not in text:
        return
    with suppress(ValueError, TypeError):
        theirs = email.utils.parsedate_to_datetime(text)
        assert theirs.tzinfo is None or parsed.to_pydatetime() == theirs.astimezone(timezone.utc).replace(tzinfo=None)


DAY_ZONES = st.sampled_from(
    [
        "UTC",
        "Asia/Shanghai",
        "America/New_York",
        "Pacific/Kiritimati",
        "Pacific/Pago_Pago",
        "America/Sao_Paulo",
        "Asia/Kathmandu",
    ]
)


@given(wall=walls, zone=DAY_ZONES)
@example(wall=datetime(2018, 11, 4, 0, 30), zone="America/Sao_Paulo")  # that wall clock never was
def test_in_a_column_of_days_a_date_is_that_day_in_every_zone(wall: datetime, zone: str) -> None:
    midnight = cut(wall, DAY)
    rule = DateRule(timezone=zone, is_date=True)
    assert read_all([write(wall) for write, _ in WALLS], rule) == [midnight] * len(WALLS)
    written: list[object] = [wall.date().isoformat(), f"{wall.date().isoformat()}Z", f"{wall.date().isoformat()}-11:00"]
    assert read_all(written, rule) == [midnight] * 3
    days = (midnight - EPOCH.replace(tzinfo=None)) // DAY
    assert read_all([days, str(days)], DateRule(timezone=zone, is_date=True, unit="days")) == [midnight] * 2


@given(wall=walls, zone=DAY_ZONES, minutes=offsets)
def test_in_a_column_of_days_an_instant_is_the_day_it_has_in_the_columns_zone(
    wall: datetime, zone: str, minutes: int
) -> None:
    at = wall.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    got = read_all([write(at) for write, _ in ZONED], DateRule(timezone=zone, is_date=True))
    there = [
        cut(wall, unit).replace(tzinfo=at.tzinfo).astimezone(ZoneInfo(zone)).replace(tzinfo=None) for _, unit in ZONED
    ]
    assert got == [cut(each, DAY) for each in there]
    for name, unit in UNITS.items():
        there_then = (EPOCH + (at - EPOCH) // unit * unit).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        got = read_all([(at - EPOCH) // unit], DateRule(timezone=zone, is_date=True, unit=name))
        assert got == [cut(there_then, DAY)]
