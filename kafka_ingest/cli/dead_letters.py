"""`kafka-ingest dead-letters list|show|replay`: works on the database alone, without Kafka and Dagster."""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Literal, TypedDict, TypeVar, get_args

import click

from kafka_ingest.backfill.selection import MAX_OFFSET, MAX_PARTITION, TIME_EXAMPLE, parse_time
from kafka_ingest.cli.console import make_console
from kafka_ingest.cli.dead_letters_view import (
    ReplayReport,
    group_table,
    letter_json,
    letter_table,
    letter_text,
    replayed_table,
)
from kafka_ingest.cli.json_output import json_option, print_json
from kafka_ingest.cli.options import streams_named
from kafka_ingest.engine.replay import ReplayPlan, plan_replay, replay
from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka.schema_registry import schema_finder
from kafka_ingest.ledger import dead_letters as stored
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter, Status, at_position, conditions, with_id
from kafka_ingest.ledger.dead_letters import StoredDeadLetter
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import Position, Stage

if TYPE_CHECKING:
    from typing_extensions import Unpack

_OFFSETS = re.compile(r"(?P<first>\d{1,18})(?:-(?P<end>\d{1,18}))?", re.ASCII)
_GROUPS_BEFORE_REPLAY = 5

Command = TypeVar("Command", bound=Callable[..., object])

_FILTERS = (
    click.option("--stream", help="Of this stream only."),
    click.option("--topic", "topics", multiple=True, help="Of this topic only. Repeatable."),
    click.option("--partition", type=click.IntRange(0, MAX_PARTITION), help="Of this Kafka partition only."),
    click.option("--offset", metavar="N|START-END", help="At this offset, or in these, the end exclusive."),
    click.option("--route", help="Of this message type only."),
    click.option("--stage", type=click.Choice(get_args(Stage)), help="That failed at this stage only."),
    click.option("--error", metavar="TEXT", help="Whose error has this text in it; with a %, a whole LIKE pattern."),
    click.option(
        "--from", "since", metavar="TIME", help=f"From this time on: {TIME_EXAMPLE}; UTC where it has no zone."
    ),
    click.option("--to", "until", metavar="TIME", help="Before this time."),
    click.option(
        "--time",
        "clock",
        type=click.Choice(["created", "kafka"]),
        default="created",
        show_default=True,
        help="What --from and --to mean: when the letter was recorded, or the message's Kafka timestamp.",
    ),
)


class _Filters(TypedDict):
    """What the options of `filters` give."""

    stream: str | None
    topics: tuple[str, ...]
    partition: int | None
    offset: str | None
    route: str | None
    stage: Stage | None
    error: str | None
    since: str | None
    until: str | None
    clock: Literal["created", "kafka"]


