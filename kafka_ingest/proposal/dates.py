"""Which fields are dates, and what has to be declared for them to be read: found by reading the sample with `kafka_ingest.dates`.

A text is a date where it is one in a form that says so. A number is one only where the field's name says so too: an id has as
many digits as an epoch. What could be read in two ways stays as it is, and the module says what to declare.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd

from kafka_ingest.dates import DateRule, parse_dates
from kafka_ingest.dates.wallclock import MICROS_PER_DAY
from kafka_ingest.proposal.fields import Field
from kafka_ingest.proposal.names import snake_case

LEAST_READ = 0.95
"""The part of a field's values that have to be dates."""

_PROBED, _PROBED_FORMATS = 200, 20
_MOST_CHARACTERS, _LEAST_DIGITS = 80, 3
_HINT = re.compile(
    r"(^|_)(at|on|ts|time|date|day|when|timestamp|datetime|created|updated|modified|changed|expires|expiry|expiration|epoch|dob"
    r"|birthday|since|until|start|end|begin)(_(s|ms|us|ns|sec|secs|seconds|millis|micros|nanos|utc))*$"
    r"|(time|date|timestamp)$|时间|時間|日期|日時"
)
_DAY_HINT = re.compile(r"(^|_)(on|date|day|dob|birthday)(_days?)?$|date$|日期|日付")
_DIGITS = re.compile(r"\s*-?[0-9]+(\.[0-9]+)?\s*")
_SLASHES = re.compile(r"\s*[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}\b")
_CLOCK = re.compile(r"[0-9][:：時时点點][0-9]?|[0-9]T[0-9]|[AaPp][Mm]\b|[上下]午|午[前後]")
# Epochs from 2001-09-09 01:46:40 UTC to the end of 2100, as without a unit (dates/epochs.py); days from 2000 to 2069.
_EPOCHS = {
    unit: (10**9 * scale, 4_133_980_800 * scale)
    for unit, scale in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9))
}
_DAYS = (10_957, 36_525)
_LEAST_SIZED = 0.9
"""The part of a field's numbers that have to have the size of a unit; the others may be earlier than 2001."""

# Forms that have to be declared, as two of them could mean different days, or as they are of one product only (DB2, Apache).
_FORMATS = (
    *(f"{day}{clock}" for day in ("%d-%m-%Y", "%m-%d-%Y") for clock in ("", " %H:%M", " %H:%M:%S")),
    *(
        f"{day}{clock}"
        for day in ("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%y-%m-%d", "%y/%m/%d")
        for clock in ("", " %H:%M", " %H:%M:%S")
    ),
    "%d-%b-%y",
    "%d %b %y",
    "%d-%b-%y %I.%M.%S.%f %p",
    "%Y_%m_%d",
    "%Y-%m-%d_%H-%M-%S",
    "%Y-%m-%d-%H.%M.%S.%f",
    "%Y-%m-%d %H.%M.%S",
    "%H:%M:%S %d.%m.%Y",
    "%d/%b/%Y:%H:%M:%S %z",
)


