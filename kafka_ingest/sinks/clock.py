"""How far a database's clock is from this machine's, as the doctor says it."""

from __future__ import annotations

import datetime as dt

from kafka_ingest.findings import Finding, ok, warn

SKEW_SECONDS = 2.0


def clock_finding(before: dt.datetime, theirs: dt.datetime, after: dt.datetime) -> Finding:
    """What to say of a clock that was read between two looks at this machine's; all are aware instants."""
    # Theirs was read somewhere between the two: only what lies outside is skew for sure.
    skew = max((theirs - after).total_seconds(), (before - theirs).total_seconds(), 0.0)
    if skew > SKEW_SECONDS:
        side = "ahead of" if theirs > after else "behind"
        return warn("database clock", f"{skew:.1f} s {side} this machine's", "Synchronise both clocks (NTP).")
    return ok("database clock", f"within {max(skew, (after - before).total_seconds()):.2f} s of this machine's")