def filters(command: Command) -> Command:
    """The options that choose dead letters."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def _filter(status: Status, **options: Unpack[_Filters]) -> DeadLetterFilter:
    first, end = _offsets(options["offset"])
    return DeadLetterFilter(
        stream=options["stream"],
        topics=options["topics"],
        partition=options["partition"],
        first_offset=first,
        end_offset=end,
        route=options["route"],
        stage=options["stage"],
        error=options["error"],
        since=parse_time("--from", options["since"]),
        until=parse_time("--to", options["until"]),
        clock=options["clock"],
        status=status,
    )


def _offsets(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    match = _OFFSETS.fullmatch(text)
    if match is None:
        raise click.UsageError(f"--offset: {text!r} is neither an offset nor START-END, such as 100-200")
    first = int(match["first"])
    end = first + 1 if match["end"] is None else int(match["end"])
    if first >= end:
        raise click.UsageError(f"--offset: {text!r} is empty; the end is exclusive")
    return first, end


@click.group("dead-letters")
def dead_letters() -> None:
    """See the messages that could not become rows, and replay them."""


@dead_letters.command("list")
@filters
@click.option(
    "--status",
    type=click.Choice(get_args(Status)),
    default="waiting",
    show_default=True,
    help="waiting: not replayed, or still a dead letter; replayed: became a row, a delete, or ignored.",
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="The newest so many.")
@click.option("--summary", is_flag=True, help="Count them by stream, stage and error instead.")
@json_option("Print one JSON object.")
def list_(status: Status, limit: int, summary: bool, is_json: bool, **options: Unpack[_Filters]) -> None:
    """Show dead letters, newest first."""
    where = conditions(_filter(status, **options))
    with _opened() as sink, sink.errors("reading dead letters"), sink.engine.connect() as connection:
        exists = stored.has_dead_letters_table(connection)
        total = stored.count(connection, where) if exists else 0
        groups = stored.groups(connection, where, limit) if exists and summary else []
        found = stored.newest(connection, where, limit) if exists and not summary else []
    if is_json:
        listed = {
            "groups": [{"stream": g.stream, "stage": g.stage, "error": g.error, "letters": g.letters} for g in groups]
        }
        print_json(
            json.dumps({"total": total} | (listed if summary else {"dead_letters": list(map(letter_json, found))}))
        )
        return
    if not total:
        click.echo("No dead letters." if status == "all" else f"No dead letters ({status}).")
        return
    make_console().print(group_table(groups) if summary else letter_table(found))
    click.echo(
        _listed(total, sum(g.letters for g in groups), len(groups)) if summary else f"{len(found):,} of {total:,}"
    )


def _listed(total: int, shown: int, groups: int) -> str:
    return f"{total:,} dead letters" + (f", {shown:,} of them in the {groups:,} groups shown" if shown < total else "")


@dead_letters.command()
@click.argument("which", metavar="ID|TOPIC[PARTITION]@OFFSET")
@click.option("--stream", help="Where several streams have a dead letter at this position.")
@click.option("--raw", is_flag=True, help="Write the value's original bytes to standard output, and nothing else.")
@json_option("Print one JSON object, bytes in base64.")
def show(which: str, stream: str | None, raw: bool, is_json: bool) -> None:
    """Show everything about one dead letter, its original bytes among it."""
    letter = _find(which, stream)
    if raw:
        if letter.value is None:
            raise click.ClickException("the value is null (a tombstone): there are no bytes to write")
        if sys.stdout.isatty():
            raise click.ClickException("the bytes may hold anything a terminal obeys; send them to a file or a program")
        sys.stdout.buffer.write(letter.value)
        return
    if is_json:
        print_json(json.dumps(letter_json(letter)))
    else:
        click.echo(letter_text(letter))


def _find(which: str, stream: str | None) -> StoredDeadLetter:
    position = Position.parse(which)
    if position is not None:
        where = at_position(position)
    elif which.isdecimal() and len(which) <= 18:
        where = with_id(int(which))
    else:
        raise click.UsageError(f"{which!r} is neither an id nor TOPIC[PARTITION]@OFFSET, such as 17 or 'news[0]@100'")
    where = where & conditions(DeadLetterFilter(stream=stream, status="all"))
    with _opened() as sink, sink.errors("reading a dead letter"), sink.engine.connect() as connection:
        found = stored.read_dead_letters(connection, where, 2) if stored.has_dead_letters_table(connection) else []
    if not found:
        raise ConfigError(f"there is no dead letter {which}" + (f" of stream {stream}" if stream else ""))
    if len(found) > 1:
        raise ConfigError(f"several streams have a dead letter {which}; name one with --stream")
    return found[0]


@dead_letters.command("replay")
@filters
@click.option("--limit", type=click.IntRange(1, MAX_OFFSET), help="At most so many of each stream.  [default: all]")
@click.option("--dry-run", is_flag=True, help="Only say what would become of each; everything is rolled back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option("Print one JSON object.")
def replay_(limit: int | None, dry_run: bool, yes: bool, is_json: bool, **options: Unpack[_Filters]) -> None:
    """Run the original bytes of waiting dead letters through today's code, once.

    Each becomes a row, a delete, ignored, or stays a dead letter with its new error. One that became a row, a
    delete or ignored is never replayed again, so the command may be repeated. Without filters: all that wait, of all streams.
    """
    wanted = _filter("waiting", **options)
    streams = streams_named(wanted.stream)
    run_id = f"cli-{uuid.uuid4()}"
    with _opened() as sink:
        find_schemas = schema_finder(Settings.from_environment())
        plans = [
            plan_replay(sink, stream, wanted, run_id=run_id, limit=limit, find_schemas=find_schemas)
            for stream in streams.values()
        ]
        for plan in plans:
            for topic, number in plan.left_out.items():
                _say(
                    f"{number:,} dead letters of topic {topic} are left alone: stream {plan.stream.name} no longer reads it"
                )
        plans = [plan for plan in plans if plan.letters]
        if plans and not (dry_run or yes):
            _confirm(sink, plans)
        reports = []
        for plan in plans:
            report = ReplayReport(plan.stream.name, dry_run, run_id, dict(plan.left_out))
            reports.append(report)
            try:
                for result in replay(sink, plan, run_id=run_id, dry_run=dry_run):
                    report.add(result)
            finally:  # what was committed before an error is said as well
                if not is_json:
                    _show(report)
    if is_json:
        print_json(json.dumps({"replays": [report.as_json() for report in reports]}))
    elif not reports:
        click.echo("No dead letters to replay.")


def _confirm(sink: Sink, plans: list[ReplayPlan]) -> None:
    for plan in plans:
        with sink.errors("reading dead letters"), sink.engine.connect() as connection:
            groups = stored.groups(connection, plan.where, _GROUPS_BEFORE_REPLAY)
        make_console().print(group_table(groups))
        _say(f"Stream {plan.stream.name}: {plan.letters:,} dead letters")
    click.confirm(f"Replay {sum(plan.letters for plan in plans):,} dead letters?", abort=True, err=True)


def _show(report: ReplayReport) -> None:
    if shown := report.shown():
        make_console().print(replayed_table(shown))
    click.echo(report.text())


def _say(text: str) -> None:
    click.echo(text, err=True)


def _opened() -> closing[Sink]:
    return closing(open_sink(Settings.from_environment().database_url))
