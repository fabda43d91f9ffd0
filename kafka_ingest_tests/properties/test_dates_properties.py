"""What holds for any date, any zone and any junk, against slow readers from the standard library."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kafka_ingest.dates import DateRule, ParsedDates, parse_dates
from kafka_ingest_tests.support.dates import slow_digits

pytestmark = pytest.mark.slow

ZONES = ["UTC", "Asia/Shanghai", "America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"]
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

MICROSECOND, SECOND = timedelta(microseconds=1), timedelta(seconds=1)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
Write = Callable[[datetime], object]


def chinese_half(at: datetime) -> str:
    return f"{at.year}年{at.month}月{at.day}日 {'上下'[at.hour // 12]}午{(at.hour - 1) % 12 + 1}:{at.minute:02d}"


def full_width(text: str) -> str:
    return "".join(chr(ord(letter) + 0xFEE0) if letter != " " else "\u3000" for letter in text)


# How a wall clock is written, and how much of it that keeps.
WALLS: list[tuple[Write, timedelta]] = [
    (lambda at: at.isoformat(), MICROSECOND),
    (lambda at: at.isoformat(" ") + "999" * bool(at.microsecond), MICROSECOND),
    (lambda at: at.isoformat(timespec="microseconds").replace(".", ","), MICROSECOND),
    (lambda at: at.isoformat(" ", timespec="seconds"), SECOND),
    (lambda at: at.isoformat(timespec="minutes"), MINUTE),
    (lambda at: at.date().isoformat(), DAY),
    (lambda at: f"{at.year:04d}-{at.month}-{at.day} {at.hour}:{at:%M:%S}", SECOND),
    (lambda at: f"{at.year:04d}/{at.month}/{at.day} {at:%H:%M}", MINUTE),
    (
        lambda at: f"{at.month}/{at.day}/{at.year:04d} {(at.hour - 1) % 12 + 1}:{at:%M:%S} {'ap'[at.hour // 12]}m",
        SECOND,
    ),
    (lambda at: f"{at.year:04d}.{at:%m.%d %H:%M:%S.%f}", MICROSECOND),
    (lambda at: f"{at.day}.{at.month}.{at.year:04d}", DAY),
    (lambda at: f"{at.year:04d}{at:%m%dT%H%M%S.%f}", MICROSECOND),
    (lambda at: f"{at.year:04d}年{at.month}月{at.day}日", DAY),
    (lambda at: f"{at.year:04d}年{at:%m月%d日 %H时%M分%S秒}", SECOND),
    (lambda at: f"{at.year:04d}年{at:%m月%d日%H:%M}", MINUTE),
    (chinese_half, MINUTE),
    (lambda at: full_width(at.isoformat(" ")), MICROSECOND),
    (lambda at: f"{MONTHS[at.month - 1]} {at.day}, {at.year:04d} {at:%H:%M}", MINUTE),
    (lambda at: f"{DAYS[at.weekday()]}, {at.day} {MONTHS[at.month - 1].upper()} {at.year:04d}", DAY),
    (lambda at: f" {at.day:02d}-{MONTHS[at.month - 1]}-{at.year:04d} {at:%H:%M:%S}\t", SECOND),
]
# Compact dates are told from epochs by their year.
COMPACT: list[tuple[Write, timedelta]] = [
    (lambda at: at.strftime("%Y%m%d"), DAY),
    (lambda at: at.strftime("%Y%m%d%H%M"), MINUTE),
    (lambda at: at.strftime("%Y%m%d%H%M%S"), SECOND),
    (lambda at: at.strftime("%Y%m%d%H%M%S.%f"), MICROSECOND),
    (lambda at: int(at.strftime("%Y%m%d")), DAY),
    (lambda at: int(at.strftime("%Y%m%d%H%M")), MINUTE),
    (lambda at: int(at.strftime("%Y%m%d%H%M%S")), SECOND),
    (lambda at: float(at.strftime("%Y%m%d")), DAY),
]
# How an instant with its offset is written.
ZONED: list[tuple[Write, timedelta]] = [
    (lambda at: at.isoformat(), MICROSECOND),
    (lambda at: f"{at.isoformat(timespec='seconds')[:-6]} {at.isoformat()[-6:].replace(':', '')}", SECOND),
    (lambda at: email.utils.format_datetime(at), SECOND),
    (lambda at: email.utils.format_datetime(at)[5:], SECOND),
    (lambda at: f"{at.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%S.%fZ}".zfill(27), MICROSECOND),
    (lambda at: email.utils.format_datetime(at.astimezone(timezone.utc), usegmt=True), SECOND),
]
# Epochs that are read without a unit.
EPOCHS: list[tuple[Write, timedelta]] = [
    (lambda at: (at - EPOCH) // SECOND, SECOND),
    (lambda at: str((at - EPOCH) // SECOND), SECOND),
    (lambda at: f"{(at - EPOCH) // SECOND}.{at.microsecond:06d}", MICROSECOND),
    (lambda at: (at - EPOCH) // timedelta(milliseconds=1), timedelta(milliseconds=1)),
    (lambda at: str((at - EPOCH) // timedelta(milliseconds=1)), timedelta(milliseconds=1)),
    (lambda at: (at - EPOCH) // MICROSECOND, MICROSECOND),
    (lambda at: str((at - EPOCH) // MICROSECOND), MICROSECOND),
    (lambda at: (at - EPOCH) // MICROSECOND * 1_000 + 999, MICROSECOND),
    (lambda at: f"{(at - EPOCH) // MICROSECOND}999", MICROSECOND),
]
FORMATS: list[tuple[str, timedelta]] = [
    ("%d-%m-%Y %H:%M:%S.%f", MICROSECOND),
    ("%m|%d|%Y %I.%M %p", MINUTE),
    ("%Y%m%d%H%M%S%f", MICROSECOND),
    ("%Y %j", DAY),
    ("%b %d %Y at %H:%M", MINUTE),
    ("%A, %d. %B %Y", DAY),
    ("%Y-%m-%dT%H:%M:%SZ", SECOND),
]

walls = st.datetimes(datetime(1001, 1, 1), datetime(9998, 12, 31))
recent_walls = st.datetimes(datetime(1900, 1, 2), datetime(2100, 12, 30))
zones = st.sampled_from(ZONES)


def utc(wall: datetime, zone: str) -> datetime:
    """Python's own reading of a wall clock, naive in UTC."""
    return wall.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(timezone.utc).replace(tzinfo=None)


