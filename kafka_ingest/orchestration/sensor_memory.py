"""What a stream's sensor remembers from tick to tick, in its cursor: a convenience, as all that counts stands in the ledger, in
Kafka and in Dagster's events. Where it is lost it is found again, at the price of some requests."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kafka_ingest.engine.stream_state import StreamState
from kafka_ingest.orchestration.window_reports import Through
from kafka_ingest.streams.group import StreamGroup


@dataclass(frozen=True, slots=True)
class SensorMemory:
    """Small, as Dagster keeps the cursor with every tick."""

    through: Through | None = None
    """How far the windows have been gone through."""
    looked_at: dt.datetime | None = None
    """When the stream was looked at last."""
    waiting_since: dt.datetime | None = None
    """Since when something waits and nothing was loaded; None where nothing waits."""
    observed_at: dt.datetime | None = None
    """When the sensor observed the topics last."""

    @classmethod
    def of(cls, cursor: str | None) -> SensorMemory:
        """From a cursor; nothing where it is not ours: a person may set any."""
        try:
            return cls._of(json.loads(cursor or "{}"))
        except ValueError:
            return cls()

    @classmethod
    def _of(cls, found: Any) -> SensorMemory:
        try:
            first, end = _instant(found.get("windows_first")), _instant(found.get("windows_end"))
            return cls(
                None if first is None or end is None else Through(first, end),
                *(_instant(found.get(name)) for name in ("looked_at", "waiting_since", "observed_at")),
            )
        except (ValueError, TypeError, AttributeError, OverflowError):
            return cls()

    @property
    def cursor(self) -> str:
        """As it is stored."""
        return json.dumps(self._fields())

    def _fields(self) -> dict[str, float]:
        """Seconds since the epoch."""
        times = {"looked_at": self.looked_at, "waiting_since": self.waiting_since, "observed_at": self.observed_at}
        if self.through is not None:
            times |= {"windows_first": self.through.first, "windows_end": self.through.end}
        return {name: round(at.timestamp(), 3) for name, at in times.items() if at is not None}

    def after(self, state: StreamState, *, now: dt.datetime) -> SensorMemory:
        """With what a look has seen."""
        since = None
        if state.lag:
            # A loader's clock may be ahead.
            since = max(self.waiting_since or now, min(now, state.loaded_at or _LONG_AGO))
        return replace(self, looked_at=now, waiting_since=since)


def memories_of(cursor: str | None, group: StreamGroup) -> dict[str, SensorMemory]:
    """By stream, what the sensor of a group, or of a stream of its own, remembers; nothing where the cursor is not ours."""
    if not group.is_shared:
        return {group.name: SensorMemory.of(cursor)}
    try:
        found = json.loads(cursor or "{}")
    except ValueError:
        found = {}
    known = found if isinstance(found, dict) else {}
    return {stream.name: SensorMemory._of(known.get(stream.name, {})) for stream in group.streams}


def cursor_of(memories: Mapping[str, SensorMemory], group: StreamGroup) -> str:
    """The cursor that `memories_of` reads."""
    if not group.is_shared:
        return memories[group.name].cursor
    return json.dumps({name: each._fields() for name, each in memories.items()})


_LONG_AGO = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def _instant(seconds: Any) -> dt.datetime | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
