"""Which shapes are dates, and how their fields are read.

A layout is a regular expression over shapes (see texts.py) whose named groups are the fields, named as strptime names
them. It is matched once per shape; the fields are then read from byte columns for all rows of the shape at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from kafka_ingest.dates.epochs import read_numbers
from kafka_ingest.dates.texts import fold
from kafka_ingest.dates.wallclock import MICROS_PER_SECOND, Array, day_of_year, wall_micros


@dataclass(frozen=True)
class Layout:
    """A form dates come in; `literals` are groups whose letters or digits must be just these, in lower case."""

    shape: re.Pattern[str]
    literals: dict[str, str] = field(default_factory=dict)


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
# Offset minutes of the zone names of RFC 2822, as email.utils reads them: CST is US Central, never China Standard Time.
_US_ZONES = {
    f"{region}{season}t": (hours + (season == "d")) * 60
    for region, hours in (("a", -4), ("e", -5), ("c", -6), ("m", -7), ("p", -8))
    for season in "sd"
}
ZONES = Words({"z": 0, "ut": 0, "utc": 0, "gmt": 0} | _US_ZONES)

OFFSET = r"[+-]00(?::?00)?"


def _built_in() -> Iterator[Layout]:
    dash, slash, dot = (rf"(?P<Y>0000){mark}(?P<m>00?){mark}(?P<d>00?)" for mark in ("-", "/", r"\."))
    reverse_slash, reverse_dot = r"(?P<first>00?)/(?P<second>00?)/(?P<Y>0000)", r"(?P<d>00?)\.(?P<m>00?)\.(?P<Y>0000)"
    chinese = "(?P<Y>0000)年(?P<m>00?)月(?P<d>00?)[日号]"
    named = (
        r"(?:(?P<a>a{3,9}),? +)?(?P<d>00?) +(?P<b>a{3,9})\.?,? +(?P<Y>0000)",
        r"(?:(?P<a>a{3,9}),? +)?(?P<b>a{3,9})\.? +(?P<d>00?),? +(?P<Y>0000)",
        r"(?P<d>00?)-(?P<b>a{3,9})-(?P<Y>0000)",
    )
    compact = "(?P<Y>0000)(?P<m>00)(?P<d>00)"
    fraction = "(?:[.,](?P<f>0{1,9}))?"
    colons = f"(?P<H>00?):(?P<M>00)(?::(?P<S>00){fraction})?"
    no_colons = f"(?P<H>00)(?P<M>00)(?:(?P<S>00){fraction})?"
    tail = rf"(?: ?(?P<p>aa)(?!a))?(?: ?(?P<z>{OFFSET}|aaa|a))?(?: *\([^()]*\))?"
    two_letters = " ?(?P<z>aa)"  # the zone "UT" has the shape of "PM": rows that are not PM fall through to it
    gap = "(?: +|(?P<T>a))"
    for day in (dash, slash, dot, reverse_slash, reverse_dot):
        yield _layout(f"{day}(?:{gap}{colons}{tail})?")
        yield _layout(f"{day}{gap}{colons}{two_letters}")
    for day in named:
        yield _layout(f"{day}(?:,? +{colons}{tail})?")
        yield _layout(f"{day},? +{colons}{two_letters}")
    yield _layout(f"{compact}{gap}(?:{colons}|{_renamed(no_colons)}){tail}")
    yield _layout(
        f"{chinese}(?: *(?:(?P<half>[上下])午 *)?(?:{colons}|(?P<H2>00?)[时点](?:(?P<M2>00?)分(?:(?P<S2>00?)秒)?)?))?"
    )


def _renamed(pattern: str) -> str:
    """The same fields under a second name each (H2 for H), as a pattern may not name a group twice."""
    return re.sub(r"\?P<(\w)>", r"?P<\g<1>2>", pattern)


def _layout(pattern: str) -> Layout:
    return Layout(re.compile(fold(pattern)), {"T": "t"} if "?P<T>" in pattern else {})


NUMBER = re.compile(r"(?P<sign>[+-])?(?P<whole>0{1,19})(?:\.(?P<part>0{1,9})0*)?")
BUILT_IN = tuple(_built_in())


def read(grid: Array, match: re.Match[str], layout: Layout, *, day_first: bool) -> tuple[Array, Array, Array]:
    """Microseconds, which rows are wall clocks (not yet UTC) and which are possible, of rows of one shape."""
    spans = {name.rstrip("2"): match.span(name) for name, text in match.groupdict().items() if text}
    zero = np.zeros(len(grid), dtype=np.int64)

    def number(name: str) -> Array:
        return _digits(grid, spans[name]) if name in spans else zero

    possible = np.ones(len(grid), dtype=bool)
    for name, letters in layout.literals.items():
        for at, letter in zip(range(*spans.get(name, (0, 0))), letters, strict=False):
            byte = grid[:, at]
            possible &= (byte == ord(letter)) | (byte == ord(letter.upper()))

    # 1. The day.
    year = number("Y")
    if "y" in spans:
        year = number("y")
        year = year + np.where(year < 69, 2000, 1900)  # as strptime and POSIX
    month = number("m") if "m" in spans else zero + 1
    day = number("d") if "d" in spans else zero + 1
    if "first" in spans:
        day, month = (number("first"), number("second")) if day_first else (number("second"), number("first"))
    if "b" in spans:
        month, known = MONTHS.read(grid[:, slice(*spans["b"])])
        possible &= known
    if "a" in spans:
        possible &= WEEKDAYS.read(grid[:, slice(*spans["a"])])[1]
    if "j" in spans:
        month, day = day_of_year(year, number("j"))

    # 2. The time of day.
    hour = number("H")
    if "I" in spans:
        hour = number("I")
    if "p" in spans or "half" in spans or "I" in spans:
        possible &= (hour >= 1) & (hour <= 12)
        hour = hour % 12
    if "p" in spans:
        half, known = HALVES.read(grid[:, slice(*spans["p"])])
        possible &= known
        hour = hour + half
    if "half" in spans and match["half"] == fold("下"):
        hour = hour + 12
    wall, exists = wall_micros(year, month, day, hour, number("M"), number("S"), _micros(grid, spans.get("f")))
    possible &= exists

    # 3. The zone.
    if "z" not in spans:
        return wall, np.ones(len(grid), dtype=bool), possible
    minutes, known = _zone(grid, spans["z"], match["z"])
    return wall - minutes * 60 * MICROS_PER_SECOND, np.zeros(len(grid), dtype=bool), possible & known


def read_digits(grid: Array, match: re.Match[str]) -> tuple[Array, Array, Array]:
    """As `read`, for text that is a number: 19 digits at most; leading zeros (zero dates) are impossible."""
    low, high = match.span("whole")
    magnitude = _digits(grid, (low, high), np.uint64)
    possible = magnitude < 2**63
    if high - low > 1:
        possible &= grid[:, low] != ord("0")
    nanos = _micros(grid, match.span("part") if match["part"] else None, places=9)
    negative = np.full(len(grid), match["sign"] == "-")
    micros, wall, exists = read_numbers(np.where(possible, magnitude, 0).astype(np.int64), nanos, negative)
    return micros, wall, possible & exists


def _digits(grid: Array, span: tuple[int, int], dtype: type[np.generic] = np.int64) -> Array:
    total = np.zeros(len(grid), dtype=dtype)
    for at in range(*span):
        total *= 10
        total += grid[:, at] & 15
    return total


def _micros(grid: Array, span: tuple[int, int] | None, places: int = 6) -> Array:
    """A fraction as an integer of so many decimal places; further digits are cut off."""
    if span is None:
        return np.zeros(len(grid), dtype=np.int64)
    low, high = span[0], min(span[1], span[0] + places)
    return _digits(grid, (low, high)) * np.int64(10 ** (places + low - high))


def _zone(grid: Array, span: tuple[int, int], shape: str) -> tuple[Array, Array]:
    """Minutes east of UTC, and which rows have a zone that can be."""
    low, high = span
    if shape[0] == "a":
        return ZONES.read(grid[:, low:high])
    hours = _digits(grid, (low + 1, low + 3))
    minutes = _digits(grid, (high - 2, high)) if high - low > 3 else np.zeros(len(grid), dtype=np.int64)
    return (hours * 60 + minutes) * (-1 if shape[0] == "-" else 1), (hours < 24) & (minutes < 60)
