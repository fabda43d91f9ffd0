"""Which fields are dates, and what is declared for them."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_ingest_tests.support.proposing import columns, declared, kind, propose, times

SECONDS = 1_714_550_400

FOUND: list[tuple[str, list[Any], str]] = [
    ("at", ["2024-05-01T10:00:00Z", "2024-05-02T11:00:00+08:00"], "date_field()"),
    ("day", ["2024-05-01", "2024-12-31"], "date_field(Date)"),
    ("anything", ["Wed, 01 May 2024 12:30:00 +0800"], "date_field()"),
    ("us", ["5/13/2024", "5/1/2024"], "date_field(Date)"),
    ("uk", ["13/05/2024", "01/05/2024"], "date_field(Date, day_first=True)"),
    ("dashes", ["31-12-2024", "01-02-2024"], 'date_field(Date, formats=["%d-%m-%Y"])'),
    ("short", ["31.12.24", "01.02.24"], 'date_field(Date, formats=["%d.%m.%y"])'),
    ("apache", ["10/Oct/2024:13:55:36 -0700"], 'date_field(formats=["%d/%b/%Y:%H:%M:%S %z"])'),
    ("createdAt", [SECONDS, SECONDS + 5], 'date_field(path="createdAt", unit="s")'),
    ("ts_ms", [SECONDS * 1000], 'date_field(unit="ms")'),
    ("event_time", [SECONDS * 10**6], 'date_field(unit="us")'),
    ("timestamp", [SECONDS * 10**9], 'date_field(unit="ns")'),
    ("updated_at", [f"{SECONDS}.25"], 'date_field(unit="s")'),
    ("birth_date", [19_844, 12_000], 'date_field(Date, unit="days")'),
    ("trade_date", [20_240_501], "date_field(Date)"),
    ("trade_time", ["20240501123000"], "date_field()"),
    ("start_date", [[2024, 5, 1], [2024, 12, 31]], "date_field(Date)"),
    ("start_time", [[2024, 5, 1, 12, 30]], "date_field()"),
    ("发布时间", ["2024年5月1日 12时30分"], "date_field()"),
]


@pytest.mark.parametrize(("name", "values", "expected"), FOUND)
def test_dates_are_found_with_what_has_to_be_declared(name: str, values: list[Any], expected: str) -> None:
    proposal = propose(*times(120, **{name: values}))
    (found,) = declared(proposal).values()
    assert found == expected
    assert proposal.outcomes.dead_letters == ()


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("id", [SECONDS], "BigInteger"),
        ("phone", ["1714550400"], "String(32)"),
        ("account", [20_240_501], "Integer"),
        ("response_time", [120, 85], "Integer"),
        ("version", ["1.2.2024.5"], "String(32)"),
        ("year", [2024], "Integer"),
        ("period", ["2024-05"], "String(16)"),
        ("start", ["soon", "later"], "String(16)"),
        ("matrix", [[2024, 5, 1]], "JSON"),
    ],
)
def test_what_only_looks_like_a_date_stays_what_it_is(name: str, values: list[Any], expected: str) -> None:
    assert kind(propose(*times(120, **{name: values})), name) == expected


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("05/01/2024", "day_first=True"),
        ("01-02-2024", "formats=['%d-%m-%Y'] or formats=['%m-%d-%Y']"),
        ("Wed, 01 May 2024 12:30:00 CST", "zones={'CST': …}"),
    ],
)
def test_dates_that_can_be_read_in_two_ways_stay_text_and_the_module_says_what_to_declare(
    value: str, advice: str
) -> None:
    proposal = propose(*times(120, day=[value]))
    assert kind(proposal, "day").startswith("String(")
    assert advice in columns(proposal)["day"].all_notes[0]


def test_texts_without_a_zone_are_said_to_be() -> None:
    proposal = propose(*times(120, at=["2024-05-01 10:00:00", "2024-05-01T10:00:00Z"]))
    (note,) = columns(proposal)["at"].all_notes
    assert note == '60 of 120 say no zone, and count as UTC: timezone="Area/City" if they mean another'


def test_a_few_that_are_no_dates_are_dead_letters_that_the_report_counts() -> None:
    proposal = propose(*times(396, at=["2024-05-01T10:00:00Z"]), *times(4, at=["unknown"]))
    assert kind(proposal, "at") == "date_field()"
    assert proposal.outcomes.dead == 4
    assert 'on_error="null" makes them NULL' in proposal.text


def test_blank_texts_are_missing_dates() -> None:
    proposal = propose(*times(120, at=["2024-05-01T10:00:00Z", ""]))
    assert kind(proposal, "at") == "date_field()"
    assert proposal.outcomes.rows == {"things": 120}


def test_an_epoch_before_2001_among_later_ones_is_read_by_the_unit_of_the_others() -> None:
    values = [SECONDS * 1000] * 19 + [63_072_000_000]
    proposal = propose(*times(100, created_at=values))
    assert declared(proposal)["created_at"] == 'date_field(unit="ms")'
    assert proposal.outcomes.dead == 0
    assert kind(proposal, "created_at") == "date_field()"


def test_numbers_and_blanks_of_a_field_that_is_called_as_a_date_are_dates_that_are_missing() -> None:
    proposal = propose(*times(120, at=[SECONDS, ""]))
    assert declared(proposal)["at"] == 'date_field(unit="s")'
    assert proposal.outcomes.dead == 0
    assert kind(propose(*times(120, at=["", 5])), "at") == "String(16)"
