"""How one column's dates are read, and strptime formats as layouts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

from kafka_ingest.dates.epochs import UNITS
from kafka_ingest.dates.layouts import ABBREVIATION, OFFSET, Layout
from kafka_ingest.dates.texts import shape_text
from kafka_ingest.dates.words import zone_words
from kafka_ingest.errors import ConfigError

# The shape of each directive's field, standing alone and with digits next to it. Directives that follow the machine's
# locale (%c %x %X) or count weeks (%U %W %V %G %u %w) are not among them.
_DIRECTIVES = {
    "Y": ("0000", "0000"),
    "y": ("00", "00"),
    "m": ("00?", "00"),
    "d": ("00?", "00"),
    "j": ("0{1,3}", "000"),
    "H": ("00?", "00"),
    "I": ("00?", "00"),
    "M": ("00?", "00"),
    "S": ("00?", "00"),
    "f": ("0{1,9}", "000000"),
    "b": ("a{3,9}", "a{3,9}"),
    "a": ("a{3,9}", "a{3,9}"),
    "p": ("aa", "aa"),
    "z": (f"{OFFSET}|a", f"{OFFSET}|a"),
    "Z": (ABBREVIATION, ABBREVIATION),
}
# Both are the zone.
_GROUPS = {"Z": "z2"}
_SAME = {"B": "b", "A": "a"}
_NUMERIC = frozenset("YymdjHIMSf")
_TOKEN = re.compile(r"%(.)|(\s+)|(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DateRule:
    """How one column's dates are read.

    `formats`: strptime formats tried first, in order, before the built-in forms. Names of months and days are English
    whatever the machine's locale; case does not matter; a field next to another field of digits needs all its digits
    (%Y%m%d reads 20240501, not 202451); %f takes up to nine digits; a format with %z or %Z is zoned. They also apply to
    integers where there is no `unit`. `timezone`: the IANA zone of wall clocks without a zone. `day_first`: 01/02/2024 is
    1 February when true, 2 January when false; it concerns slashes only, dots are always day.month.year.
    `unit`: what numbers, and texts of digits, count from 1970-01-01 on: "days", "s", "ms", "us" or "ns"; where None they are
    read only if they can be one thing only (epochs.py). `zones`: what abbreviations of zones mean, as pairs of a name and an
    offset ("+08:00") or an IANA zone that uses the name; they come before the built-in ones. `is_date`: the column holds days
    without a time: what has none is that day, whatever its zone, and an instant is the day it has in `timezone`.

    Raises ConfigError for a zone, a unit or a format it cannot use.
    """

    formats: tuple[str, ...] = ()
    timezone: str = "UTC"
    day_first: bool = False
    unit: str | None = None
    zones: tuple[tuple[str, str], ...] = ()
    is_date: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.formats, tuple):
            raise ConfigError(
                f"formats must be a tuple of strptime formats, got {self.formats!r}: write ('%d.%m.%y',)",
                setting="formats",
            )
        for item in self.formats:
            if not isinstance(item, str) or "%" not in item:
                raise ConfigError(
                    f"date format {item!r} must be a strptime format such as '%d.%m.%Y %H:%M'", setting="formats"
                )
            layout_of(item)
        if not isinstance(self.day_first, bool):
            raise ConfigError(f"day_first must be True or False, got {self.day_first!r}", setting="day_first")
        if self.unit is not None and self.unit not in UNITS:
            raise ConfigError(f"unit is {self.unit!r}; it is one of {', '.join(UNITS)}, or left out", setting="unit")
        zone_words(self.zones)
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"timezone {self.timezone!r} is not a known IANA zone: use a name such as 'Asia/Shanghai' or 'UTC', "
                "and install the tzdata package where the machine has no zone database",
                setting="timezone",
            ) from error


@lru_cache(maxsize=256)
def layout_of(text: str) -> Layout:
    """The layout of a strptime format; ConfigError when it cannot be one."""
    tokens = [
        (_SAME.get(directive, directive), space, literal) for directive, space, literal in _TOKEN.findall(text.strip())
    ]
    shape, literals, used = "", {}, set[str]()
    for at, (directive, space, literal) in enumerate(tokens):
        if space:
            shape += " +"
        elif directive == "%":
            shape += "%"
        elif directive:
            if directive not in _DIRECTIVES or directive in used:
                what = "uses a field twice" if directive in used else f"uses %{directive}, which is not supported"
                raise ConfigError(
                    f"date format {text!r} {what}: build it from %{' %'.join(sorted(_DIRECTIVES))}", setting="formats"
                )
            used.add(directive)
            crowded = any(_is_digits(token) for token in tokens[max(at - 1, 0) : at] + tokens[at + 1 : at + 2])
            shape += f"(?P<{_GROUPS.get(directive, directive)}>{_DIRECTIVES[directive][crowded]})"
        elif literal == "%":
            raise ConfigError(
                f"date format {text!r} ends with a lone %: write %% for a percent sign", setting="formats"
            )
        elif literal.isascii() and literal.isalnum():
            literals[f"literal{at}_"] = literal.lower()
            shape += f"(?P<literal{at}_>{'0' if literal.isdigit() else 'a'})"
        else:
            shape += re.escape(shape_text(literal))
    if not used & {"Y", "y"}:
        raise ConfigError(f"date format {text!r} has no year (%Y or %y)", setting="formats")
    return Layout(re.compile(shape), literals)


def _is_digits(token: tuple[str, str, str]) -> bool:
    directive, _, literal = token
    return directive in _NUMERIC if directive else literal.isdigit()
