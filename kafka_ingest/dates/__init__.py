"""Dates in any of the usual forms to instants in UTC: `parse_dates` reads a column, `DateRule` says how.

| form | examples |
|---|---|
| ISO 8601 | `2024-05-01`, `2024-05-01T12:30Z`, `2024-05-01 12:30:15.123456789+08:00`, `20240501T123015+08`, `2024-05-01Z` |
| slashes | `2024/05/01 12:30:15`, `5/1/2024 9:30 PM` (month first; day first with `day_first=True`) |
| dots | `2024.05.01 12:30`, `01.05.2024 12:30` (always day.month.year, whatever `day_first`) |
| RFC 822, 2822, 850 | `Wed, 01 May 2024 12:30:00 +0800`, `1 May 24 12:30 EST`, `Wednesday, 01-May-24 12:30:15 GMT` |
| English | `May 1, 2024 12:30`, `01-May-2024`, `Wed May  1 12:30:15 2024`, `Wed May 01 12:30:15 +0800 2024` |
| Java, JavaScript, Go, .NET | `… 12:30:15 GMT+08:00 2024`, `…+08:00[Asia/Shanghai]`, `… +0000 UTC`, `/Date(1714566615123)/` |
| Chinese, Japanese | `2024年5月1日 12时30分15秒`, `2024-05-01 下午1:30`, `2024年5月1日(水) 午後1:30`, `２０２４` |
| arrays | `[2024, 5, 1]`, `[2024, 5, 1, 12, 30, 15, 123456789]` |
| numbers, texts of digits | epochs and compact dates, by the column's unit or by their digits: see epochs.py |

1. Years have four digits, but for those of RFC 822 (from 69 on 19.., up to 49 20..; the others are an error); months, days and
   hours one or two. Case, surrounding white space and the width of spaces do not matter.
2. `formats` come first, in their order, then the forms above.
3. A value without a zone is a wall clock in `timezone`. One that a clock change skips keeps its distance (02:30 becomes
   what is called 03:30); one that occurs twice is the earlier. What is finer than a microsecond is cut off.
4. What can be read in two ways is an error that names what to declare: `unit`, `formats` or `zones`.
5. In a column of days (`is_date`) a date without a time is that day, whatever its zone, and an instant is the day it has in
   `timezone`.
6. Second 60 is the next minute's :00 (of a day the same day); 24:00:00 the next day's 00:00. The name of the weekday is not
   compared with the date (as in email.utils). `-0000` is UTC.
7. None, NaN and blank text are missing: NaT, no error. Everything else that cannot be read, and every instant outside
   the years 1000 to 9999 in UTC (the range of a MySQL DATETIME: MySQL manual, "The DATE, DATETIME, and TIMESTAMP
   Types"), is NaT with an error.
"""

from __future__ import annotations

from kafka_ingest.dates.parsing import ParsedDates, parse_dates
from kafka_ingest.dates.rule import DateRule

__all__ = ["DateRule", "ParsedDates", "parse_dates"]
