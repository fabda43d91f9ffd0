"""Every form of a date that is read, with its instant, and a short way to read one value."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
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


SHORT_DIGITS = (
    *(
        "2024",
        "202405",
        "0",
        "5",
        "-1.5",
        "+1",
        "-0.0000001",
        "12345678.5",
        "2024.5",
        "18999999",
        "21010000",
        "-20240501",
    ),
    *("１２３", " 0 "),
    *("1857", "2014"),  # years that natty reads as times of the day: joestelmach/natty 143 and 88
)
"""Texts of digits that are neither a compact date nor an epoch."""


def slow_digits(text: str) -> datetime | None:
    """The instant of a text of digits (with a sign, with up to nine decimal places) read one by one in UTC; None where it is
    an error."""
    match = re.fullmatch(r"([+-]?)([0-9]+)(?:\.([0-9]{1,9}))?", text)
    assert match
    negative, whole, part = match[1] == "-", match[2], match[3] or ""
    if len(whole) > 19 or int(whole) >= 2**63 or (whole[0] == "0" and whole != "0"):
        return None
    if not negative and len(whole) in (8, 12, 14) and 1900 <= int(whole[:4]) <= 2100:
        return None if part.strip("0") and len(whole) < 14 else _slow_compact(whole.ljust(14, "0"), part)
    if len(whole) < 9:
        return None
    unit = 1 if int(whole) < 10**11 else 10**3 if int(whole) < 10**14 else 10**6 if int(whole) < 10**17 else 10**9
    size = Fraction(f"{whole}.{part or 0}") / unit
    micros = (-size if negative else size) * 10**6 // 1
    try:
        at = datetime(1970, 1, 1) + timedelta(microseconds=micros)
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
    (-1, "1969-12-31T23:59:59"),
    (-1.5, "1969-12-31T23:59:58.500000"),
    (2024, "1970-01-01T00:33:44"),
    (202405, "1970-01-03T08:13:25"),
    # a text of nine digits or more is an epoch, wherever it stands
    ("100000000", "1973-03-03T09:46:40"),
    ("-100000000.0000001", "1966-10-31T14:13:19.999999"),
    ("2024050112", "2034-02-20T12:08:32"),
    # what public bug reports are about: dateparser 373, time-rs/time 228, any-date-parser 21
    ("20171222160001", "2017-12-22T16:00:01"),
    ("20200703", "2020-07-03T00:00:00"),
    (1540431840000, "2018-10-25T01:44:00"),
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
