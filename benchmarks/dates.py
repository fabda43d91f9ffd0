"""How many dates a second `parse_dates` reads on one core: per form, and a mix against the target.

    python -m benchmarks.dates [--values 200000] [--rounds 7] [--json FILE]

Medians; on one core.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pandas as pd

from benchmarks.command import write_json
from kafka_ingest.dates import DateRule, parse_dates

TARGET_PER_SECOND = 1_000_000
EAST = timezone(timedelta(hours=8))

FORMS: dict[str, Callable[[datetime], object]] = {
    "ISO 8601 without zone": lambda at: at.replace(tzinfo=None).isoformat(),
    "ISO 8601 Z, milliseconds": lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z",
    "ISO 8601 +08:00": lambda at: at.astimezone(EAST).isoformat(timespec="seconds"),
    "YYYY-MM-DD HH:MM:SS": lambda at: at.strftime("%Y-%m-%d %H:%M:%S"),
    "YYYY/M/D H:MM": lambda at: f"{at.year}/{at.month}/{at.day} {at.hour}:{at.minute:02d}",
    "M/D/YYYY HH:MM": lambda at: f"{at.month}/{at.day}/{at.year} {at:%H:%M}",
    "DD.MM.YYYY": lambda at: at.strftime("%d.%m.%Y"),
    "YYYYMMDDHHMMSS text": lambda at: at.strftime("%Y%m%d%H%M%S"),
    "YYYYMMDD integer": lambda at: int(at.strftime("%Y%m%d")),
    "2024年5月1日 12时30分": lambda at: f"{at.year}年{at.month}月{at.day}日 {at.hour}时{at.minute}分",
    "RFC 2822": lambda at: format_datetime(at.astimezone(EAST)),
    "May 1, 2024 12:30": lambda at: f"{at:%B} {at.day}, {at.year} {at:%H:%M}",
    "epoch ms integer": lambda at: int(at.timestamp() * 1000),
    "epoch ms text": lambda at: str(int(at.timestamp() * 1000)),
    "epoch s float": lambda at: at.timestamp(),
}


def seconds_per_call(values: pd.Series, rule: DateRule, rounds: int) -> float:
    """The median after one warm-up call."""
    took = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        parse_dates(values, rule)
        took.append(time.perf_counter() - started)
    return statistics.median(took[1:])


def measure(count: int, rounds: int) -> dict[str, float]:
    """Values a second by form."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    draw = random.Random(20240501)
    start = datetime(2015, 1, 1, tzinfo=timezone.utc)
    instants = [start + timedelta(microseconds=draw.randrange(10 * 365 * 86_400 * 10**6)) for _ in range(count)]
    forms = list(FORMS.values())
    mix = [draw.choice(forms)(at) for at in instants]
    columns: dict[str, tuple[list[object], str, DateRule]] = {
        name: ([form(at) for at in instants], "object", DateRule()) for name, form in FORMS.items()
    }
    dashed: list[object] = [at.strftime("%Y-%m-%d %H:%M:%S") for at in instants]
    columns["as above, pandas string column"] = (dashed, "string", DateRule())
    columns["as above, America/New_York"] = (dashed, "object", DateRule(timezone="America/New_York"))
    columns["as above, formats=('%Y-%m-%d %H:%M:%S',)"] = (dashed, "object", DateRule(formats=("%Y-%m-%d %H:%M:%S",)))
    columns["unreadable"] = ([f"no date {at:%d}" for at in instants], "object", DateRule())
    columns["MIX"] = (mix, "object", DateRule())
    columns["MIX, Asia/Shanghai"] = (mix, "object", DateRule(timezone="Asia/Shanghai"))
    return {
        name: count / seconds_per_call(pd.Series(values, dtype=dtype), rule, rounds)
        for name, (values, dtype, rule) in columns.items()
    }


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.dates", description=__doc__)
    options.add_argument("--values", type=int, default=200_000)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    rates = measure(chosen.values, chosen.rounds)
    print(f"{chosen.values:,} values, median of {chosen.rounds} calls, one core")
    for name, rate in rates.items():
        ratio = f"  {rate / TARGET_PER_SECOND:.2f} x target" if name.startswith("MIX") else ""
        print(f"{name:44s} {rate:12,.0f} values/s{ratio}")
    write_json(chosen.json, rates)


if __name__ == "__main__":
    main()