@dataclass(frozen=True, slots=True)
class DateForm:
    """How a field's dates are declared."""

    is_day: bool = False
    unit: Literal["days", "s", "ms", "us", "ns"] | None = None
    formats: tuple[str, ...] = ()
    day_first: bool = False
    unreadable: int = 0
    """Messages whose value is no date so."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Undecided:
    """Dates that a person has to say more about; the column takes them as they are."""

    note: str


def date_form(field: Field) -> DateForm | Undecided | None:
    """The form of a field whose values are dates; None where they are none."""
    if field.kinds["instant"] >= field.seen * LEAST_READ:
        return DateForm()
    if field.kinds["day"] >= field.seen * LEAST_READ:
        return DateForm(is_day=True)
    if set(field.kinds) - field.outlier_kinds() - {"text", "integer", "number", "array"}:
        return None
    values = [_plain(value) for value in field.values]
    name = snake_case(field.path[-1])
    is_hinted = _HINT.search(name) is not None
    texts = sum(type(value) is str and not _DIGITS.fullmatch(value) and bool(value.strip()) for value in values)
    blanks = sum(type(value) is str and not value.strip() for value in values)
    if texts and texts + blanks >= field.seen * LEAST_READ:
        return _of_texts(values)
    if field.kinds["array"] >= field.seen * LEAST_READ:
        return _of_arrays(values) if is_hinted else None
    if not is_hinted or field.kinds["array"]:
        return None
    if texts:  # some are numbers, some are texts
        return _read(values, DateRule())
    return _of_numbers(values, is_day_hinted=_DAY_HINT.search(name) is not None)


def _plain(value: Any) -> Any:
    """Hashable, and nothing that `parse_dates` reads another way."""
    return (
        int(value)
        if isinstance(value, Decimal)
        and value.is_finite()
        and value == value.to_integral_value()
        and abs(value) < 2**63
        else value
    )


def _of_texts(values: Sequence[Any]) -> DateForm | Undecided | None:
    given = [value for value in values if type(value) is str and value.strip()]
    probe = given[:: max(1, len(given) // _PROBED)]
    # No form is without digits or longer than this; most texts are told apart so, without being read.
    like_dates = [t for t in probe if len(t) <= _MOST_CHARACTERS and sum(map(str.isdecimal, t)) >= _LEAST_DIGITS]
    if len(like_dates) <= len(probe) / 2:
        return None
    errors = _errors(probe, DateRule())
    if len(errors) <= len(probe) / 2:
        if any(_SLASHES.match(text) for text in given):
            return _of_slashes(values, given)
        return _read(values, DateRule())
    nameless = Counter(zone for error in errors if (zone := _unknown_zone(error)))
    if sum(nameless.values()) >= len(probe) / 2:
        shown = ", ".join(f"{zone!r}: …" for zone in nameless)
        return Undecided(f"dates whose zone nobody but you can tell: declare date_field(zones={{{shown}}})")
    some = probe[:: max(1, len(probe) // _PROBED_FORMATS)]
    fitting = [each for each in _FORMATS if len(_errors(some, DateRule(formats=(each,)))) <= len(some) / 4]
    return _of_formats(values, given, fitting)


def _unknown_zone(error: str) -> str | None:
    found = re.search(r"has the zone ([A-Z]{2,5}), of which", error)
    return None if found is None else found[1]


def _of_slashes(values: Sequence[Any], given: Sequence[str]) -> DateForm | Undecided | None:
    """1/2/2024: whether the month or the day is first, a value above 12 has to show."""
    fine = len(given) * LEAST_READ
    month, day = (len(given) - len(_errors(given, DateRule(day_first=first))) for first in (False, True))
    if month >= fine and day >= fine:
        return Undecided(
            "dates of which nothing shows whether the month or the day is first: date_field(), or date_field(day_first=True)"
        )
    return _read(values, DateRule(day_first=day > month))


def _of_formats(values: Sequence[Any], given: Sequence[str], fitting: Sequence[str]) -> DateForm | Undecided | None:
    kept: list[tuple[str, DateForm]] = []
    for each in fitting:
        form = _read(values, DateRule(formats=(each,)))
        if form is not None:
            kept.append((each, form))
    if not kept:
        return None
    best = min(form.unreadable for _, form in kept)
    kept = [(each, form) for each, form in kept if form.unreadable == best]
    readings = {tuple(_instants(given, DateRule(formats=(each,)))) for each, _ in kept}
    if len(readings) > 1:
        shown = " or ".join(f"formats=[{each!r}]" for each, _ in kept)
        return Undecided(f"dates that can be read in several ways: declare date_field({shown})")
    return kept[0][1]


def _of_numbers(values: Sequence[Any], *, is_day_hinted: bool) -> DateForm | None:
    values = [value for value in values if not (type(value) is str and not value.strip())]
    numbers = [float(value) for value in values if type(value) is not str or _DIGITS.fullmatch(value)]
    for unit, (low, end) in _EPOCHS.items():
        if sum(low <= number < end for number in numbers) >= len(values) * _LEAST_SIZED:
            return _read(values, DateRule(unit=unit))
    compact = [value for value in values if len(str(value).strip()) in (8, 12, 14)]
    if len(compact) >= len(values) * LEAST_READ:
        return _read(values, DateRule())
    is_whole = all(number.is_integer() for number in numbers)
    if (
        is_day_hinted
        and is_whole
        and sum(_DAYS[0] <= number < _DAYS[1] for number in numbers) >= len(values) * _LEAST_SIZED
    ):
        return _read(values, DateRule(unit="days"))
    return None


def _of_arrays(values: Sequence[Any]) -> DateForm | None:
    for unit in (None, "ns", "ms"):
        form = _read(values, DateRule(unit=unit))
        if form is not None:
            return form
    return None


def _read(values: Sequence[Any], rule: DateRule) -> DateForm | None:
    """The form by one rule, where it reads enough of the values."""
    given = [value for value in values if not (type(value) is str and not value.strip())]
    unreadable = len(_errors(given, rule))
    if not given or unreadable > len(given) * (1 - LEAST_READ):
        return None
    is_day = rule.unit == "days" or _are_days(given, rule)
    notes = () if is_day else tuple(_zone_notes(given, rule))
    return DateForm(is_day, rule.unit, rule.formats, rule.day_first, unreadable, notes)  # type: ignore[arg-type]  # a unit of ours


def _are_days(values: Sequence[Any], rule: DateRule) -> bool:
    """Whether no value has a time."""
    if rule.unit is not None:
        return False
    if all(isinstance(value, list) for value in values):
        return all(len(value) == 3 for value in values)
    texts = [str(value) for value in values if not isinstance(value, list)]
    if any(_CLOCK.search(text) for text in texts) or any(_DIGITS.fullmatch(t) and len(t.strip()) != 8 for t in texts):
        return False
    instants = _instants(texts, replace(rule, timezone="UTC"))
    return not (instants[~np.isnat(instants)].astype("int64") % MICROS_PER_DAY).any()


def _zone_notes(values: Sequence[Any], rule: DateRule) -> Iterable[str]:
    """How many say no zone: their instants move with the column's."""
    if rule.unit is not None:
        return
    here, there = (_instants(values, replace(rule, timezone=zone)) for zone in ("UTC", "Asia/Tokyo"))
    fine = ~(np.isnat(here) | np.isnat(there))
    walls = int((here[fine] != there[fine]).sum())
    if walls:
        yield f'{_share(walls, len(values))} say no zone, and count as UTC: timezone="Area/City" if they mean another'


def _share(part: int, whole: int) -> str:
    return "all" if part == whole else f"{part:,} of {whole:,}"


def _errors(values: Sequence[Any], rule: DateRule) -> list[str]:
    return list(parse_dates(pd.Series(list(values), dtype=object), rule).errors)


def _instants(values: Sequence[Any], rule: DateRule) -> Any:
    return parse_dates(pd.Series(list(values), dtype=object), rule).instants.to_numpy()
