"""One instant, written in the many ways producers write dates."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from email.utils import format_datetime

# The zone the example stream gives to dates without one; China has had no summer time since 1991.
SHANGHAI = dt.timezone(dt.timedelta(hours=8))
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_MINUTE = dt.timedelta(minutes=1)
_SECOND = dt.timedelta(seconds=1)
_MILLISECOND = dt.timedelta(milliseconds=1)

DateValue = str | int | float

# How it is written, from the instant in Shanghai time, and the precision it keeps.
_FORMS: dict[str, tuple[Callable[[dt.datetime], DateValue], dt.timedelta]] = {
    "iso_utc": (lambda at: f"{at.astimezone(dt.timezone.utc):%Y-%m-%dT%H:%M:%S}Z", _SECOND),
    "iso_milliseconds": (lambda at: at.astimezone(dt.timezone.utc).isoformat(timespec="milliseconds"), _MILLISECOND),
    "iso_offset": (lambda at: at.isoformat(timespec="seconds"), _SECOND),
    "iso_naive": (lambda at: f"{at:%Y-%m-%dT%H:%M:%S}", _SECOND),
    "sql": (lambda at: f"{at:%Y-%m-%d %H:%M:%S}", _SECOND),
    "slashes": (lambda at: f"{at:%Y/%m/%d %H:%M}", _MINUTE),
    "dots": (lambda at: f"{at:%d.%m.%Y %H:%M}", _MINUTE),
    "compact": (lambda at: f"{at:%Y%m%d%H%M%S}", _SECOND),
    "compact_number": (lambda at: int(f"{at:%Y%m%d%H%M%S}"), _SECOND),
    "chinese": (lambda at: f"{at.year}年{at.month}月{at.day}日 {at.hour}时{at.minute:02}分{at.second:02}秒", _SECOND),
    "chinese_half": (
        lambda at: (
            f"{at.year}年{at.month}月{at.day}日{'下午' if at.hour >= 12 else '上午'}{at.hour % 12 or 12}:{at.minute:02}"
        ),
        _MINUTE,
    ),
    "rfc_2822": (format_datetime, _SECOND),
    "rfc_2822_gmt": (lambda at: format_datetime(at.astimezone(dt.timezone.utc), usegmt=True), _SECOND),
    "epoch_seconds": (lambda at: int(at.timestamp()), _SECOND),
    "epoch_seconds_text": (lambda at: str(int(at.timestamp())), _SECOND),
    "epoch_milliseconds": (lambda at: (at - _EPOCH) // _MILLISECOND, _MILLISECOND),
    "epoch_milliseconds_text": (lambda at: str((at - _EPOCH) // _MILLISECOND), _MILLISECOND),
    "epoch_float": (lambda at: (at - _EPOCH) // _MILLISECOND / 1000, _MILLISECOND),
}

DATE_FORMS = tuple(_FORMS)

UNREADABLE_DATES: tuple[DateValue, ...] = (
    "soon",
    "yesterday at noon",
    "2026-02-30 10:00:00",
    "2026-13-01",
    "2026年13月1日",
    "99:99",
    "0000-00-00 00:00:00",
    "TBD",
    "2026-01-01T25:00:00Z",
    10**25,
)


def write_date(form: str, instant: dt.datetime) -> tuple[DateValue, dt.datetime]:
    """The instant in one of DATE_FORMS, and what of it that form keeps, in UTC."""
    write, precision = _FORMS[form]
    kept = _EPOCH + (instant - _EPOCH) // precision * precision
    return write(kept.astimezone(SHANGHAI)), kept


def any_date(rng: random.Random, instant: dt.datetime) -> DateValue:
    """The instant in a form of chance."""
    return write_date(rng.choice(DATE_FORMS), instant)[0]
