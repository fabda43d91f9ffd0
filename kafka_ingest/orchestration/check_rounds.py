"""The checks of a run, again and again while it drains: in a thread and over connections of their own, so that none holds up a
load and none fails a run. Their results are events of the run. As none was planned, each shows its last result all the while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import closing
from types import TracebackType
from typing import NamedTuple

import dagster as dg

from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.orchestration.checks import Look, evaluation, run_checks
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.redaction import redact
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.registry import open_sink

# From the start of a round to that of the next: five events, each some milliseconds of Dagster's and some kilobytes.
ROUND_SECONDS = 60.0
# The next run of the stream waits for this one to end, so its last round is not waited for longer.
LAST_SECONDS = 15.0
STATEMENT_SECONDS = 10


class _Found(NamedTuple):
    evaluations: list[dg.AssetCheckEvaluation]
    trouble: list[str]
    """Of checks that could not look: their last results stand."""


class CheckRounds:
    """`with CheckRounds(…) as rounds:` around a drain; `collect` after each load, `last` at the end. What `last` has not given is
    dropped."""

    def __init__(
        self,
        placed: PlacedStream,
        settings: Settings,
        run_id: str,
        *,
        instance: dg.DagsterInstance,
        say: Callable[[str], object],
        thread: Executor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """say: told, in the caller's thread, which check could not look. thread: where rounds of several streams are
        one after the other; one of its own where None."""
        self._placed = placed
        self._settings = settings
        self._run_id = run_id
        self._instance = instance
        self._say = say
        self._clock = clock
        self._told: set[dg.AssetCheckKey] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checks") if thread is None else thread
        self._has_own_thread = thread is None
        self._stopping = threading.Event()
        self._round: Future[_Found] | None = None
        self._next = clock()
        self._is_behind = False
        """Whether something was loaded after the last round began."""

    def __enter__(self) -> CheckRounds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._has_own_thread:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def collect(self, *, has_loaded: bool = True) -> Iterator[dg.AssetCheckEvaluation]:
        """What was found since the last call; begins a round where it is time, and something was loaded. Never waits."""
        self._is_behind = self._is_behind or has_loaded
        if self._round is not None and self._round.done():
            for each in self._take(self._round):
                self._told.add(each.asset_check_key)
                yield each
        if self._round is None and self._is_behind and self._clock() >= self._next:
            self._begin()

    def last(self, seconds: float | None = None) -> Iterator[dg.AssetCheckEvaluation]:
        """The results over all that was loaded, waited for so long at most; LAST_SECONDS where None.

        Dagster keeps one result of a check in a run, and takes that of the run which had one last for the check's latest. A run
        beside which another one began, as beside a long backfill, would end unheard: its last results are told without it.
        """
        seconds = LAST_SECONDS if seconds is None else seconds
        deadline = self._clock() + seconds
        found: dict[dg.AssetCheckKey, dg.AssetCheckEvaluation] = {}
        while self._round is not None or self._is_behind:
            under_way = self._round or self._begin()
            wait_for([under_way], timeout=max(0.0, deadline - self._clock()))
            if not under_way.done():
                self._say(f"The checks keep their last results: this took longer than {seconds:.2g} s")
                break
            found |= {each.asset_check_key: each for each in self._take(under_way)}
        latest = self._instance.event_log_storage.get_latest_asset_check_execution_by_key(list(found))
        for key, each in found.items():
            if key in self._told and key in latest and latest[key].run_id != self._run_id:
                self._instance.report_runless_asset_event(each)
            else:
                yield each

    def _begin(self) -> Future[_Found]:
        self._is_behind = False
        self._next = self._clock() + ROUND_SECONDS
        self._round = self._thread.submit(self._look)
        return self._round

    def _take(self, ended: Future[_Found]) -> Iterator[dg.AssetCheckEvaluation]:
        self._round = None
        error = ended.exception()
        if error is not None:  # of whatever kind: what a check does wrong is no reason to stop loading
            self._say(redact(f"The checks keep their last results: {type(error).__name__}: {error}"))
            return
        found = ended.result()
        for text in found.trouble:
            self._say(text)
        yield from found.evaluations

    def _look(self) -> _Found:
        """One round, in the thread."""
        found = _Found([], [])
        with closing(open_sink(self._settings.database_url)) as sink:
            sink.limit_statement_seconds(STATEMENT_SECONDS)
            look = Look.of(sink, self._placed.stream, self._run_id, self._settings)
            for check in run_checks(self._placed):
                if self._stopping.is_set():
                    break
                try:
                    found.evaluations.append(evaluation(check, look))
                except KafkaIngestError as error:
                    text = f"Check {check.key.name} keeps its last result: {type(error).__name__}: {error}"
                    found.trouble.append(redact(text))
        return found
