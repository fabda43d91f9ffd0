"""`kafka-ingest find`: why a row is missing, asked from the message's side."""

from __future__ import annotations

import json

import click

from kafka_ingest.backfill.selection import parse_time
from kafka_ingest.checks.fate import Fate, FoundMessage
from kafka_ingest.checks.find import Answer, answer_document, find, streams_of_topic
from kafka_ingest.checks.message_search import DEFAULT_LAST, MAX_LIMIT, Bounds, Meant, as_text, wanted_of
from kafka_ingest.cli.backfill_view import RunBar
from kafka_ingest.cli.clients import open_clients
from kafka_ingest.cli.errors import FailedCommand
from kafka_ingest.cli.json_output import json_option, print_json
from kafka_ingest.cli.options import streams_named
from kafka_ingest.cli.terminal import safe_text
from kafka_ingest.cli.trace import print_loads
from kafka_ingest.redaction import redact
from kafka_ingest.settings import MonitoringSettings, Settings
from kafka_ingest.slices import ranges_text

_COLORS: dict[Fate, str] = {"row": "green", "tombstone": "green", "dead_letter": "red", "lost": "red", "no_row": "red"}
_KEY_CHARACTERS = 80


@click.command("find")
@click.argument("topic")
@click.argument("text", metavar="KEY|FIELD=VALUE|OFFSET")
@click.option(
    "--as",
    "meant",
    type=click.Choice(["key", "field", "offset"]),
    help="What the text is, where it could be several.  [default: digits are an offset, NAME=VALUE a field, else a key]",
)
@click.option(
    "--stream", "stream_name", metavar="STREAM", help="Of this stream only.  [default: all that read the topic]"
)
@click.option("--from", "start", metavar="TIME", help="Search messages from this Kafka timestamp on.")
@click.option("--to", "end", metavar="TIME", help="Search messages up to this Kafka timestamp.")
@click.option(
    "--last",
    type=click.IntRange(1, 2**63 - 1),
    metavar="N",
    help=f"Search the last N offsets of each partition.  [default: {DEFAULT_LAST:,}; all where a time is given]",
)
@click.option(
    "--limit", type=click.IntRange(1, MAX_LIMIT), default=20, show_default=True, help="Messages shown, the newest."
)
@json_option("Print one JSON array, an object for each stream.")
def find_command(
    topic: str,
    text: str,
    meant: Meant | None,
    stream_name: str | None,
    start: str | None,
    end: str | None,
    last: int | None,
    limit: int,
    is_json: bool,
) -> None:
    """Show what became of a message: why is a row missing?

    Finds messages of TOPIC in Kafka and says of each whether it is a row, was superseded or deleted (by which message), is a
    dead letter, was ignored, waits, or is gone.

    \b
        kafka-ingest find information n42                    # by message key
        kafka-ingest find information source.name=Reuters    # by a field, at a dotted path
        kafka-ingest find information 1234                   # by offset, in each partition
        kafka-ingest find information 3:1234                 # in partition 3; or 'information[3]@1234'

    Values and keys are read in the stream's formats; bytes are written as 0x00ff. Run links need KAFKA_INGEST_DAGSTER_URL.
    Reads only. Exits with 1 where nothing was found.
    """
    bounds = Bounds(parse_time("--from", start), parse_time("--to", end), last)
    wanted = wanted_of(topic, text, meant)
    streams = streams_of_topic(streams_named(stream_name), topic)
    settings = Settings.from_environment()
    answers = []
    with open_clients(settings) as (metadata, sink), RunBar("searching", is_shown=not is_json) as bar:
        for stream in streams:
            answers.append(
                find(
                    stream,
                    topic,
                    wanted,
                    bounds,
                    metadata=metadata,
                    sink=sink,
                    settings=settings,
                    limit=limit,
                    on_progress=bar.move,
                )
            )
    known = MonitoringSettings.from_environment()
    if is_json:
        print_json(
            redact(json.dumps([answer_document(answer, known.run_link) for answer in answers], ensure_ascii=False))
        )
    else:
        for answer in answers:
            _print(answer, known)
    if not any(answer.found for answer in answers):
        raise FailedCommand(_nothing(answers, as_text(wanted)))


def _print(answer: Answer, known: MonitoringSettings) -> None:
    for each in answer.found:
        _print_message(each, known)
    if answer.reading.matched > len(answer.found):
        click.echo(f"{answer.reading.matched:,} messages match; these are the newest of them (--limit)")


def _print_message(found: FoundMessage, known: MonitoringSettings) -> None:
    click.secho(f"{found.position} {_one_line(found.text)}", bold=True, fg=_COLORS.get(found.fate))
    if found.timestamp is not None:
        click.echo(
            f"  Kafka timestamp {found.timestamp:%Y-%m-%d %H:%M:%S.%f} UTC, message key {_key_text(found.message_key)}"
        )
    if found.table is not None:
        key = "" if found.key is None else ", key " + ", ".join(f"{n}={v}" for n, v in found.key.items())
        click.echo(f"  table {_one_line(found.table + key)}")
    if found.advice is not None:
        click.echo(f"  run: {found.advice}")
    print_loads(found.loads, known)


def _one_line(text: str) -> str:
    return redact(safe_text(" ".join(text.split())))


def _key_text(key: bytes | None) -> str:
    if key is None:
        return "none"
    try:
        text = safe_text(json.dumps(key.decode("utf-8"), ensure_ascii=False))
    except UnicodeDecodeError:
        text = f"0x{key.hex()}"
    return text if len(text) <= _KEY_CHARACTERS else f"{text[:_KEY_CHARACTERS]}…"


def _nothing(answers: list[Answer], what: str) -> str:
    """Where it was looked, and how to look elsewhere."""
    searched = "; ".join(
        f"{ranges_text(answer.reading.ranges)}, {answer.reading.messages:,} messages"
        + (f", {answer.reading.undecodable:,} of them not of the stream's format" if answer.reading.undecodable else "")
        for answer in answers
    )
    return (
        f"No message was found with {safe_text(what)}. Searched: {searched}. Search more with --last or --from; --as key, field "
        "or offset says what the text is. What Kafka has deleted or compacted is found by offset only."
    )
