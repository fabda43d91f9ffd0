"""`kafka-ingest demo`: servers, Dagster and a producer at work, all of them stopped in the end."""

from __future__ import annotations

import datetime as dt
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import click
from rich.live import Live

from kafka_ingest.cli.console import make_console
from kafka_ingest.cli.demo.dagster_dev import DemoDagster, choose_port, dagster_home
from kafka_ingest.cli.demo.view import DemoState, panel, plain_line, runs_text
from kafka_ingest.cli.errors import FailedCommand
from kafka_ingest.cli.interrupts import Interrupts
from kafka_ingest.cli.local_options import DATABASE_OPTION, KAFKA_OPTION, ROOT_OPTION
from kafka_ingest.cli.local_servers import how_to_reach
from kafka_ingest.cli.options import BAD_RATIO_OPTION, NumberType
from kafka_ingest.cli.samples.messages import sample_messages
from kafka_ingest.cli.samples.producer import ProduceCounts, ensure_topic, produce_messages
from kafka_ingest.cli.status_state import StreamStatus, gather
from kafka_ingest.errors import ConfigError, KafkaIngestError
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.server import is_running, stop_data_dir
from kafka_ingest.local.stack import LocalStack, folders
from kafka_ingest.redaction import redact
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import local_server, open_sink
from kafka_ingest.streams.information import STREAM

PARTITIONS = 4
TERMINAL_SECONDS = 1.0
PIPE_SECONDS = 5.0
_CHECK_SECONDS = 0.25


@click.command()
@click.option(
    "--rate", type=NumberType(min=0.1, max=100_000), default=20.0, show_default=True, help="Messages a second."
)
@BAD_RATIO_OPTION
@ROOT_OPTION
@click.option(
    "--port",
    type=click.IntRange(min=1024, max=65535),
    default=3000,
    show_default=True,
    help="Port of Dagster's UI; the next free one where it is taken.",
)
@KAFKA_OPTION
@DATABASE_OPTION
@click.option("--seconds", type=NumberType(min=1), help="End after so many seconds of producing.  [default: at Ctrl-C]")
@click.option("--no-ui-wait", is_flag=True, help="Produce at once, without waiting for Dagster's UI.")
def demo(
    rate: float,
    bad_ratio: float,
    root: Path,
    port: int,
    kafka: str,
    database: str,
    seconds: float | None,
    no_ui_wait: bool,
) -> None:
    """Show everything at work: Kafka, a database, Dagster's UI and a producer of sample messages.

    Ctrl-C stops what was started here; the data stay under ROOT, and the next demo goes on from them.
    """
    with Interrupts() as interrupts:
        Demo(root.resolve(), rate, bad_ratio, interrupts).run(
            kafka, database, port, seconds, wait_for_ui=not no_ui_wait
        )


