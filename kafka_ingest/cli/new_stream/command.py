"""`kafka-ingest new-stream`: the module of a stream, from a sample of its topic; later, how it has drifted from it."""

from __future__ import annotations

import json
import os
import shlex
from contextlib import ExitStack
from pathlib import Path

import click

from kafka_ingest.cli.backfill_view import RunBar
from kafka_ingest.cli.clients import open_clients
from kafka_ingest.cli.console import make_console
from kafka_ingest.cli.errors import FailedCommand
from kafka_ingest.cli.json_output import json_option, print_json
from kafka_ingest.cli.new_stream.place import ModulePlace, already_there, module_place, write_module
from kafka_ingest.cli.new_stream.view import drift_view, proposal_view
from kafka_ingest.cli.options import streams_named
from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.kafka.schema_registry import schema_finder, schema_registry
from kafka_ingest.proposal.drift import SubjectVersion, drift_of
from kafka_ingest.proposal.existing import read_table
from kafka_ingest.proposal.propose import Request, proposed
from kafka_ingest.proposal.report import drift_document, proposal_document
from kafka_ingest.proposal.sampling import DEFAULT_SAMPLE, MAX_SAMPLE, Sample, take_sample, topic_partitions
from kafka_ingest.redaction import redact
from kafka_ingest.settings import REGISTRY_URL, Settings, stream_modules
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.tables import compare_tables
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.streams.registry import check_together, declared_streams
from kafka_ingest.streams.stream import Stream


@click.command("new-stream")
@click.argument("name")
@click.option("--topic", metavar="TOPIC", help="The topic to read. Needed, but with --check.")
@click.option(
    "--sample",
    "count",
    type=click.IntRange(1, MAX_SAMPLE),
    default=DEFAULT_SAMPLE,
    show_default=True,
    help="About so many messages are looked at, of all partitions, from the begin to the end of the log.",
)
@click.option(
    "--table", metavar="TABLE", help="An existing table, or SCHEMA.TABLE, to load into.  [default: a new one]"
)
@click.option(
    "--subject", metavar="SUBJECT", help="Take the columns from the newest schema of this subject of the registry."
)
@click.option("--force", "is_forced", is_flag=True, help="Write over a module that is there.")
@click.option(
    "--check", "is_check", is_flag=True, help="Say how topic, model and table of a declared stream have drifted apart."
)
@json_option("Print one JSON object.")
def new_stream(
    name: str,
    topic: str | None,
    count: int,
    table: str | None,
    subject: str | None,
    is_forced: bool,
    is_check: bool,
    is_json: bool,
) -> None:
    """Write the module of a stream from a sample of its topic: columns, types, keys and routes; check it later.

    The sample is run through the new stream, and the first rows are shown, without loading any. The module goes into the
    project's package of streams. Nothing is written over, and no consumer group is joined.

    \b
        kafka-ingest new-stream orders --topic shop.orders
        kafka-ingest new-stream news --topic news --table news
        kafka-ingest new-stream orders --check

    With --check nothing is written. Exits with 1 where messages would be dead letters, a column gets nothing any more, or a table
    does not fit; new fields and newer schemas are only said.
    """
    if is_check:
        if topic or table or subject or is_forced:
            raise click.UsageError(
                "--check looks at the stream as it is declared; of the others it takes --sample and --json"
            )
        _check(name, count, is_json)
        return
    if topic is None:
        raise click.UsageError("say which topic: --topic TOPIC")
    place = module_place(name, Path.cwd())
    if place.file.exists() and not is_forced:
        raise already_there(place)
    settings = Settings.from_environment()
    schema = None if subject is None else _newest(settings, subject)
    if table is None:
        request = Request(name=name, topic=topic, schema=schema)
        _propose(
            request, _sample(settings, topic, count, is_json), settings, place, is_forced=is_forced, is_json=is_json
        )
        return
    with open_clients(settings) as (_, sink):
        request = Request(name=name, topic=topic, schema=schema, table=read_table(sink, table))
        sample = _sample(settings, topic, count, is_json)
        _propose(request, sample, settings, place, is_forced=is_forced, is_json=is_json, sink=sink)


def _sample(settings: Settings, topic: str, count: int, is_json: bool) -> Sample:
    metadata = KafkaMetadata(settings)
    partitions = topic_partitions(metadata, topic, settings)
    with RunBar("sampling", is_shown=not is_json) as bar:
        return take_sample(partitions, count, metadata=metadata, settings=settings, on_progress=bar.move)