def cut(wall: datetime, unit: timedelta) -> datetime:
    return wall - (wall - wall.replace(hour=0, minute=0, second=0, microsecond=0)) % unit


def read_all(values: list[Any], rule: DateRule) -> list[Any]:
    parsed = parse_dates(pd.Series(values, dtype=object), rule)
    assert parsed.errors.to_dict() == {}
    return [instant.to_pydatetime() for instant in parsed.instants]


@given(wall=walls, zone=zones)
@example(wall=datetime(2024, 3, 10, 2, 30), zone="America/New_York")
@example(wall=datetime(2024, 11, 3, 1, 30), zone="America/New_York")
@example(wall=datetime(2024, 10, 6, 2, 15, 1, 1), zone="Australia/Lord_Howe")
def test_every_written_wall_clock_is_read_back_in_every_zone(wall: datetime, zone: str) -> None:
    got = read_all([write(wall) for write, _ in WALLS], DateRule(timezone=zone))
    assert got == [utc(cut(wall, unit), zone) for _, unit in WALLS]


@given(wall=walls, zone=zones)
def test_day_first_only_turns_slashes_round(wall: datetime, zone: str) -> None:
    values = [f"{wall.day}/{wall.month}/{wall.year:04d}", f"{wall.day}.{wall.month}.{wall.year:04d}", wall.isoformat()]
    day = utc(cut(wall, DAY), zone)
    assert read_all(values, DateRule(timezone=zone, day_first=True)) == [day, day, utc(wall, zone)]


@given(wall=recent_walls, zone=zones)
def test_every_compact_date_is_read_back_in_every_zone(wall: datetime, zone: str) -> None:
    got = read_all([write(wall) for write, _ in COMPACT], DateRule(timezone=zone))
    assert got == [utc(cut(wall, unit), zone) for _, unit in COMPACT]


@given(wall=walls, zone=zones, minutes=st.integers(-1439, 1439))
def test_an_instant_with_offset_is_read_the_same_whatever_the_rules_zone(
    wall: datetime, zone: str, minutes: int
) -> None:
    at = wall.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    got = read_all([write(at) for write, _ in ZONED], DateRule(timezone=zone))
    assert got == [(cut(wall, unit) - timedelta(minutes=minutes)) for _, unit in ZONED]


