"""A stream's status as a table for people and as JSON for programs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kafka_ingest.cli.status_state import Agreement, LoadedTotals, StreamStatus
from kafka_ingest.engine.shards import Shard
from kafka_ingest.ledger.leases import BACKFILL, Lease

_WORDS: dict[Agreement, str] = {
    "ok": "",
    "new": "not read yet",
    "group_behind": "ledger and group disagree: the group is behind; the ledger counts, the next run repairs the group",
    "group_ahead": "ledger and group disagree: the group is ahead; the ledger counts, the next run repairs the group. "
    "Does another consumer use this group?",
    "data_lost": "data lost: the log starts above the ledger's next offset",
    "cut_off": "the log ends below the ledger's next offset: another cluster, or an unclean leader election",
    "recreated": "the topic was deleted and created again: the ledger's offsets are of the old one",
}


def statuses_json(statuses: Iterable[StreamStatus]) -> dict[str, object]:
    """What `status --json` prints. Names and meanings stay; new ones may be added.

    {"streams": [{
        "stream": name, "group_id": text, "at": UTC instant (ISO 8601),
        "lag": offsets waiting, all partitions,
        "agrees": true where ledger, group and log agree in every partition,
        "missing_topics": [declared topics that do not exist],
        "partitions": [{"topic", "partition", "log_start", "log_end" (last stable offset),
                        "next_offset" (the ledger's; null: no run has seen the partition),
                        "group_offset" (null: none committed), "lag",
                        "state": "ok" | "new" | "group_behind" | "group_ahead" | "data_lost" | "cut_off" | "recreated"}],
        "tables": [{"table", "rows" (null: no table yet), "exact" (false: the server's estimate)}],
        "dead_letters": dead letters that wait (those a replay made something of are not counted),
        "loaded": {kind: {"batches", "rows", "deletes", "dead_letters", "ignored", "absent"}}, the ledger's sums; kinds
                  are live, backfill, replay, lost, and a kind that never ran is left out,
        "last_batch_at": UTC instant or null, "last_run_id": text or null,
        "windows": {"count", "first", "last"} (keys of the runs' windows; null where there are none),
        "runs": [{"run_id", "shard" ("0/1": the whole stream; "backfill": a backfill, "backfill 1/4": a part of one), "in_group"
                  (true: the run loads the other streams of its group, too), "host", "seen_seconds_ago" (by the database's
                  clock), "lapsed" (true: it is given up soon)}], live runs and those of backfills, by their leases
    }]}
    """
    return {"streams": [_stream_json(s) for s in statuses]}


def _stream_json(status: StreamStatus) -> dict[str, object]:
    return {
        "stream": status.stream,
        "group_id": status.group_id,
        "at": status.at.isoformat(),
        "lag": status.lag,
        "agrees": all(p.agreement in ("ok", "new") for p in status.partitions),
        "missing_topics": list(status.missing_topics),
        "partitions": [
            {
                "topic": p.topic,
                "partition": p.partition,
                "log_start": p.log_start,
                "log_end": p.log_end,
                "next_offset": p.next_offset,
                "group_offset": p.group_offset,
                "lag": p.lag,
                "state": p.agreement,
            }
            for p in status.partitions
        ],
        "tables": [{"table": t.table, "rows": t.rows, "exact": t.exact} for t in status.tables],
        "dead_letters": status.dead_letters,
        "loaded": {kind: _totals_json(totals) for kind, totals in status.loaded.items()},
        "last_batch_at": None if status.last_batch_at is None else status.last_batch_at.isoformat(),
        "last_run_id": status.last_run_id,
        "windows": {"count": status.windows, "first": status.first_window, "last": status.last_window},
        "runs": [
            {
                "run_id": run.run_id,
                "shard": run.shard if run.is_of_backfill else str(Shard.parse(run.shard)),
                "in_group": run.is_in_group,
                "host": run.host,
                "seen_seconds_ago": round(run.age_seconds, 1),
                "lapsed": run.is_lapsed,
            }
            for run in status.runs
        ],
    }


def _totals_json(totals: LoadedTotals) -> dict[str, int]:
    return {name: getattr(totals, name) for name in ("batches", "rows", "deletes", "dead_letters", "ignored", "absent")}


def as_table(status: StreamStatus) -> RenderableType:
    """The stream for a person."""
    return Group(_partitions_table(status), *(Text(line, style=style) for line, style in _lines(status)), Text())


def _partitions_table(status: StreamStatus) -> Table:
    table = Table(title=Text(f"stream {status.stream}, consumer group {status.group_id}"), title_justify="left")
    table.add_column("partition")
    for name in ("log start", "log end", "ledger next", "group", "lag"):
        table.add_column(name, justify="right")
    for p in status.partitions:
        warn = p.agreement not in ("ok", "new")
        table.add_row(
            f"{p.topic} {p.partition}",
            *(_number(n) for n in (p.log_start, p.log_end, p.next_offset, p.group_offset, p.lag)),
            style="yellow" if warn else None,
        )
    if len(status.partitions) > 1:
        table.add_section()
        table.add_row("all", "", "", "", "", _number(status.lag), style="bold")
    return table


def _lines(status: StreamStatus) -> Iterable[tuple[str, str]]:
    for topic in status.missing_topics:
        yield f"! topic {topic} does not exist yet", "yellow"
    for state in dict.fromkeys(p.agreement for p in status.partitions):
        if state not in ("ok", "new"):
            where = ", ".join(f"{p.topic}[{p.partition}]" for p in status.partitions if p.agreement == state)
            yield f"! {where}: {_WORDS[state]}", "yellow"
    if any(p.agreement == "new" for p in status.partitions):
        yield "Partitions without a ledger offset have not been read yet.", "dim"
    for run in status.runs:
        said = "does not answer" if run.is_lapsed else "is loading"
        yield (
            f"Run {run.run_id[:8]} on {run.host}{_what(run)} {said}, seen {run.age_seconds:.0f} s ago.",
            "yellow" if run.is_lapsed else "",
        )
    tables = ", ".join(f"{t.table} {_rows(t.rows, t.exact)}" for t in status.tables)
    yield f"Tables: {tables}; dead letters {status.dead_letters:,}", ""
    for kind, t in status.loaded.items():
        extra = "".join(
            f", {n:,} {word}"
            for n, word in ((t.deletes, "deletes"), (t.ignored, "ignored"), (t.absent, "absent offsets"))
            if n
        )
        yield f"Loaded {kind}: {t.rows:,} rows, {t.dead_letters:,} dead letters{extra} in {t.batches:,} ranges", ""
    if status.last_batch_at is None:
        yield "Nothing was loaded yet.", ""
    else:
        ago = max(0.0, (status.at - status.last_batch_at).total_seconds())
        yield (
            (
                f"Last batch {status.last_batch_at:%Y-%m-%d %H:%M:%S} UTC ({_ago(ago)} ago), run {status.last_run_id}; "
                f"{status.windows} window(s), {status.first_window or '-'} to {status.last_window or '-'}"
            ),
            "",
        )


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _what(run: Lease) -> str:
    """What it loads of the stream, where that is not all."""
    if run.shard == BACKFILL:
        return ", a backfill,"
    if run.is_of_backfill:
        return f", part {run.shard.split()[-1]} of a backfill,"
    if run.is_in_group:
        return ", with its group,"
    return "" if Shard.parse(run.shard).is_whole else f", shard {run.shard}"


def _rows(rows: int | None, exact: bool) -> str:
    return "(no table yet)" if rows is None else f"{'' if exact else 'about '}{rows:,} rows"


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else str(dt.timedelta(seconds=round(seconds)))
