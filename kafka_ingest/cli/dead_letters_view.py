"""How dead letters, and what a replay made of them, read on a terminal and as JSON."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
from rich.table import Table
from rich.text import Text

from kafka_ingest.cli.terminal import hexdump, safe_text, shortened
from kafka_ingest.ledger.dead_letters import DeadLetterGroup, DeadLetterInfo, StoredDeadLetter, bytes_document
from kafka_ingest.sinks.replay_proposal import ReplayedLetter, ReplayResult
from kafka_ingest.slices import Outcome

_ERROR_CHARACTERS = 160
# Dead letters a replay names one by one; the numbers count all.
SHOWN_LETTERS = 1_000
_TABLE_LETTERS = 50
# More of a value than this is for --raw and a file.
_VALUE_BYTES = 256 * 1024

_WORDS: dict[Outcome, str] = {
    "row": "rows",
    "delete": "deletes",
    "ignored": "ignored",
    "dead_letter": "still dead letters",
}


def letter_table(letters: Iterable[DeadLetterInfo]) -> Table:
    """One dead letter a line, its error shortened."""
    table = Table()
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column("stream", overflow="fold")
    table.add_column("position", overflow="fold")
    table.add_column("recorded (UTC)", no_wrap=True)
    for name in ("stage", "route", "error"):
        table.add_column(name)
    table.add_column("status", no_wrap=True)
    for one in letters:
        error = shortened(one.error, _ERROR_CHARACTERS)
        cells = (str(one.id), one.stream, one.position, _time(one.created_at), one.stage, one.route or "", error)
        table.add_row(*(Text(safe_text(cell)) for cell in (*cells, status_text(one))))
    return table


def group_table(groups: Iterable[DeadLetterGroup]) -> Table:
    """One group a line, its error shortened."""
    table = Table()
    table.add_column("letters", justify="right")
    for name in ("stream", "stage", "error"):
        table.add_column(name)
    for each in groups:
        cells = (f"{each.letters:,}", each.stream, each.stage, shortened(each.error, _ERROR_CHARACTERS))
        table.add_row(*(Text(safe_text(cell)) for cell in cells))
    return table


def status_text(letter: DeadLetterInfo) -> str:
    """What has become of it."""
    if letter.is_waiting:
        return "waiting" if not letter.attempts else f"waiting, tried {letter.attempts}x"
    return f"replayed: {letter.replay_outcome}"


def letter_json(letter: DeadLetterInfo) -> dict[str, object]:
    """What `list --json` prints of a dead letter, and `show --json` with the bytes. Names and meanings stay; new ones may come.

    {"id", "stream", "topic", "partition", "offset", "kafka_timestamp" (UTC instant or null), "route" (null: none was
     found), "stage", "error", "run_id", "created_at", "status": "waiting" | "replayed", "attempts", "outcome" (of the last
     replay: "row" | "delete" | "ignored" | "dead_letter" | null), "replayed_at", "replay_run_id", "published_at",
     "publish_error", "key_bytes", "value_bytes" (null: a tombstone);
     show only: "key", "value" ({"base64", "text" (null: not UTF-8)} or null), "headers" ([[name, the same or null], …])}
    """
    found: dict[str, object] = {
        "id": letter.id,
        "stream": letter.stream,
        "topic": letter.topic,
        "partition": letter.kafka_partition,
        "offset": letter.kafka_offset,
        "kafka_timestamp": _iso(letter.kafka_timestamp),
        "route": letter.route,
        "stage": letter.stage,
        "error": letter.error,
        "run_id": letter.run_id,
        "created_at": _iso(letter.created_at),
        "status": "waiting" if letter.is_waiting else "replayed",
        "attempts": letter.attempts,
        "outcome": letter.replay_outcome,
        "replayed_at": _iso(letter.replayed_at),
        "replay_run_id": letter.replay_run_id,
        "published_at": _iso(letter.published_at),
        "publish_error": letter.publish_error,
        "key_bytes": letter.key_bytes,
        "value_bytes": letter.value_bytes,
    }
    if isinstance(letter, StoredDeadLetter):
        found["key"], found["value"] = bytes_document(letter.key), bytes_document(letter.value)
        found["headers"] = [[name, bytes_document(value)] for name, value in letter.headers or ()]
    return found


def letter_text(letter: StoredDeadLetter) -> str:
    """Everything about one dead letter, for a person."""
    facts = [
        ("dead letter", f"{letter.id} of stream {letter.stream}, {letter.position}"),
        ("status", status_text(letter)),
        ("route", letter.route or "(none found)"),
        ("stage", letter.stage),
        ("error", letter.error),
        ("Kafka timestamp", _time(letter.kafka_timestamp)),
        ("recorded", f"{_time(letter.created_at)} by run {letter.run_id}"),
    ]
    if letter.replayed_at is not None:
        facts.append(
            ("last replay", f"{_time(letter.replayed_at)} by run {letter.replay_run_id}: {letter.replay_outcome}")
        )
    if letter.published_at is not None:
        facts.append(("published", _time(letter.published_at)))
    if letter.publish_error is not None:
        facts.append(("not published", letter.publish_error))
    lines = [f"{name + ':':<17}{safe_text(value)}" for name, value in facts]
    lines += _body("key", letter.key, "(none)")
    lines.append(f"headers: {len(letter.headers or ())}")
    for name, value in letter.headers or ():
        lines.append(f"  {safe_text(name)}: {'(null)' if value is None else _one_line(value)}")
    return "\n".join([*lines, *_body("value", letter.value, "(null: a tombstone)")])


def _body(name: str, data: bytes | None, none: str) -> list[str]:
    if data is None:
        return [f"{name}: {none}"]
    shown = data[:_VALUE_BYTES]
    cut = [] if len(shown) == len(data) else [f"  … {len(data) - len(shown):,} bytes more; --raw writes all of them"]
    return [f"{name}: {len(data):,} bytes", *(f"  {line}" for line in pretty(shown).split("\n")), *cut]


def pretty(data: bytes) -> str:
    """JSON indented; other text as it is; anything else as a hexdump. No control character but the newline."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return hexdump(data)
    with suppress(msgspec.MsgspecError, RecursionError):
        text = msgspec.json.format(text, indent=2)  # only moves the white space: digits, escapes and repeats stay
    return safe_text(text, keep="\n")


