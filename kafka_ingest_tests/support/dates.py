"""Every form of a date that is read, with its instant, and a short way to read one value."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pandas as pd

from kafka_ingest.dates import DateRule, parse_dates

UTC = DateRule()


def read(value: object, rule: DateRule = UTC) -> str:
    """The instant of one value as ISO text, or the error."""
    parsed = parse_dates(pd.Series([value], dtype=object), rule)
    assert parsed.instants.dtype == "datetime64[us]"
    if len(parsed.errors):
        assert parsed.instants.isna().all()
        return f"error: {parsed.errors.iloc[0]}"
    instant = parsed.instants.iloc[0]
    return "NaT" if pd.isna(instant) else str(instant.isoformat())


NO_DATES_BY_THEMSELVES: tuple[str, ...] = (
    *("2024", "202405", "240501", "0", "5", "-1.5", "+1", "-0.0000001", "12345678.5", "2024.5", "-20240501"),
    *("18999999", "21010000", "189912312359", "210101010000", "18991231235959", "21010101000000"),
    *("１２３", " 0 "),
    *("1857", "2014"),  # years that natty reads as times of the day: joestelmach/natty 143 and 88
    # found stored as 1970-01-01 05:30, as the year 3968, and as 1978: days and milliseconds of 1972, 9999-12-31 in s, ms and µs
    *("19844", "63072000000", "253402214400", "253402214400000", "253402214400000000"),
    # just outside the epochs that are read: before 2001-09-09, and from 2101 on
    *("999999999", "4133980800", "999999999999", "4133980800000", "999999999999999", "4133980800000000"),
    *(
        "999999999999999999",
        "4133980800000000000",
        "9223372036854775807",
        "9223372036854775808",
        "99999999999999999999",
    ),
    *("-1714566615", "-1714566615123", "-100000000.0000001", "-123456789012345678"),
)
"""Texts of digits, which as numbers say no more, that need a unit or a format."""


def slow_digits(text: str) -> datetime | None:
    """The instant of a text of digits (with a sign, with up to nine decimal places) read one by one in UTC, without a unit; None
    where it is an error."""
    match = re.fullmatch(r"([+-]?)([0-9]+)(?:\.([0-9]{1,9}))?", text)
    assert match
    negative, whole, part = match[1] == "-", match[2], match[3] or ""
    if negative or whole[0] == "0":
        return None
    if len(whole) in (8, 12, 14) and 1900 <= int(whole[:4]) <= 2100:
        return None if part.strip("0") and len(whole) < 14 else _slow_compact(whole.ljust(14, "0"), part)
    if len(whole) not in (10, 13, 16, 19):
        return None
    if (
        len(whole) == 10
        and not part.strip("0")
        and _slow_compact(f"{whole}0000", "")
        and 1900 <= int(whole[:4]) <= 2100
    ):
        return None
    at = slow_count(Fraction(f"{whole}.{part or 0}"), {10: "s", 13: "ms", 16: "us", 19: "ns"}[len(whole)])
    return at if at is not None and at.year <= 2100 else None


def slow_count(number: Fraction, unit: str) -> datetime | None:
    """What is so many units after 1970-01-01, cut to microseconds towards the past; None outside the years 1000 to 9999."""
    nanoseconds = {"days": 86_400 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    try:
        at = datetime(1970, 1, 1) + timedelta(microseconds=number * nanoseconds // 1_000)
    except OverflowError:
        return None
    return at if at.year >= 1000 else None


def _slow_compact(digits: str, part: str) -> datetime | None:
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:8])
    hour, minute, second = int(digits[8:10]), int(digits[10:12]), int(digits[12:])
    micro = int(part.ljust(9, "0")[:6])
    if hour > 24 or second > 60 or (hour == 24 and (minute or second or micro)):
        return None
    try:
        start = datetime(year, month, day, minute=minute, second=min(second, 59))
    except ValueError:
        return None
    return start + (timedelta(hours=hour, seconds=1) if second == 60 else timedelta(hours=hour, microseconds=micro))


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
    (Decimal("1714566615.123456"), MICRO),
    (Decimal("1714566615.123456999"), MICRO),
    (Decimal("1.714566615E+9"), SECOND),
    (Decimal("1714566615123"), "2024-05-01T12:30:15.123000"),
    # what public bug reports are about: dateparser 373, time-rs/time 228, any-date-parser 21
    ("20171222160001", "2017-12-22T16:00:01"),
    ("20200703", "2020-07-03T00:00:00"),
    (1540431840000, "2018-10-25T01:44:00"),
    # the first and the last epoch of each unit
    (1_000_000_000, "2001-09-09T01:46:40"),
    (4_133_980_799, "2100-12-31T23:59:59"),
    (4_133_980_799.999999, "2100-12-31T23:59:59.999999"),
    (1_000_000_000_000, "2001-09-09T01:46:40"),
    (4_133_980_799_999, "2100-12-31T23:59:59.999000"),
    (1_000_000_000_000_000, "2001-09-09T01:46:40"),
    (4_133_980_799_999_999, "2100-12-31T23:59:59.999999"),
    (1_000_000_000_000_000_000, "2001-09-09T01:46:40"),
    (4_133_980_799_999_999_999, "2100-12-31T23:59:59.999999"),
    # ten digits that are no hour of a day, and those that are with a fraction: JSON Web Tokens and certificates end there
    (1_956_528_000, "2032-01-01T00:00:00"),
    (2_024_053_212, "2034-02-20T13:00:12"),
    (2_024_050_125, "2034-02-20T12:08:45"),
    (2_024_050_112.5, "2034-02-20T12:08:32.500000"),
    # the limits of a compact date
    (190001010000, "1900-01-01T00:00:00"),
    ("21001231235960", "2101-01-01T00:00:00"),
    # instants that do not exist on a 24-hour clock but are written
    ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00"),
    ("2016-12-31T23:59:60.999Z", "2017-01-01T00:00:00"),
    ("2024-05-01T24:00:00", "2024-05-02T00:00:00"),
    (20241231240000, "2025-01-01T00:00:00"),
    # white space
    (" \t2024-05-01T12:30:15Z\r\n", SECOND),
    ("2024-05-01\u00a012:30:15", SECOND),
    ("2024-05-01\u202f12:30:15\u2009UTC", SECOND),
    ("2024-05-01\u2007\u300012:30:15", SECOND),
    ("\u30002024-05-01\u00a0", NOON),
    # the ends of the range
    ("1000-01-01", "1000-01-01T00:00:00"),
    ("9999-12-31T23:59:59.999999", "9999-12-31T23:59:59.999999"),
    ("0999-12-31T20:00:00-05:00", "1000-01-01T01:00:00"),
]
