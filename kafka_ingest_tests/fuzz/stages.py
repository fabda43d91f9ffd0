"""What must hold of every input, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import pandas as pd

from kafka_ingest.dates.parsing import parse_dates
from kafka_ingest.dates.rule import DateRule
from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.sinks.mysql.load_data_format import encode_rows
from kafka_ingest.slices import Headers, OffsetRange, RawSlice
from kafka_ingest.streams.information import Announcement, Information
from kafka_ingest.streams.stream import RouteByField, RouteByHeader, Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.models import Account, Booking, Everything
from kafka_ingest_tests.fuzz.mutate import Mutator

ROUTES = {"e": Everything, "account": Account, "information": Information, "announcement": Announcement}
STREAMS = (
    Stream(name="fuzz", topics="mixed", routes=ROUTES, route_by=RouteByField("type"), timezone="America/New_York"),
    Stream(name="fuzz", topics="mixed", routes=ROUTES, unrouted="ignore", timezone="UTC"),
    Stream(name="fuzz", topics="mixed", routes={**ROUTES, "booking": Booking}, route_by=RouteByHeader("kind")),
)
RULES = (DateRule(), DateRule(timezone="Asia/Shanghai", day_first=True), DateRule(formats=("%d-%m-%y %H:%M", "%Y%j")))
FIRST, LAST = np.datetime64("1000-01-01T00:00:00", "us"), np.datetime64("9999-12-31T23:59:59.999999", "us")


Message = tuple[bytes | None, bytes | None, Headers | None]
"""Value, key and headers."""


class Broken(AssertionError):
    """An invariant does not hold, or a stage raised; `inputs` are the fewest found that show it."""

    def __init__(self, what: str, inputs: list[object]) -> None:
        super().__init__(f"{what}\n  " + "\n  ".join(repr(i)[:2_000] for i in inputs[:5]))
        self.inputs = inputs


class Messages:
    """Slices of messages through decode, routing, dates, validation and the text of LOAD DATA."""

    def __init__(self) -> None:
        self._decoders = [StreamDecoder(stream) for stream in STREAMS]
        self._slices = 0
        self.outcomes = {"rows": 0, "deletes": 0, "dead letters": 0, "ignored": 0}

    def check(self, mutator: Mutator, count: int) -> None:
        """`count` messages, for each stream in turn. Raises Broken."""
        which = self._slices % len(STREAMS)
        self._slices += 1
        values, keys = mutator.values(count), mutator.keys(count)
        by_header = isinstance(STREAMS[which].route_by, RouteByHeader)
        headers = mutator.headers(count) if by_header else [None] * count
        self.check_these(which, list(zip(values, keys, headers, strict=True)))

    def check_these(self, which: int, messages: Sequence[Message]) -> None:
        """These messages, for one of STREAMS. Raises Broken."""
        try:
            self._check(which, messages)
        except Exception as error:
            few = self._narrow(which, messages)
            raise Broken(f"{type(error).__name__}: {error} (stream {which})", list(few)) from error

    def _check(self, which: int, messages: Sequence[Message]) -> None:
        given = [value for value, _, _ in messages]
        raw = raw_slice(messages)
        parsed = run_pipeline(self._decoders[which].decode(raw), STREAMS[which])
        counts = {
            "rows": _numbers(parsed.rows),
            "deletes": _numbers(parsed.deletes),
            "dead letters": np.array([letter.number for letter in parsed.dead_letters], dtype=np.int64),
            "ignored": np.asarray(parsed.ignored, dtype=np.int64),
        }
        together = np.sort(np.concatenate(list(counts.values())))
        assert np.array_equal(together, np.arange(len(given))), "not each input is in exactly one place"
        for name, numbers in counts.items():
            self.outcomes[name] += len(numbers)
        # What a dead letter keeps is what the slice holds under its number.
        assert all(parsed.raw.values[letter.number] is given[letter.number] for letter in parsed.dead_letters)
        assert all(letter.error.strip() for letter in parsed.dead_letters)
        for frame in parsed.rows.values():
            encode_rows(frame, list(frame.columns))

    def _narrow(self, which: int, inputs: Sequence[Message]) -> Sequence[Message]:
        """Halves as long as a half shows it too."""
        while len(inputs) > 1:
            middle = len(inputs) // 2
            for half in (inputs[:middle], inputs[middle:]):
                try:
                    self._check(which, half)
                except Exception:  # noqa: BLE001  # whatever it is, it is what is looked for
                    inputs = half
                    break
            else:
                return inputs
        return inputs


def check_dates(mutator: Mutator, count: int, rule: DateRule) -> None:
    """`count` date values; see `check_these_dates`."""
    check_these_dates(mutator.dates(count), rule)


def check_these_dates(dates: Sequence[object], rule: DateRule, *, alone: int = 20) -> None:
    """Each date is an instant MySQL can hold, missing, or an error; so many of them also by themselves. Raises Broken."""
    count = len(dates)
    values = pd.Series(list(dates), dtype=object)
    try:
        found = parse_dates(values, rule)
        instants = found.instants.to_numpy(dtype="datetime64[us]")
        has_instant = ~np.isnat(instants)
        assert ((instants[has_instant] >= FIRST) & (instants[has_instant] <= LAST)).all(), "an instant out of range"
        assert not has_instant[found.errors.index.to_numpy(dtype=np.int64)].any(), "an instant and an error"
        missing = np.array([v is None or v != v or (isinstance(v, str) and not v.strip()) for v in values])
        lost = ~has_instant & ~missing
        lost[found.errors.index.to_numpy(dtype=np.int64)] = False
        assert not lost.any(), "a value became NULL without an error"
        # What becomes of a value is its own affair: some of them alone.
        for number in islice(range(0, count, max(1, count // alone)), alone):
            one = parse_dates(values.iloc[[number]], rule)
            assert one.instants.equals(found.instants.iloc[[number]]), "its neighbours count"
    except Exception as error:
        bad = values[lost].tolist() if "lost" in locals() else values.tolist()
        raise Broken(f"{type(error).__name__}: {error} ({rule})", bad) from error


def raw_slice(messages: Sequence[Message]) -> RawSlice:
    """One range of these messages."""
    count = len(messages)
    return RawSlice(
        ranges=(OffsetRange("mixed", 0, 0, count),),
        range_index=np.zeros(count, dtype=np.int32),
        offsets=np.arange(count, dtype=np.int64),
        timestamps_ms=np.arange(count, dtype=np.int64) + 1_767_250_800_000,
        keys=[key for _, key, _ in messages],
        values=[value for value, _, _ in messages],
        headers=[headers for _, _, headers in messages],
        absent=(0,),
    )


def _numbers(frames: dict[TargetTable, pd.DataFrame]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    parts = [frame.index.to_numpy(dtype=np.int64) for frame in frames.values()]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
