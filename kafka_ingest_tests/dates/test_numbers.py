"""Numbers as dates: by their unit, exactly; without one by their digits, or refused."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pandas as pd
import pytest

from kafka_ingest.dates import DateRule, parse_dates
from kafka_ingest_tests.support.dates import NO_DATES_BY_THEMSELVES, UTC, read, slow_count

EAST = DateRule(timezone="Asia/Shanghai")


@pytest.mark.parametrize("text", NO_DATES_BY_THEMSELVES)
def test_a_number_that_could_be_several_things_is_refused_and_the_error_says_what_to_declare(text: str) -> None:
    error = read(text)
    assert "is a number that says no date by itself: say what it counts with unit= (days, s, ms, us or ns)" in error
    assert "with formats=" in error
    digits = text.strip()
    values: list[object] = [Decimal(digits)] if "." in digits else [int(digits), Decimal(digits)]
    values += [float(digits)] * (float(digits) == Decimal(digits))
    for value in values:
        assert "say what it counts with unit=" in read(value), value


@pytest.mark.parametrize(
    "value", [2**70, -(2**70), 10**30, 10**5000, 1e300, float("inf"), Decimal("1E+300")], ids=lambda v: type(v).__name__
)
def test_a_number_beyond_all_dates_is_refused_with_and_without_a_unit(value: object) -> None:
    assert "say what it counts with unit=" in read(value)
    for unit in ("days", "s", "ms", "us", "ns"):
        assert "is outside the years 1000 to 9999" in read(value, DateRule(unit=unit))
    assert "say what it counts with unit=" in read(value, DateRule(formats=("%Y",)))


@pytest.mark.parametrize("number", [2024050112, 1950010100, 2000022923, 2100123123])
def test_an_hour_of_a_day_that_is_an_epoch_too_is_refused_until_the_column_says_which(number: int) -> None:
    for value in (number, str(number), float(number), Decimal(number)):
        assert "is an hour of a day or an epoch in seconds: say which with formats=['%Y%m%d%H'] or unit='s'" in read(
            value
        )
        assert read(value, DateRule(unit="s")) == slow_count(Fraction(number), "s").isoformat()  # type: ignore[union-attr]
    for value in (number, str(number)):
        text = str(number)
        hour = f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[8:]}:00:00"
        assert read(value, DateRule(formats=("%Y%m%d%H",))) == hour


@pytest.mark.parametrize(
    ("unit", "value", "instant"),
    [
        # what was stored wrongly: as 1970-01-01 05:30, as the year 3968, and as 1978
        ("days", 19844, "2024-05-01T00:00:00"),
        ("ms", 63_072_000_000, "1972-01-01T00:00:00"),
        ("days", 2_932_896, "9999-12-31T00:00:00"),
        ("s", 253_402_214_400, "9999-12-31T00:00:00"),
        ("ms", 253_402_214_400_000, "9999-12-31T00:00:00"),
        ("us", 253_402_214_400_000_000, "9999-12-31T00:00:00"),
        ("ns", 253_402_214_400_000_000_000, "9999-12-31T00:00:00"),
        # the last microsecond, and the first
        ("s", Decimal("253402300799.999999"), "9999-12-31T23:59:59.999999"),
        ("ms", Decimal("253402300799999.999999"), "9999-12-31T23:59:59.999999"),
        ("us", 253_402_300_799_999_999, "9999-12-31T23:59:59.999999"),
        ("ns", 253_402_300_799_999_999_999, "9999-12-31T23:59:59.999999"),
        ("days", -354_285, "1000-01-01T00:00:00"),
        ("s", -30_610_224_000, "1000-01-01T00:00:00"),
        ("ns", -30_610_224_000_000_000_000, "1000-01-01T00:00:00"),
        # confluentinc/kafka-connect-jdbc 745, kafka-connect-bigquery 469: the calendar is Gregorian all the way back
        ("ms", -30_582_511_138_000, "1000-11-17T18:01:02"),
        ("days", -171_596, "1500-03-10T00:00:00"),
        ("days", -141_441, "1582-10-01T00:00:00"),
        # microsoft/kafka-connect-cosmosdb 467, 410; Aiven-Open/transforms-for-apache-kafka-connect 143
        ("ms", -1_577_905_200_000, "1920-01-01T05:00:00"),
        ("ms", 1_625_565_568_878, "2021-07-06T09:59:28.878000"),
        ("s", 2_316_591_653, "2043-05-30T09:40:53"),
        ("ms", 2_316_591_653, "1970-01-27T19:29:51.653000"),
        # near the epoch, where every unit has small numbers
        *((unit, 0, "1970-01-01T00:00:00") for unit in ("days", "s", "ms", "us", "ns")),
        ("days", -1, "1969-12-31T00:00:00"),
        ("s", -1, "1969-12-31T23:59:59"),
        ("ms", -1, "1969-12-31T23:59:59.999000"),
        ("us", -1, "1969-12-31T23:59:59.999999"),
        # what is finer than a microsecond is cut towards the past, however long the number is
        ("ns", 1_714_566_615_123_456_789, "2024-05-01T12:30:15.123456"),
        ("ns", -1, "1969-12-31T23:59:59.999999"),
        ("ns", 9_999_999_999_999_999_999, "2286-11-20T17:46:39.999999"),
        ("s", Decimal("1714607999.9999999"), "2024-05-01T23:59:59.999999"),
        ("s", Decimal("-0.0000001"), "1969-12-31T23:59:59.999999"),
        # no compact date and no other unit, whatever the digits look like
        ("s", 20_240_501, "1970-08-23T06:21:41"),
        ("ms", 20_240_501_123_015, "2611-05-26T01:25:23.015000"),
        ("us", 1_714_566_615, "1970-01-01T00:28:34.566615"),
    ],
)
def test_a_number_with_a_unit_is_read_in_it_exactly(unit: str, value: int | Decimal, instant: str) -> None:
    rule = DateRule(unit=unit)
    assert read(value, rule) == instant
    assert read(f"{Decimal(value):f}", rule) == instant
    assert read(Decimal(value), rule) == instant
    at = slow_count(Fraction(value), unit)
    assert at is not None
    assert at.isoformat() == instant


@pytest.mark.parametrize("unit", ["days", "s", "ms", "us", "ns"])
def test_the_day_before_the_first_year_and_the_one_after_the_last_are_refused_in_each_unit(unit: str) -> None:
    rule = DateRule(unit=unit)
    per_day = {"days": 1, "s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}[unit]
    for day in (-354_286, 2_932_897):
        for value in (day * per_day, str(day * per_day), Decimal(day * per_day), float(day * per_day)):
            assert "is outside the years 1000 to 9999" in read(value, rule)


@pytest.mark.parametrize("value", [19844.5, Decimal("19844.5"), "19844.5", Decimal("0.000000001")])
def test_a_part_of_a_day_is_refused(value: object) -> None:
    assert "has a part of a day, and unit='days' counts whole ones" in read(value, DateRule(unit="days"))


def test_days_are_a_date_without_a_time_and_the_other_units_are_instants() -> None:
    east = {unit: DateRule(unit=unit, timezone="Asia/Shanghai") for unit in ("days", "s", "ms", "us", "ns")}
    assert read(19844, east["days"]) == read("2024-05-01", EAST) == "2024-04-30T16:00:00"
    assert read(1714566615, east["s"]) == read(1714566615, UTC) == "2024-05-01T12:30:15"
    for unit, value in (("ms", 1714566615000), ("us", 1714566615000000), ("ns", 1714566615000000000)):
        assert read(value, east[unit]) == "2024-05-01T12:30:15"


def test_other_text_is_read_as_ever_beside_a_unit_and_formats_see_no_numbers() -> None:
    rule = DateRule(unit="days", formats=("%Y%m%d",))
    assert read("2024-05-01T12:30:15Z", rule) == "2024-05-01T12:30:15"
    assert read("20240501", rule) == "2024-05-01T00:00:00"
    for value in (20240501, 20240501.0, Decimal("20240501"), Decimal("20240501.0")):
        assert read(value, rule).startswith(f"error: {value} is outside the years 1000 to 9999")
    assert read(19844, rule) == "2024-05-01T00:00:00"


@pytest.mark.parametrize("text", ["0001", "00", "-00", "00000000", "019844"])
def test_a_number_with_leading_zeros_is_refused_with_and_without_a_unit(text: str) -> None:
    for unit in (None, "days", "s", "ms", "us", "ns"):
        assert "does not exist" in read(text, DateRule(unit=unit))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (Decimal("NaN"), "NaT"),
        (Decimal("Infinity"), "is outside the years"),
        (Decimal("1E-1000000"), "is not in a form that is read"),
        (Decimal("1E-30"), "1970-01-01T00:00:00"),
        (Decimal("1E+1000000"), "is outside the years"),
    ],
)
def test_a_decimal_of_any_size_ends_at_once(value: Decimal, why: str) -> None:
    assert why in read(value, DateRule(unit="s"))


def test_formats_see_whole_numbers_where_there_is_no_unit_and_no_fractions() -> None:
    rule = DateRule(formats=("%Y%m%d%H", "%Y%m%d%H.%M"))
    for value in (2024050112, 2024050112.0, Decimal("2024050112"), Decimal("2024050112.0"), "2024050112"):
        assert read(value, rule) == "2024-05-01T12:00:00"
    assert read("2024050112.30", rule) == "2024-05-01T12:30:00"
    assert read(Decimal("2024050112.30"), rule) == read(2024050112.30, rule) == "2034-02-20T12:08:32.300000"


def test_decimals_are_read_alike_together_and_alone() -> None:
    """Together they go by way of Arrow, unless one of them has more digits than it holds."""
    few = [
        "1714566615.5",
        "-0.000000001",
        "0.5",
        "1714566615.999999999",
        "2024050112.0",
        "1714566615123.456",
        "-1714566615.25",
    ]
    many = ["1714566615.1234567890123", "1E-75", "-1E-75", "1E+30", "9223372036854775808.5", "0", "NaN"]
    for rule in (
        DateRule(unit="s"),
        DateRule(unit="ns"),
        DateRule(),
        DateRule(unit="ms", is_date=True, timezone="Asia/Tokyo"),
    ):
        for texts in (few[:1] * 3, few, few + many):
            column = pd.Series([Decimal(text) for text in texts], dtype=object)
            parsed = parse_dates(column, rule)
            for at, text in enumerate(texts):
                alone = read(Decimal(text), rule)
                together = "NaT" if pd.isna(parsed.instants[at]) else parsed.instants[at].isoformat()
                assert f"error: {parsed.errors[at]}" == alone if at in parsed.errors else together == alone, (
                    text,
                    rule,
                )


def test_an_accepted_list_says_how_numbers_of_this_column_are_read() -> None:
    assert "an epoch of ten digits (s), 13 (ms), 16 (µs) or 19 (ns)" in read("soon")
    assert "an epoch in ms" in read("soon", DateRule(unit="ms"))
