"""Words in dates: months, weekdays, halves of the day and abbreviations of zones, read for all rows of a shape at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from kafka_ingest.dates.texts import shape_text
from kafka_ingest.dates.wallclock import Array
from kafka_ingest.errors import ConfigError


class Words:
    """Names of one kind and the number each stands for; case does not matter."""

    def __init__(self, numbers: dict[str, int]) -> None:
        codes = np.concatenate([_pack(np.frombuffer(word.encode(), dtype=np.uint8)[None]) for word in numbers])
        order = np.argsort(codes)
        self._codes = codes[order]
        self._numbers = np.array(list(numbers.values()), dtype=np.int64)[order]

    def read(self, letters: Array) -> tuple[Array, Array]:
        """The number of each row's word, and which rows hold a known word."""
        codes = _pack(letters)
        at = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        return self._numbers[at], self._codes[at] == codes


def _pack(letters: Array) -> Array:
    """The words of up to 12 letters in the rows of a byte grid as numbers, five bits a letter, the same for A and a."""
    codes = np.zeros(len(letters), dtype=np.int64)
    for column in letters.T:
        codes = codes * 32 + (column & 31)
    return codes


_MONTH_NAMES = ["january", "february", "march", "april", "may", "june", "july"]
_MONTH_NAMES += ["august", "september", "october", "november", "december"]
_DAY_NAMES = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
MONTHS = Words({"sept": 9} | {name[:cut]: at + 1 for at, name in enumerate(_MONTH_NAMES) for cut in (3, 9)})
WEEKDAYS = Words({name[:cut]: at for at, name in enumerate(_DAY_NAMES) for cut in (3, 9)})
HALVES = Words({"am": 0, "pm": 12})

# --- Chinese and Japanese -------------------------------------------------------------------------------------------

# The hours that are written with a part of the day, and what they are. Those that people read in two ways are not among them:
# 晚上12点 is this midnight or the next, 午後12時 noon or midnight.
_PARTS_OF_THE_DAY: tuple[tuple[str, dict[int, int]], ...] = (
    ("上午", {hour: hour % 12 for hour in range(1, 13)}),
    ("下午 午后", {hour: hour % 12 + 12 for hour in range(1, 13)}),
    ("午前", {hour: hour for hour in range(12)}),
    ("午後", {hour: hour + 12 for hour in range(12)}),
    ("凌晨", {12: 0} | {hour: hour for hour in range(7)}),
    ("清晨 早晨 早上 早", {hour: hour for hour in range(4, 12)}),
    ("中午", {11: 11, 12: 12, 1: 13}),
    ("傍晚", {hour: hour + 12 for hour in range(4, 9)}),
    ("晚上 晚间 晚", {hour: hour + 12 for hour in range(5, 12)}),
)
_WEEKDAY_CHINESE, _WEEKDAY_JAPANESE = "(?:星期|礼拜|禮拜|周|週)(?:一|二|三|四|五|六|日|天)", "(?:月|火|水|木|金|土|日)"


def _hours_by_part() -> dict[str, Array]:
    found: dict[str, Array] = {}
    for words, hours in _PARTS_OF_THE_DAY:
        table = np.full(100, -1, dtype=np.int64)
        table[list(hours)] = list(hours.values())
        found |= dict.fromkeys(map(shape_text, words.split()), table)
    return found


HOURS_BY_PART = _hours_by_part()
"""The word, as shapes have it → the hour of the day by the hour that is written, two digits at most; -1 where there is none."""
PART_OF_DAY = "|".join(word for words, _ in _PARTS_OF_THE_DAY for word in words.split())
"""Pattern of those words."""
EAST_ASIAN_WEEKDAY = (
    rf"(?:{_WEEKDAY_CHINESE}|{_WEEKDAY_JAPANESE}曜日?|"
    rf"\((?:{_WEEKDAY_CHINESE}|{_WEEKDAY_JAPANESE}(?:曜日?)?|一|二|三|四|五|六)\))"
)
"""Pattern of 星期三, 周三, (三), 水曜日, (水)."""

# --- zones ----------------------------------------------------------------------------------------------------------

# What RFC 822 (5.1) calls zones, without CST and CDT: those are China's too, and Cuba's.
_HOURS_OF_ZONES = dict.fromkeys(("z", "ut", "utc", "gmt"), 0) | {"est": -5, "edt": -4, "mst": -7, "mdt": -6}
_HOURS_OF_ZONES |= {"pst": -8, "pdt": -7}
_OFFSET = re.compile(r"([+-])([01][0-9]|2[0-3]):([0-5][0-9])")
_NAME = re.compile(r"[A-Za-z]{2,6}")
# Every month of the years in which zones have the names they have today; there is no rule after 2037.
_FIRST_YEAR, _LAST_YEAR = 1970, 2037


@lru_cache(maxsize=64)
def zone_words(zones: Sequence[tuple[str, str]]) -> Words:
    """Seconds east of UTC of the abbreviations that are known, and of a column's own.

    Raises ConfigError for what is no abbreviation, no offset, and no zone that uses it.
    """
    known = {name: hours * 3_600 for name, hours in _HOURS_OF_ZONES.items()}
    for name, meaning in zones:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(f"zones: {name!r} is no abbreviation of two to six letters, as 'CST' is", setting="zones")
        known[name.lower()] = _seconds_of(name, meaning)
    return Words(known)


def _seconds_of(name: str, meaning: str) -> int:
    if isinstance(meaning, str) and (offset := _OFFSET.fullmatch(meaning)):
        seconds = int(offset[2]) * 3_600 + int(offset[3]) * 60
        return -seconds if offset[1] == "-" else seconds
    try:
        zone = ZoneInfo(meaning)
    except (KeyError, ValueError, OSError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"zones: {name!r} is {meaning!r}, which is neither an offset such as '+08:00' nor a known IANA zone such as "
            "'Asia/Shanghai'",
            setting="zones",
        ) from error
    offsets: dict[str, set[int]] = {}
    for month in range(_FIRST_YEAR * 12, (_LAST_YEAR + 1) * 12):
        at = datetime(month // 12, month % 12 + 1, 1, tzinfo=timezone.utc).astimezone(zone)
        east = at.utcoffset() or timedelta()
        offsets.setdefault(str(at.tzname()), set()).add(round(east.total_seconds()))
    found = offsets.get(name.upper(), set())
    if len(found) != 1:
        what = f"has meant {len(found)} offsets there" if found else f"is not used there, but {', '.join(offsets)}"
        raise ConfigError(
            f"zones: {name!r} is {meaning!r}, and {what}: give the offset, as zones={{{name!r}: '+08:00'}}",
            setting="zones",
        )
    return found.pop()