def _newest(settings: Settings, subject: str) -> RegisteredSchema:
    found = schema_registry(settings).latest(subject)
    if found is None:
        raise ConfigError(
            f"the registry that {REGISTRY_URL} names has no subject {subject!r}; that of a topic's values is mostly TOPIC-value",
            setting="subject",
        )
    return found[1]


def _propose(
    request: Request,
    sample: Sample,
    settings: Settings,
    place: ModulePlace,
    *,
    is_forced: bool,
    is_json: bool,
    sink: Sink | None = None,
) -> None:
    """Propose, write, show. sink: of the existing table, which is compared with the model."""
    with proposed(request, sample, schema_finder(settings)) as (proposal, stream):
        refused = [] if sink is None else _refused(sink, stream)
    collision = _collision(stream)
    write_module(place, proposal.text, is_forced=is_forced)
    steps = _next_steps(request.name, place)
    if is_json:
        document = proposal_document(proposal)
        more = {
            "path": str(place.file),
            "table_problems": refused,
            "collision": collision,
            "next": [command for command, _ in steps],
        }
        print_json(redact(json.dumps({**document, **more}, ensure_ascii=False)))
    else:
        make_console().print(proposal_view(proposal))
        for problem in refused:
            click.secho(redact(f"The table does not fit yet: {problem}"), fg="yellow")
        if collision is not None:
            click.secho(redact(f"Before it runs: {collision}"), fg="yellow")
        click.echo(
            f"\nNothing was loaded. Wrote {os.path.relpath(place.file)}: read it, decide what its comments ask. Next:"
        )
        width = max(len(command) for command, _ in steps)
        for command, why in steps:
            click.echo(f"  {command:{width}}  # {why}")


def _refused(sink: Sink, stream: Stream) -> list[str]:
    """What a run would refuse of the existing table, with what mends it."""
    with sink.errors("comparing the table with the model"), sink.engine.connect() as connection:
        found = compare_tables(sink, connection, stream).refused
    return [f"{misfit.problem}; to mend it: {misfit.statement}" for misfit in found]


def _collision(stream: Stream) -> str | None:
    """What keeps the stream from standing among those that are declared: a table or a topic that one of them has."""
    if not stream_modules():
        return None
    try:
        others = [other for other in declared_streams().values() if other.name != stream.name]
        check_together([*others, stream])
    except ConfigError as error:
        return str(error)
    return None


def _next_steps(name: str, place: ModulePlace) -> list[tuple[str, str]]:
    steps = [
        ("kafka-ingest doctor", "is all there that a run needs?"),
        (f"kafka-ingest ingest {name} --until-caught-up", "load what waits, and end"),
        (f"kafka-ingest status {name}", "where it stands"),
        (f"kafka-ingest new-stream {name} --check", "later: what has changed in the topic since"),
    ]
    if not stream_modules():
        line = shlex.quote(f"KAFKA_INGEST_STREAMS={place.package}")
        return [(f"echo {line} >> .env", "so that commands find the streams"), *steps]
    return steps


def _check(name: str, count: int, is_json: bool) -> None:
    stream = streams_named(name)[name]
    settings = Settings.from_environment()
    metadata = KafkaMetadata(settings)
    with RunBar("sampling", is_shown=not is_json) as bar, ExitStack() as stack:
        state = metadata.topics(stream)
        sample = take_sample(state.partitions, count, metadata=metadata, settings=settings, on_progress=bar.move)
        sink = None if settings.database is None else stack.enter_context(open_clients(settings))[1]
        report = drift_of(stream, sample, schema_finder(settings), sink=sink, latest=_latest(stream, sample, settings))
    if is_json:
        print_json(redact(json.dumps(drift_document(report), ensure_ascii=False)))
    else:
        make_console().print(drift_view(report))
    if report.has_drifted:
        raise FailedCommand(f"Stream {name} has drifted from its topic or its tables")


def _latest(stream: Stream, sample: Sample, settings: Settings) -> list[SubjectVersion]:
    """The newest schemas of the topics' values, by the registry's usual name for their subjects."""
    if not stream.value_format.is_registered:
        return []
    topics = sorted({tp.topic for tp in sample.logs})
    registry = schema_registry(settings)
    found = {subject: registry.latest(subject) for subject in (f"{topic}-value" for topic in topics)}
    return [SubjectVersion(subject, *newest) for subject, newest in found.items() if newest is not None]
