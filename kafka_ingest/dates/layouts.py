"""Which shapes are dates: the forms that are read without being told.

A layout is a regular expression over shapes (see texts.py) whose named groups are the fields, named as strptime names
them. It is matched once per shape; the fields are then read from byte columns for all rows of the shape at once (fields.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from kafka_ingest.dates.texts import shape_text
from kafka_ingest.dates.words import EAST_ASIAN_WEEKDAY, PART_OF_DAY


@dataclass(frozen=True)
class Layout:
    """A form dates come in; `literals` are groups whose letters or digits must be just these, in lower case.

    A field may have a second group, of its name and a digit, as a pattern cannot name a group twice.
    """

    shape: re.Pattern[str]
    literals: dict[str, str] = field(default_factory=dict)


OFFSET = r"[+-]00(?::?00)?"
ABBREVIATION = "a{1,6}"
NUMBER = re.compile(r"(?P<sign>[+-])?(?P<whole>0{1,21})(?:\.(?P<part>0{1,9})0*)?")

# --- Days -----------------------------------------------------------------------------------------------------------

_DASHES, _SLASHES, _DOTS = (rf"(?P<Y>0000){mark}(?P<m>00?){mark}(?P<d>00?)" for mark in ("-", "/", r"\."))
_SLASHES_REVERSED = r"(?P<first>00?)/(?P<second>00?)/(?P<Y>0000)"
_DOTS_REVERSED = r"(?P<d>00?)\.(?P<m>00?)\.(?P<Y>0000)"
_NUMERIC = (_DASHES, _SLASHES, _DOTS, _SLASHES_REVERSED, _DOTS_REVERSED)
_CHINESE = "(?P<Y>0000) *年 *(?P<m>00?) *月 *(?P<d>00?) *[日号]"
_COMPACT = "(?P<Y>0000)(?P<m>00)(?P<d>00)"
_WEEKDAY = "(?:(?P<a>a{3,9}),? +)?"
_MONTH = r"(?P<b>a{3,9})\.?"
_NAMED = (
    rf"{_WEEKDAY}(?P<d>00?) +{_MONTH},? +(?P<Y>0000)",
    rf"{_WEEKDAY}{_MONTH} +(?P<d>00?),? +(?P<Y>0000)",
    rf"{_WEEKDAY}(?P<d>00?)-(?P<b>a{{3,9}})-(?P<Y>0000)",
)

# --- Times of day ---------------------------------------------------------------------------------------------------

_FRACTION = "[.,](?P<f>0{1,9})"
_COLONS = f"(?P<H>00?):(?P<M>00)(?::(?P<S>00)(?:{_FRACTION}|:(?P<f2>000))?)?"
_NO_COLONS = "(?P<H2>00)(?P<M2>00)(?:(?P<S2>00)(?:[.,](?P<f3>0{1,9}))?)?"
_CHINESE_CLOCK = f"(?:{_COLONS}|(?P<H2>00?)[时点](?:(?P<M2>00?)分(?:(?P<S2>00?)秒)?)?)"
# AM or PM. The zone "UT" has the same shape: rows that are neither fall through to a layout with a zone of two letters.
_HALF = "(?: ?(?P<p>aa)(?!a))?"

# --- Zones ----------------------------------------------------------------------------------------------------------

# Behind an offset its name does not count (Go's "+0800 CST", and "+0300 +03" where it has none), nor Go's monotonic clock.
_NAMED_OFFSET = rf"(?P<z>{OFFSET})(?: (?P<name>a{{3,6}}|[+-]00(?:00)?))?(?: (?P<monotonic>a)=[+-]0+\.0+)?"
_FROM_UTC = "(?P<utc>aaa)(?P<z2>[+-]00?(?::?00)?)"
# [Asia/Shanghai] of Java's ZonedDateTime and [u-ca=iso8601] of JavaScript's Temporal; comments are RFC 2822's and JavaScript's.
_AFTER_ZONE = r"(?:\[[a0/_+:=-]+\])*(?: *\([^()]*\))?"
_ZONE = f"(?:{_NAMED_OFFSET}|{_FROM_UTC}|(?P<z3>{ABBREVIATION})){_AFTER_ZONE}"
_TWO_LETTERS = f"(?P<z>aa){_AFTER_ZONE}"


def _built_in() -> Iterator[str]:
    for day in _NUMERIC:
        gap = "(?:,? +|(?P<T>a))"
        yield f"{_WEEKDAY}{day}(?:{gap}{_COLONS}{_HALF}(?: ?{_ZONE})?)?"
        yield f"{_WEEKDAY}{day}{gap}{_COLONS} ?{_TWO_LETTERS}"
    for day in _NAMED:
        yield f"{day}(?:,? +{_COLONS}{_HALF}(?: ?{_ZONE})?)?"
        yield f"{day},? +{_COLONS} ?{_TWO_LETTERS}"
    yield f"{_COMPACT}(?: +|(?P<T>a))(?:{_COLONS}|{_NO_COLONS}){_HALF}(?: ?{_ZONE})?"
    # asctime, date, the toString of Java's Date, and Twitter: the year comes last.
    for zone in (f"{_HALF}(?: ?{_ZONE})?", f" ?{_TWO_LETTERS}"):
        yield f"{_WEEKDAY}{_MONTH} +(?P<d>00?),? +{_COLONS}{zone} +(?P<Y>0000)"
    # RFC 822 and 850. "12 Jul 14" alone could be a day of 2012, so the time and the zone are needed, as they are there.
    yield f"{_WEEKDAY}(?P<d>00?)(?: +(?P<b>a{{3,9}}) +|-(?P<b2>a{{3,9}})-)(?P<yy>00) +{_COLONS} ?{_ZONE}"
    # An xs:date, and the dates of Debezium's isostring mode.
    yield f"{_DASHES}(?P<z>[+-]00:00|a)"
    # ASP.NET's JSON. The offset says where it was written, and does not change the instant.
    yield r"/(?P<Date>aaaa)\((?P<sign>[+-])?(?P<ms>0{1,15})(?:[+-]00:?00)?\)/"


def _east_asian() -> Iterator[str]:
    before, weekday = f"(?:{EAST_ASIAN_WEEKDAY},? *)?", EAST_ASIAN_WEEKDAY
    clock = f"(?:(?P<part>{PART_OF_DAY}) *)?{_CHINESE_CLOCK}(?: ?(?P<part2>{PART_OF_DAY}))?"
    word_follows = r"(?=[^\x00-\x7f])"
    for day in (_CHINESE, *_NUMERIC):
        gap = " *" if day is _CHINESE else f"(?:,? +| *{word_follows})"
        yield f"{before}{day}(?: *{weekday})?"
        yield f"{before}{day}(?: *{weekday} *|{gap}){clock}(?: ?{_ZONE})?(?: *{weekday})?"


_LITERALS = {"T": "t", "Date": "date", "monotonic": "m"}


def _layout(pattern: str) -> Layout:
    literals = {name: text for name, text in _LITERALS.items() if f"(?P<{name}>" in pattern}
    return Layout(re.compile(shape_text(pattern)), literals)


BUILT_IN = tuple(map(_layout, _built_in()))
EAST_ASIAN = tuple(map(_layout, _east_asian()))
"""With the words of Chinese and Japanese, which no text of ASCII alone has."""
