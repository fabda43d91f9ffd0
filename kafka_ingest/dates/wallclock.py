"""Calendar fields to wall-clock microseconds, and wall clocks to UTC.

Everything is an array; an instant is an int64 count of microseconds since 1970-01-01, on the wall clock or in UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from datetime import timezone as utc_zone
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MICROS_PER_SECOND = 1_000_000
MICROS_PER_DAY = 86_400 * MICROS_PER_SECOND

# Day number (since 1970-01-01) on which each month from 0001-01 to 10000-01 begins: one look-up instead of calendar
# arithmetic, and the next entry tells how long the month is. 480 kB.
_MONTH_STARTS = np.arange("0001-01", "10000-02", dtype="M8[M]").astype("M8[D]").astype(np.int32)
_FIRST_DAY = int(_MONTH_STARTS[0])
_DAYS = int(_MONTH_STARTS[-1]) - _FIRST_DAY

# Entries of a zone's day table are offset seconds plus this bias, so that 0 can mean "not looked up yet" and the
# table's untouched pages cost no memory. Offsets stay within a day by the definition of datetime.tzinfo.
_BIAS = 200_000
_CHANGES = 1  # the offset changes within this day
# No zone changes on the first and the last day that a datetime has, from which it may have no way to the zone.
_SECOND_DAY, _LAST_DAY_BUT_ONE = datetime(1, 1, 2, tzinfo=utc_zone.utc), datetime(9999, 12, 30, tzinfo=utc_zone.utc)


def wall_micros(
    year: Array,
    month: Array | int,
    day: Array | int,
    hour: Array | int,
    minute: Array | int,
    second: Array | int,
    micro: Array | int,
) -> tuple[Array, Array]:
    """Wall-clock microseconds, and which rows are possible.

    24:00:00 is the next day's midnight (ISO 8601); second 60, a leap second, is the next minute's :00 and its fraction
    is dropped. Day 31 in June, hour 25, minute 60 and the like are impossible; their microseconds mean nothing.
    """
    possible = (year >= 1) & (year <= 9999) & (month >= 1) & (month <= 12) & (day >= 1)
    at = np.where(possible, (year - 1) * 12 + month - 1, 0)
    start = _MONTH_STARTS[at]
    possible &= day <= _MONTH_STARTS[at + 1] - start
    possible &= (hour < 24) | ((hour == 24) & (minute == 0) & (second == 0) & (micro == 0))
    possible &= (minute < 60) & (second <= 60)
    seconds = (start + day - 1).astype(np.int64) * 86_400 + hour * 3_600 + minute * 60 + second
    return seconds * MICROS_PER_SECOND + np.where(second == 60, 0, micro), possible


def day_of_year(year: Array, day: Array) -> tuple[Array, Array]:
    """Month and day of the month of the `day`-th day of the year (1-based); (13, 1) where the year has no such day."""
    index = (np.clip(year, 1, 9999) - 1) * 12
    at = np.clip(_MONTH_STARTS[index] + day - 1, _FIRST_DAY, _FIRST_DAY + _DAYS - 1)
    month_index = np.searchsorted(_MONTH_STARTS, at, side="right") - 1
    inside = (day >= 1) & (month_index < index + 12) & (at == _MONTH_STARTS[index] + day - 1)
    return np.where(inside, month_index - index + 1, 13), np.where(inside, at - _MONTH_STARTS[month_index] + 1, 1)


def to_utc(wall: Array, timezone: str) -> Array:
    """UTC microseconds of wall clocks in an IANA zone, as `datetime(..., fold=0, tzinfo=ZoneInfo(...))` reads them.

    A wall clock that a spring-forward change skips keeps its distance: it is read with the offset before the change, so
    02:30 in a one-hour gap is the instant called 03:30. One that occurs twice is the first, earlier one.
    Outside the years 1 to 9999 the wall clock is returned as it is.
    """
    return wall - _offsets(wall, timezone, _wall_offset) * MICROS_PER_SECOND


def to_wall(instants: Array, timezone: str) -> Array:
    """Wall clocks in an IANA zone, of instants in UTC. Outside the years 1 to 9999 the instant is returned as it is."""
    return instants + _offsets(instants, timezone, _instant_offset) * MICROS_PER_SECOND


# Offset seconds of a zone at a naive datetime, which is on its wall clock or in UTC.
_OffsetAt = Callable[[datetime, ZoneInfo], int]


def _offsets(micros: Array, timezone: str, offset_at: _OffsetAt) -> Array | int:
    if timezone == "UTC" or not len(micros):
        return 0
    day = micros // MICROS_PER_DAY - _FIRST_DAY
    known = (day >= 0) & (day < _DAYS)
    day = np.where(known, day, 0)
    zone, table = _zone_days(timezone, offset_at)
    offsets = table[day]
    if (unseen := offsets == 0).any():
        for number in np.unique(day[unseen]).tolist():
            table[number] = _day_entry(zone, number + 1, offset_at)
        offsets = table[day]
    seconds = offsets.astype(np.int64) - _BIAS
    # Only the values of the one or two days a year on which the offset changes are asked one by one, per second.
    changing = np.flatnonzero(known & (offsets == _CHANGES))
    if len(changing):
        asked, back = np.unique(micros[changing] // MICROS_PER_SECOND, return_inverse=True)
        answers = [_offset_at_second(zone, at, offset_at) for at in asked.tolist()]
        seconds[changing] = np.array(answers, dtype=np.int64)[back]
    return np.where(known, seconds, 0)


@lru_cache(maxsize=8)
def _zone_days(timezone: str, _offset_at: _OffsetAt) -> tuple[ZoneInfo, Array]:
    """The zone and its table of offsets per day, filled as days are met (14 MB of addresses, mostly untouched).

    Threads may fill it together: they write the same values.
    """
    return ZoneInfo(timezone), np.zeros(_DAYS, dtype=np.int32)


def _day_entry(zone: ZoneInfo, ordinal: int, offset_at: _OffsetAt) -> int:
    """The biased offset of a day, or _CHANGES. No zone changes twice within a day and back."""
    if ordinal >= date.max.toordinal():
        return _CHANGES
    first = offset_at(datetime.fromordinal(ordinal), zone)
    return first + _BIAS if first == offset_at(datetime.fromordinal(ordinal + 1), zone) else _CHANGES


def _offset_at_second(zone: ZoneInfo, second_of_epoch: int, offset_at: _OffsetAt) -> int:
    days, seconds = divmod(second_of_epoch, 86_400)
    at = datetime.fromordinal(days - _FIRST_DAY + 1)
    return offset_at(at.replace(hour=seconds // 3_600, minute=seconds // 60 % 60, second=seconds % 60), zone)


def _wall_offset(wall: datetime, zone: ZoneInfo) -> int:
    offset = wall.replace(tzinfo=zone).utcoffset()
    return 0 if offset is None else offset.days * 86_400 + offset.seconds


def _instant_offset(instant: datetime, zone: ZoneInfo) -> int:
    inside = min(max(instant.replace(tzinfo=utc_zone.utc), _SECOND_DAY), _LAST_DAY_BUT_ONE)
    offset = inside.astimezone(zone).utcoffset()
    return 0 if offset is None else offset.days * 86_400 + offset.seconds