def _one_line(data: bytes) -> str:
    try:
        return safe_text(data.decode("utf-8"))
    except UnicodeDecodeError:
        return f"{data.hex(' ')} (hex)"


@dataclass(slots=True)
class ReplayReport:
    """What a replay of one stream made of its dead letters."""

    stream: str
    dry_run: bool
    run_id: str
    left_out: dict[str, int]
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    rows_by_table: Counter[str] = field(default_factory=Counter)
    letters: list[ReplayedLetter] = field(default_factory=list)

    def add(self, result: ReplayResult) -> None:
        """Count one slice of the replay. The first thousand dead letters are kept one by one."""
        self.outcomes.update(letter.outcome for letter in result.letters)
        self.rows_by_table.update(result.load.rows_by_table)
        self.letters += result.letters[: SHOWN_LETTERS - len(self.letters)]

    @property
    def total(self) -> int:
        """Dead letters replayed, whatever became of them."""
        return sum(self.outcomes.values())

    def as_json(self) -> dict[str, object]:
        """{"stream", "dry_run", "run_id", "replayed", "outcomes": {"row", "delete", "ignored", "dead_letter"},
        "rows_by_table", "left_out": {topic the stream no longer reads: dead letters}, "letters": the first thousand, each
        {"id", "position", "outcome", and of a dead letter "route", "stage", "error"}}"""
        return {
            "stream": self.stream,
            "dry_run": self.dry_run,
            "run_id": self.run_id,
            "replayed": self.total,
            "outcomes": {outcome: self.outcomes[outcome] for outcome in _WORDS},
            "rows_by_table": {table: rows for table, rows in self.rows_by_table.items() if rows},
            "left_out": self.left_out,
            "letters": [
                {"id": one.id, "position": one.position, "outcome": one.outcome}
                | ({"route": one.route, "stage": one.stage, "error": one.error} if one.stage else {})
                for one in self.letters
            ],
        }

    def text(self) -> str:
        """One line for a person: the numbers, by outcome and by table."""
        verb = "would be replayed" if self.dry_run else "replayed"
        parts = ", ".join(f"{self.outcomes[o]:,} {word}" for o, word in _WORDS.items() if self.outcomes[o])
        tables = ", ".join(f"{table} {rows:,}" for table, rows in sorted(self.rows_by_table.items()) if rows)
        return (
            f"Stream {self.stream}: {self.total:,} dead letters {verb}: {parts or 'nothing was left to do'}"
            + (f" (rows: {tables})" if tables else "")
            + (". Nothing was written." if self.dry_run else f". Run {self.run_id}")
        )

    def shown(self) -> Sequence[ReplayedLetter]:
        """In a dry run the first dead letters of any kind; else those that failed again."""
        wanted = [one for one in self.letters if self.dry_run or one.outcome == "dead_letter"]
        return wanted[:_TABLE_LETTERS]


def replayed_table(letters: Iterable[ReplayedLetter]) -> Table:
    """One replayed dead letter a line, with the new error where it has one."""
    table = Table()
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column("position", overflow="fold")
    for name in ("outcome", "stage", "error"):
        table.add_column(name)
    for one in letters:
        cells = (str(one.id), one.position, one.outcome, one.stage or "", shortened(one.error or "", _ERROR_CHARACTERS))
        table.add_row(*(Text(safe_text(cell)) for cell in cells))
    return table


def _time(instant: dt.datetime | None) -> str:
    return "-" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}"


def _iso(instant: dt.datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