class Demo:
    """One demo from start to end."""

    def __init__(self, root: Path, rate: float, bad_ratio: float, interrupts: Interrupts) -> None:
        self._root = root
        self._rate = rate
        self._bad_ratio = bad_ratio
        self._interrupts = interrupts
        self._started = time.monotonic()
        self._ran_before = {kind for kind in folders(root) if is_running(root / kind)}
        self._counts = ProduceCounts()
        self._stop_producing = threading.Event()
        self._producer: threading.Thread | None = None
        self._producer_error: BaseException | None = None
        self._dagster: DemoDagster | None = None
        self._servers: tuple[str, ...] = ()
        self._environ: dict[str, str] = {}
        self._settings: Settings | None = None
        self._metadata: KafkaMetadata | None = None
        self._sink: Sink | None = None
        self._status: StreamStatus | None = None
        self._runs: Counter[str] = Counter()

    def run(self, kafka: str, database: str, port: int, seconds: float | None, *, wait_for_ui: bool) -> None:
        """1. servers 2. Dagster 3. producer 4. show, until time is up or Ctrl-C 5. stop everything, in order."""
        failed: FailedCommand | None = None
        try:
            self._start_servers(kafka, database)
            self._start_dagster(port, wait_for_ui)
            self._start_producer()
            self._show(seconds)
        except KeyboardInterrupt:
            click.echo("\nStopping", err=True)
        except KafkaIngestError as error:
            failed = FailedCommand(str(error))
        finally:
            self._interrupts.ignore()
            left = self._stop()
        if left:
            failed = FailedCommand("\n".join([*([failed.message] if failed else []), f"Processes are left: {left}"]))
        if failed is not None:
            raise failed

    def _start_servers(self, kafka: str, database: str) -> None:
        stack = LocalStack.up(self._root, kafka=kafka, database=database, progress=_say, server_of=local_server)
        for line in (*stack.lines, *how_to_reach(stack, self._root)):
            _say(line)
        self._servers = tuple(kind for kind in (stack.kafka, stack.database) if kind in folders(self._root))
        self._environ = demo_environment(os.environ, stack)
        self._settings = Settings.from_environment(self._environ)
        self._metadata = KafkaMetadata(self._settings)
        self._sink = open_sink(self._settings.database_url)
        ensure_topic(self._settings, STREAM.topic_names[0], PARTITIONS)
        self._status = gather(STREAM, self._metadata, self._sink, self._settings, now=_now())
        if any(p.agreement in ("recreated", "cut_off") for p in self._status.partitions):
            raise ConfigError(
                f"the database under {self._root} holds offsets of another broker's topic "
                "(an earlier demo with another --kafka?); give this one a --root of its own"
            )

    def _start_dagster(self, port: int, wait_for_ui: bool) -> None:
        home = dagster_home(self._root, os.environ)
        chosen = choose_port(port)
        if chosen != port:
            _say(f"Port {port} is taken: the UI is on {chosen}")
        log_file = self._root / "dagster.log"
        self._dagster = DemoDagster(home=home, log_file=log_file, port=chosen, environ=self._environ)
        _say(f"Starting Dagster (log: {log_file}, home: {home})")
        with self._interrupts.deferred():
            self._dagster.start()
        if wait_for_ui:
            self._dagster.wait_until_ready()
        _say(f"Dagster's UI: {self._dagster.url}  (after {self._seconds():.0f} s)")

    def _start_producer(self) -> None:
        _say(f"Producing {self._rate:g} messages/s to topic {STREAM.topic_names[0]}, {self._bad_ratio:.0%} of them bad")
        self._producer = threading.Thread(target=self._produce, name="producer", daemon=True)
        self._producer.start()

    def _produce(self) -> None:
        assert self._settings is not None  # noqa: S101  the servers are up by now
        messages = sample_messages(time.time_ns(), self._bad_ratio, time=_now())
        try:
            produce_messages(
                self._settings,
                STREAM.topic_names[0],
                messages,
                rate=self._rate,
                counts=self._counts,
                stop=self._stop_producing,
            )
        except Exception as error:  # noqa: BLE001  a thread's end: the main thread says it
            self._producer_error = error

    def _show(self, seconds: float | None) -> None:
        assert self._dagster is not None  # noqa: S101  started before
        began = time.monotonic()
        rows_before = self._rows()
        is_terminal = sys.stdout.isatty()
        live = Live(console=make_console(), auto_refresh=False, transient=True) if is_terminal else None
        pace = TERMINAL_SECONDS if is_terminal else PIPE_SECONDS
        due = began + pace
        first_rows: float | None = None
        with live or nullcontext():
            while seconds is None or time.monotonic() - began < seconds:
                self._check_children()
                time.sleep(_CHECK_SECONDS)
                if time.monotonic() < due:
                    continue
                due = time.monotonic() + pace
                state = self._look(began)
                if first_rows is None and self._rows() > rows_before:
                    first_rows = time.monotonic() - self._started
                    found = f"First rows after {first_rows:.0f} s"
                    if live is None:
                        _say(found)
                    else:
                        live.console.print(found)  # above the panel
                if live is None:
                    click.echo(plain_line(state))
                else:
                    live.update(panel(state, ui=self._dagster.url), refresh=True)

    def _look(self, began: float) -> DemoState:
        assert self._dagster is not None  # noqa: S101  started before
        trouble = self._refresh()
        self._runs = self._dagster.runs() or self._runs
        if self._runs["failure"]:
            trouble = trouble or f"{self._runs['failure']} failed run(s): see {self._dagster.url}/runs"
        return DemoState(
            seconds=time.monotonic() - began,
            produced=self._counts.sent,
            bad=self._counts.bad,
            rate=self._rate,
            status=self._status,
            runs=self._runs,
            trouble=trouble,
        )

    def _refresh(self) -> str | None:
        """Look at the stream again; what went wrong, if something did."""
        if self._metadata is None or self._sink is None or self._settings is None:
            return None
        try:
            self._status = gather(STREAM, self._metadata, self._sink, self._settings, now=_now())
        except KafkaIngestError as error:
            return redact(str(error), self._settings.secrets())
        return None

    def _rows(self) -> int:
        return 0 if self._status is None else sum(t.rows or 0 for t in self._status.tables)

    def _check_children(self) -> None:
        """Raises LocalServerError, with the end of its log, where something that was started has ended."""
        assert self._dagster is not None  # noqa: S101  started before
        self._dagster.check()
        for kind in self._servers:
            if not is_running(self._root / kind):
                log = self._root / kind / ("kafka.log" if kind == "apache" else f"{kind}.log")
                raise LocalServerError(f"{kind} ended; end of {log}:\n{_tail(log)}")
        if self._producer_error is not None:
            raise LocalServerError(f"the producer ended: {self._producer_error}") from self._producer_error

    def _stop(self) -> list[int]:
        """Producer, Dagster, servers, in this order; pids of Dagster's that would not end."""
        # 1. nothing new
        self._stop_producing.set()
        if self._producer is not None:
            self._producer.join(timeout=40)
        # 2. Dagster, so that no run is cut off by a server that goes away
        left: list[int] = []
        if self._dagster is not None:
            self._runs = self._dagster.runs() or self._runs
            _say("Stopping Dagster")
            left = self._dagster.stop()
        # 3. the servers that were not here before
        if self._producer is not None:
            trouble = self._refresh()
            self._summary(trouble)
        if self._sink is not None:
            self._sink.close()
        for kind in folders(self._root):
            if kind not in self._ran_before and is_running(self._root / kind):
                _say(f"Stopping {kind}")
                stop_data_dir(self._root / kind)
        kept = [kind for kind in folders(self._root) if is_running(self._root / kind)]
        if kept:
            _say(f"Left running, as before: {', '.join(kept)}")
        else:
            LocalStack.down(self._root)  # nothing runs; its files say where it did
        return left

    def _summary(self, trouble: str | None) -> None:
        click.echo(
            f"Produced {self._counts.sent:,} messages, {self._counts.bad:,} of them bad, in {self._seconds():.0f} s"
        )
        if self._status is not None and trouble is None:
            for each in self._status.tables:
                click.echo(f"  {each.table}: {each.rows or 0:,} rows")
            click.echo(f"  dead letters: {self._status.dead_letters:,}")
            click.echo(f"  waiting for the next run: {self._status.lag:,}")
        click.echo(f"  runs: {runs_text(self._runs)}")

    def _seconds(self) -> float:
        return time.monotonic() - self._started


def demo_environment(environ: Mapping[str, str], stack: LocalStack) -> dict[str, str]:
    """The user's environment with the demo's servers: settings for other brokers and other streams are left out."""
    kept = {name: value for name, value in environ.items() if not name.startswith("KAFKA_")}
    return kept | stack.settings()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _tail(path: Path) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-25:])
    except OSError:
        return "(no log)"
