"""Avro's logical types as Python values, exact or not at all (Avro 1.12, "Logical Types"), and those
that Kafka Connect and Debezium give integers by a name."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.zigzag import read_long

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_LOCAL_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  a wall clock's
_DAY_ZERO = dt.date(1970, 1, 1).toordinal()
_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX)
_DAY_MICROSECONDS = 86_400_000_000

Convert = Callable[[Any], object]


def decimal_of(unscaled: bytes, scale: int) -> decimal.Decimal:
    """The number whose digits are a big-endian integer. No bytes are 0, as in Java's Connect."""
    try:
        return decimal.Decimal(int.from_bytes(unscaled, "big", signed=True)).scaleb(-scale, _EXACT)
    except decimal.DecimalException:
        raise BadMessage(f"a decimal has the scale {scale}") from None


def date_of(days: int) -> dt.date:
    """So many days after 1970-01-01."""
    try:
        return dt.date.fromordinal(_DAY_ZERO + days)
    except (ValueError, OverflowError):
        raise _outside(f"day {days}") from None


def time_of(microseconds: int) -> dt.time:
    """A time of day. Raises BadMessage for what is none."""
    if not 0 <= microseconds < _DAY_MICROSECONDS:
        raise BadMessage(f"{microseconds} µs is no time of a day")
    return (_LOCAL_EPOCH + dt.timedelta(microseconds=microseconds)).time()


def local_microseconds(count: int) -> dt.datetime:
    """So many after 1970, a wall clock's."""
    try:
        return _LOCAL_EPOCH + dt.timedelta(0, 0, count)
    except OverflowError:
        raise _outside(f"{count} µs after 1970") from None


def utc_milliseconds(count: int) -> dt.datetime:
    """So many after 1970, aware."""
    try:
        return _EPOCH + dt.timedelta(0, 0, 0, count)
    except OverflowError:
        raise _outside(f"{count} ms after 1970") from None


def utc_microseconds(count: int) -> dt.datetime:
    """So many after 1970, aware."""
    try:
        return _EPOCH + dt.timedelta(0, 0, count)
    except OverflowError:
        raise _outside(f"{count} µs after 1970") from None


def _outside(what: str) -> BadMessage:
    return BadMessage(f"{what} is outside the years 1 to 9999")


def _duration(data: bytes) -> dict[str, int]:
    """Months, days and milliseconds, which no column type but JSON holds."""
    names = ("months", "days", "milliseconds")
    return {name: int.from_bytes(data[4 * at : 4 * at + 4], "little") for at, name in enumerate(names)}


def _uuid_bytes(data: bytes) -> str:
    return str(uuid.UUID(bytes=data))


def _big_decimal(data: bytes) -> decimal.Decimal:
    length, at = read_long(data, 0)
    scale, end = read_long(data, at + length)
    if length < 0 or end != len(data):
        raise BadMessage("is no big-decimal")
    return decimal_of(data[at : at + length], scale)


_BY_NAME: Mapping[tuple[str, str], Convert] = {
    ("int", "date"): date_of,
    ("int", "time-millis"): lambda count: time_of(1_000 * count),
    ("long", "time-micros"): time_of,
    ("long", "timestamp-millis"): utc_milliseconds,
    ("long", "timestamp-micros"): utc_microseconds,
    ("long", "timestamp-nanos"): lambda count: utc_microseconds(count // 1_000),
    ("long", "local-timestamp-millis"): lambda count: local_microseconds(1_000 * count),
    ("long", "local-timestamp-micros"): local_microseconds,
    ("long", "local-timestamp-nanos"): lambda count: local_microseconds(count // 1_000),
    ("bytes", "big-decimal"): _big_decimal,
}


_DATA, _DEBEZIUM = "org.apache.kafka.connect.data", "io.debezium.time"
CONNECT_COUNTS: Mapping[str, Convert] = {
    f"{_DATA}.Date": date_of,
    f"{_DATA}.Time": lambda count: time_of(1_000 * count),
    f"{_DATA}.Timestamp": utc_milliseconds,
    f"{_DEBEZIUM}.Date": date_of,
    f"{_DEBEZIUM}.Time": lambda count: time_of(1_000 * count),
    f"{_DEBEZIUM}.MicroTime": time_of,
    f"{_DEBEZIUM}.NanoTime": lambda count: time_of(count // 1_000),
    # Debezium's timestamps are wall clocks: those of DATETIME and of timestamps without a time zone.
    f"{_DEBEZIUM}.Timestamp": lambda count: local_microseconds(1_000 * count),
    f"{_DEBEZIUM}.MicroTimestamp": local_microseconds,
    f"{_DEBEZIUM}.NanoTimestamp": lambda count: local_microseconds(count // 1_000),
}
"""What an integer with one of these names says; in Avro the name is the property `connect.name`."""


def logical_reader(kind: str, schema: Mapping[str, Any], size: int | None) -> Convert | None:
    """How values of this type are read on; None where it has no logical type, or one that is not valid: the standard has such a
    one ignored."""
    logical, connect = schema.get("logicalType"), schema.get("connect.name")
    if not isinstance(logical, str):
        return CONNECT_COUNTS.get(connect) if kind in ("int", "long") and isinstance(connect, str) else None
    if logical == "decimal" and kind in ("bytes", "fixed"):
        precision, scale = schema.get("precision"), schema.get("scale", 0)
        if type(precision) is int and type(scale) is int and 0 <= scale <= precision and precision > 0:
            return partial(_decimal, scale)
        return None
    if kind == "fixed":
        return {("duration", 12): _duration, ("uuid", 16): _uuid_bytes}.get((logical, size or 0))
    return _BY_NAME.get((kind, logical))


def _decimal(scale: int, data: bytes) -> decimal.Decimal:
    return decimal_of(data, scale)
