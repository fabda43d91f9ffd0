"""Dates in any of the usual forms to instants in UTC: `parse_dates` reads a column, `DateRule` says how.

| form | examples |
|---|---|
| ISO 8601 | `2024-05-01`, `2024-05-01T12:30Z`, `2024-05-01 12:30:15.123456789+08:00`, `20240501T123015+08` |
| slashes | `2024/05/01 12:30:15`, `5/1/2024 9:30 PM` (month first; day first with `day_first=True`) |
| dots | `2024.05.01 12:30`, `01.05.2024 12:30` (always day.month.year, whatever `day_first`) |
| compact | `20240501`, `202405011230`, `20240501123015`, as text or integer |
| Chinese | `2024年5月1日`, `2024年5月1日 12时30分15秒`, `2024年05月01日12:30:15`, `2024年5月1日 下午1:30`, `２０２４` |
| RFC 2822 | `Wed, 01 May 2024 12:30:00 +0800`, `1 May 2024 12:30 GMT`; EST, EDT, CST … are the US zones |
| English | `May 1, 2024 12:30`, `1 May 2024`, `01-May-2024` |
| epoch | `1714550400`, `1714550400.123456`, `1714550400000`, µs, ns, negative ones; a number, or text of nine digits or more |

1. Years have four digits; months, days and hours one or two. Case and surrounding white space do not matter.
2. `formats` come first, in their order, then the forms above.
3. A value without a zone is a wall clock in `timezone`. One that a clock change skips keeps its distance (02:30 becomes
   what is called 03:30); one that occurs twice is the earlier. What is finer than a microsecond is cut off.
4. Numbers, and text of digits: see epochs.py for how a compact date, and an epoch and its unit, is told. Text of fewer than
   nine digits is no epoch: "2024" is an error.
5. Second 60 is the next minute's :00; 24:00:00 the next day's 00:00. The name of the weekday is not compared with the
   date (as in email.utils). `-0000` is UTC.
6. None, NaN and blank text are missing: NaT, no error. Everything else that cannot be read, and every instant outside
   the years 1000 to 9999 in UTC (the range of a MySQL DATETIME: MySQL manual, "The DATE, DATETIME, and TIMESTAMP
   Types"), is NaT with an error.
"""

from __future__ import annotations

from kafka_ingest.dates.parsing import ParsedDates, parse_dates
from kafka_ingest.dates.rule import DateRule

__all__ = ["DateRule", "ParsedDates", "parse_dates"]
