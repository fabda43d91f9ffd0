"""`kafka-ingest backfill`: load windows, times or offsets of a stream again, through the running Dagster."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass

import click

from kafka_ingest.backfill.dry_run import Forecast, dry_run
from kafka_ingest.backfill.selection import Selection, ranges_of_selection
from kafka_ingest.backfill.window_ranges import ranges_of_windows
from kafka_ingest.cli.backfill_view import RunBar, forecast_table, forecast_text, run_json, run_text
from kafka_ingest.cli.clients import open_clients
from kafka_ingest.cli.console import make_console
from kafka_ingest.cli.dagster_api import DEFAULT_URL, DagsterApi
from kafka_ingest.cli.errors import FailedCommand
from kafka_ingest.cli.json_output import json_option, print_json
from kafka_ingest.cli.options import KEY_PREFIX_OPTION, streams_named
from kafka_ingest.engine.first_messages import with_first_window
from kafka_ingest.orchestration.launching import backfill_config, backfill_tags
from kafka_ingest.orchestration.names import Names
from kafka_ingest.redaction import redact
from kafka_ingest.settings import Settings
from kafka_ingest.slices import OffsetRange
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import first_window_start, window_bounds, window_key, window_of

INTERRUPTED_EXIT = 130


@click.command()
@click.argument("stream_name", metavar="STREAM")
@click.option("--from", "start", metavar="TIME|OFFSET", help="First time or offset.  [default: the first message]")
@click.option("--to", "end", metavar="TIME|OFFSET", help="Time or offset after the last one.  [default: now]")
@click.option(
    "--partition",
    "partitions",
    multiple=True,
    metavar="N|TOPIC:N",
    help="Only this Kafka partition. Repeatable.  [default: all]",
)
@click.option(
    "--windows", metavar="KEY[..KEY]", help="Whole windows, from the first to the last, as the UI names them."
)
@click.option(
    "--dry-run", "is_dry_run", is_flag=True, help="Only say what would change. Reads Kafka and the database itself."
)
@click.option("--url", default=DEFAULT_URL, show_default=True, envvar="DAGSTER_URL", help="The running Dagster.")
@KEY_PREFIX_OPTION
@json_option("Print one JSON object.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def backfill(
    stream_name: str,
    start: str | None,
    end: str | None,
    partitions: tuple[str, ...],
    windows: str | None,
    is_dry_run: bool,
    url: str,
    key_prefix: tuple[str, ...],
    is_json: bool,
    yes: bool,
) -> None:
    """Load a stretch of a stream again, in place.

    The running Dagster does it; the tables end as if each message had been applied once.

    TIME is ISO 8601 (2026-11-22, "2026-11-22 10:00", 2026-11-22T10:00+08:00), UTC where it has no zone; it is compared
    with the Kafka timestamps. OFFSET is a plain number. The end is exclusive.
    """
    stream = streams_named(stream_name)[stream_name]
    now = dt.datetime.now(dt.timezone.utc)
    keys = _window_keys(stream, windows, start, end, partitions, now)
    selection = Selection() if keys else _selection(start, end, partitions)
    selection.check(now=now)
    if is_dry_run:
        _dry_run(stream, keys, selection, is_json, now)
        return
    what = f"windows {keys[0]} to {keys[-1]}" if len(keys) > 1 else f"window {keys[0]}" if keys else str(selection)
    if not yes:
        click.confirm(f"Load stream {stream.name} again: {what}?", abort=True, err=True)
    _launch(Launch(Names.with_prefix(key_prefix), stream, keys, selection, what), DagsterApi(url), is_json)


def _window_keys(
    stream: Stream,
    windows: str | None,
    start: str | None,
    end: str | None,
    partitions: tuple[str, ...],
    now: dt.datetime,
) -> tuple[str, ...]:
    """First and last window; none where the stretch is given by times or offsets."""
    if windows is None:
        if start is None and end is None:
            raise click.UsageError("say what to load: --from and --to, or --windows")
        return ()
    if start is not None or end is not None or partitions:
        raise click.UsageError("--windows stands alone: a window is all partitions from its start to its end")
    first, dots, last = windows.partition("..")
    keys = (first.strip(), last.strip()) if dots else (first.strip(),)
    bounds = [window_bounds(stream, key) for key in keys]
    if bounds[0] > bounds[-1]:
        raise click.UsageError(f"--windows: {keys[0]} comes after {keys[-1]}")
    # Of a stream without a window_start, the running Dagster alone knows the first one.
    oldest, newest = window_key(stream, first_window_start(stream)), window_of(stream, now, now=now)
    for key, (begins, _) in zip(keys, bounds, strict=True):
        if not window_bounds(stream, oldest)[0] <= begins <= window_bounds(stream, newest)[0]:
            raise click.UsageError(f"--windows: {key} is none; stream {stream.name} has {oldest} to {newest}")
    return keys


def _selection(start: str | None, end: str | None, partitions: tuple[str, ...]) -> Selection:
    """Plain numbers are offsets, everything else is a time."""
    if any(text is not None and text.strip().isdecimal() for text in (start, end)):
        for name, text in (("--from", start), ("--to", end)):
            if text is not None and not text.strip().isdecimal():
                raise click.UsageError(f"{name} is {text!r} and the other end an offset; give two offsets or two times")
        return Selection(
            offset_from=None if start is None else int(start),
            offset_to=None if end is None else int(end),
            partitions=partitions,
        )
    return Selection(time_from=start, time_to=end, partitions=partitions)


def _dry_run(stream: Stream, keys: tuple[str, ...], selection: Selection, is_json: bool, now: dt.datetime) -> None:
    settings = Settings.from_environment()
    with open_clients(settings) as (metadata, sink):
        stream = with_first_window(stream, metadata, sink, now=now)
        ranges: tuple[OffsetRange, ...] = (
            ranges_of_windows(stream, keys, metadata, sink, now=now)
            if keys
            else ranges_of_selection(stream, selection, metadata, sink, now=now)
        )
        with RunBar("reading", is_shown=not is_json) as bar:
            forecast: Forecast = dry_run(
                stream, ranges, metadata=metadata, sink=sink, settings=settings, on_progress=bar.move
            )
    if is_json:
        print_json(redact(json.dumps(forecast.as_dict(), ensure_ascii=False)))
    else:
        make_console().print(forecast_table(forecast))
        click.echo(redact(forecast_text(forecast)))
    if forecast.failure is not None:
        raise FailedCommand(f"The backfill would fail: {forecast.failure}")


@dataclass(frozen=True, slots=True)
class Launch:
    """What is to be loaded again."""

    names: Names
    stream: Stream
    keys: tuple[str, ...]
    selection: Selection
    what: str
    """The same in words."""

    def by(self, api: DagsterApi) -> str:
        """Launch it; the run's id. Raises UsageError for windows that the running Dagster does not have."""
        first = api.first_window(self.names.job(self.stream)) if self.keys else None
        if first is not None and min(self.keys) < first:
            raise click.UsageError(
                f"--windows: {min(self.keys)} is none; the windows of stream {self.stream.name} begin at {first}, as the running "
                "Dagster knows them. What is older counts to that one; times and offsets of it can be given."
            )
        config = backfill_config(self.names, self.stream, self.selection)
        return api.launch(self.names.job(self.stream), config, backfill_tags(self.names, self.stream, self.keys))


def _launch(launch: Launch, api: DagsterApi, is_json: bool) -> None:
    run_id = launch.by(api)
    if not is_json:
        click.echo(f"Loading stream {launch.stream.name} again, {launch.what}: {api.link(run_id)}", err=True)
    try:
        with RunBar("loading", is_shown=not is_json) as bar:
            look = api.follow(run_id, bar.follow)
    except KeyboardInterrupt:
        click.echo(f"The run goes on without this command; see {api.link(run_id)}", err=True)
        raise click.exceptions.Exit(INTERRUPTED_EXIT) from None
    loaded = api.loaded(run_id)
    failure = None if look.status == "SUCCESS" else api.failure(run_id)
    if is_json:
        print_json(redact(json.dumps(run_json(run_id, look, loaded, failure), ensure_ascii=False)))
    elif failure is None:
        click.echo(run_text(run_id, look, loaded))
    if failure is not None:
        raise FailedCommand(f"Run {run_id} {look.status.lower()}: {failure}")