def could_be_an_hour(wall: datetime) -> bool:
    """Whether the epoch in whole seconds has the digits of a YYYYMMDDHH."""
    try:
        datetime.strptime(str((wall.replace(tzinfo=timezone.utc) - EPOCH) // SECOND), "%Y%m%d%H")  # noqa: DTZ007
    except ValueError:
        return False
    return True


@given(wall=st.datetimes(datetime(2001, 9, 9, 1, 46, 40), datetime(2100, 12, 31, 23, 59, 59, 999_999)), zone=zones)
@example(wall=datetime(2034, 2, 20, 12, 8, 32), zone="UTC")
def test_every_epoch_of_our_century_is_read_back_whatever_the_rules_zone(wall: datetime, zone: str) -> None:
    at = wall.replace(tzinfo=timezone.utc)
    written = [(write(at), cut(wall, unit)) for write, unit in EPOCHS]
    if could_be_an_hour(wall):
        written = [(value, instant) for value, instant in written if len(str(value).partition(".")[0]) != 10]
    assert read_all([value for value, _ in written], DateRule(timezone=zone)) == [instant for _, instant in written]


@given(wall=st.datetimes(datetime(1700, 1, 1), datetime(2241, 12, 31)), zone=zones)
def test_an_epoch_as_a_float_is_read_back_as_long_as_a_float_holds_microseconds(wall: datetime, zone: str) -> None:
    seconds = wall.replace(tzinfo=timezone.utc).timestamp()
    assert read_all([seconds], DateRule(timezone=zone, unit="s")) == [wall]


@given(wall=walls, zone=zones)
def test_every_format_is_read_back_and_as_strptime_reads_it(wall: datetime, zone: str) -> None:
    for text_format, unit in FORMATS:
        written = wall.strftime(text_format.replace("%Y", f"{wall.year:04d}"))
        assert cut(wall, unit) == datetime.strptime(written, text_format)  # noqa: DTZ007
        assert read_all([written], DateRule(formats=(text_format,), timezone=zone)) == [utc(cut(wall, unit), zone)]


def slow_iso(
    year: int, month: int, day: int, hour: int, minute: int, second: int, offset: int | None, zone: str
) -> Any:
    """What the fields mean, by Python's datetime alone; None when they mean nothing."""
    try:
        start = datetime(year, month, day, minute=minute, second=min(second, 59))
        if hour > 24 or second > 60 or (hour == 24 and (minute or second)):
            return None
        wall = start + timedelta(hours=hour, seconds=second == 60)
        instant = utc(wall, zone) if offset is None else wall - timedelta(minutes=offset)
    except (ValueError, OverflowError):
        return None
    return instant if instant.year >= 1000 else None


@given(
    year=st.integers(0, 9999) | st.sampled_from([999, 1000, 1900, 2000, 2023, 2024, 9999]),
    month=st.integers(0, 14),
    day=st.integers(0, 32),
    hour=st.integers(0, 26),
    minute=st.integers(0, 61),
    second=st.integers(0, 62),
    offset=st.none() | st.integers(-1439, 1439),
    zone=zones,
)
@settings(max_examples=400)
def test_fields_that_may_not_exist_are_judged_as_pythons_datetime_judges_them(
    year: int, month: int, day: int, hour: int, minute: int, second: int, offset: int | None, zone: str
) -> None:
    suffix = "" if offset is None else f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02d}:{abs(offset) % 60:02d}"
    clock = f"{hour:02d}:{minute:02d}:{second:02d}"
    values = [f"{year:04d}-{month:02d}-{day:02d}T{clock}{suffix}", f"{year:04d}/{month}/{day} {clock}{suffix}"]
    expected = slow_iso(year, month, day, hour, minute, second, offset, zone)
    parsed = parse_dates(pd.Series(values, dtype=object), DateRule(timezone=zone))
    got = [None if pd.isna(instant) else instant.to_pydatetime() for instant in parsed.instants]
    assert got == [expected] * 2
    assert len(parsed.errors) == (2 if expected is None else 0)


@given(number=st.integers(10**7, 10**8 - 1) | st.integers(19_000_000, 21_009_999))
def test_eight_digits_are_a_date_of_the_years_1900_to_2100_or_an_error(number: int) -> None:
    parsed = parse_dates(pd.Series([number, float(number), Decimal(number), str(number)], dtype=object))
    expected: Any = None
    if 1900 <= number // 10**4 <= 2100:
        with suppress(ValueError):
            expected = datetime.strptime(str(number), "%Y%m%d")  # noqa: DTZ007
    got = [None if pd.isna(instant) else instant for instant in parsed.instants]
    assert got == [expected] * 4


@contextmanager
def process_zone(name: str) -> Iterator[None]:
    """The machine's own zone, which must never matter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


digits = st.builds(
    lambda sign, whole, part: f"{sign}{whole}{part}",
    st.sampled_from(["", "", "", "-", "+"]),
    st.integers(0, 10**20).map(str) | st.from_regex(r"\A[0-9]{1,20}\Z") | st.from_regex(r"\A(19|20|21)[0-9]{2,12}\Z"),
    st.just("") | st.from_regex(r"\A\.[0-9]{1,9}\Z") | st.just(".0"),
)


@given(texts=st.lists(digits, min_size=1, max_size=8), machine=zones)
@example(
    texts=[
        "2024",
        "202405",
        "0",
        "999999999",
        "1000000000",
        "-1714566615.5",
        "20240230",
        "20241231240000",
        "2024050112",
    ],
    machine="America/New_York",
)
def test_a_text_of_digits_and_a_number_are_a_compact_date_an_epoch_of_our_century_or_an_error(
    texts: list[str], machine: str
) -> None:
    with process_zone(machine):
        parsed = parse_dates(pd.Series(texts, dtype="string"))
    got = [None if pd.isna(instant) else instant.to_pydatetime() for instant in parsed.instants]
    assert got == [slow_digits(text) for text in texts]
    assert len(parsed.errors) == got.count(None)
    numbers = [Decimal(text) for text in texts if re.fullmatch("0|[1-9-].*", text)]
    as_numbers = parse_dates(column([*numbers, *(int(number) for number in numbers if number == int(number))]))
    for value, (instant, _) in zip(column(numbers), outcome(as_numbers), strict=False):
        assert instant == slow_digits(f"{value:f}")
    formatted = parse_dates(pd.Series(texts, dtype=object), DateRule(formats=("%d.%m.%y at %H",)))
    assert outcome(formatted)[: len(texts)] == [
        (at, error and error.replace("accepted: ", "accepted: %d.%m.%y at %H, ")) for at, error in outcome(parsed)
    ]


junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.text(),
    st.text(st.characters(), max_size=20),  # surrogates too
    st.text("0123456789-/.:, TZ+年月日时分秒上下午APMaygut()\u3000１", max_size=30),
    st.text("01259-/:, TZ+年月日上下午晚星期三水曜GMTCSWedDat()[]\u00a0", max_size=40),
    st.from_regex(
        r"\A\s?[0-9]{1,4}[-/.年][0-9]{1,2}[-/.月][0-9]{1,4}日?[T ]?[0-9]{0,2}(:[0-9]{2}){0,2}[Z+]?[0-9]{0,4}\Z"
    ),
    walls.map(lambda wall: WALLS[wall.second % len(WALLS)][0](wall)),
    recent_walls.map(lambda wall: COMPACT[wall.second % len(COMPACT)][0](wall)),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=3),
    st.lists(st.integers(0, 60), max_size=8).map(lambda rest: [2024, *rest]),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.decimals(),
    st.complex_numbers(),
    st.dates(),
    st.datetimes(),
)
rules = st.sampled_from(
    [
        DateRule(),
        DateRule(timezone="America/New_York", day_first=True),
        DateRule(formats=("%Y%d%m", "%d/%m/%Y %H:%M%z", "%H:%M:%S%f %y"), timezone="Australia/Lord_Howe"),
        DateRule(unit="ns", zones=(("CST", "Asia/Shanghai"),), is_date=True, timezone="Pacific/Kiritimati"),
        DateRule(unit="days", formats=("%Y%m%d",), is_date=True, timezone="America/New_York"),
    ]
)


def column(values: list[Any]) -> pd.Series:
    holder = pd.Series([None] * len(values), dtype=object)
    for at, value in enumerate(values):
        holder.iat[at] = value
    return holder


def outcome(parsed: ParsedDates) -> list[tuple[Any, Any]]:
    errors = parsed.errors.to_dict()
    return [(None if pd.isna(at) else at, errors.get(label)) for label, at in parsed.instants.items()]


@given(values=st.lists(junk, max_size=12), rule=rules)
@settings(max_examples=400)
def test_junk_never_raises_and_is_an_instant_a_gap_or_an_error(values: list[Any], rule: DateRule) -> None:
    given_column = column(values)
    parsed = parse_dates(given_column, rule)
    assert parsed.instants.dtype == "datetime64[us]"
    assert parsed.instants.index.equals(given_column.index)
    for value, (instant, error) in zip(values, outcome(parsed), strict=True):
        is_nan = (type(value) is float and value != value) or (type(value) is Decimal and value.is_nan())
        if value is None or is_nan or (type(value) is str and not value.strip()):
            assert (instant, error) == (None, None)
        elif instant is None:
            assert isinstance(error, str)
            assert len(error) > 20
        else:
            assert error is None
            assert 1000 <= instant.year <= 9999


@given(first=st.lists(junk, max_size=8), second=st.lists(junk, max_size=8), rule=rules)
def test_a_values_result_does_not_depend_on_its_neighbours(first: list[Any], second: list[Any], rule: DateRule) -> None:
    together = outcome(parse_dates(column(first + second), rule))
    assert together == outcome(parse_dates(column(first), rule)) + outcome(parse_dates(column(second), rule))
    assert together == [outcome(parse_dates(column([value]), rule))[0] for value in first + second]


@given(values=st.lists(st.none() | st.text("0123456789-/.: TZ年月日", max_size=20), max_size=8), rule=rules)
def test_a_string_column_reads_as_an_object_column_does(values: list[Any], rule: DateRule) -> None:
    expected = outcome(parse_dates(column(values), rule))
    assert outcome(parse_dates(pd.Series(values, dtype="string"), rule)) == expected
