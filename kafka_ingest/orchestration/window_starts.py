"""Where the windows of streams begin, in every process of a code location the same.

They begin at a stream's first message: the first that Kafka holds or the ledger has loaded. That is asked for while a code
location loads, and in no other process: Dagster keeps the answer in the location's reconstruction metadata, and hands it to the
processes of its runs. A process that was not handed it (`dagster job execute`, a script, a test) takes EARLIEST: more windows
than those of the code location, and never fewer, so that each one a run is launched for is known.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import time
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType

from kafka_ingest.engine.first_messages import FirstMessages, first_in_ledger, first_in_log
from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.kafka.timeouts import Started, StillWaiting, kafka_deadline
from kafka_ingest.orchestration.clients import Clients, clients_for
from kafka_ingest.orchestration.names import Names
from kafka_ingest.redaction import redact
from kafka_ingest.settings import Settings
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import EARLIEST

# For all streams of a cluster and database together, whatever does not answer. Dagster waits for a code location 180 s.
LOOK_SECONDS = 3.0
_SHOWN_REASONS = 3
LOGGER = logging.getLogger(__name__)

# What has not answered while this location was loading is not asked again: a project may ask for each of its streams alone.
_silent: WeakKeyDictionary[DefinitionsLoadContext, list[Clients]] = WeakKeyDictionary()


def with_window_starts(streams: Sequence[Stream], names: Names, settings: Callable[[], Settings]) -> list[Stream]:
    """The streams, each with the `window_start` that holds in this process: its own, that of its first message, or none.

    Connects only while a code location loads, to what `settings` says, for LOOK_SECONDS at most; raises nothing that comes of it.
    """
    starts: dict[str, dt.datetime] = {}
    wanted = [stream for stream in streams if stream.window_start is None]
    if wanted and DefinitionsLoadContext.is_set():
        load = DefinitionsLoadContext.get()
        is_first = load.load_type is DefinitionsLoadType.INITIALIZATION
        known = load.get_pending_reconstruction_metadata() if is_first else load.reconstruction_metadata
        keys = {stream.name: f"kafka_ingest/window_start/{names.tag(stream.name)}" for stream in wanted}
        starts = {name: dt.datetime.fromisoformat(known[key]) for name, key in keys.items() if key in known}
        unknown = [stream for stream in wanted if stream.name not in starts]
        if unknown and is_first:
            starts |= _learned(unknown, clients_for(settings()), _silent.setdefault(load, []))
        for name, start in starts.items():
            # In a reconstruction too: Dagster keeps what is pending, where anything is, and forgets the rest.
            load.add_to_pending_reconstruction_metadata(keys[name], start.isoformat())
    return [dataclasses.replace(s, window_start=starts[s.name]) if s.name in starts else s for s in streams]


def _learned(streams: Sequence[Stream], clients: Clients, silent: list[Clients]) -> dict[str, dt.datetime]:
    """Where the windows of these streams begin; EARLIEST where it cannot be known now, which is logged."""
    found, reasons = (FirstMessages(), ["no answer before"]) if clients in silent else _look(streams, clients)
    now = dt.datetime.now(dt.timezone.utc)
    starts = {stream.name: found.window_start(stream, now=now) for stream in streams}
    unknown = [name for name, start in starts.items() if start is None]
    if unknown:
        silent.append(clients)
        LOGGER.warning(
            "The windows of %s begin at %s, as it could not be learned when their first messages were: %s. Start the code "
            "server again once this is mended, or give the streams a window_start.",
            ", ".join(unknown),
            f"{EARLIEST:%Y-%m-%d}",
            redact("; ".join(list(dict.fromkeys(reasons))[:_SHOWN_REASONS])),
        )
    return {name: EARLIEST if start is None else start for name, start in starts.items()}


def _look(streams: Sequence[Stream], clients: Clients) -> tuple[FirstMessages, list[str]]:
    """What Kafka and the database say, both at once, and why one of them does not."""
    found = FirstMessages()
    reasons: list[str] = []
    until = time.monotonic() + LOOK_SECONDS
    # A driver may wait for a connection longer than that.
    ledger = Started(lambda: first_in_ledger(streams, clients.sink), release=lambda: None)
    with kafka_deadline(LOOK_SECONDS):
        _ask_log(streams, clients, found, reasons)
    try:
        found.in_ledger |= ledger.result(max(0.0, until - time.monotonic()))
    except KafkaIngestError as error:
        reasons.append(str(error))
    except StillWaiting:
        reasons.append(f"the database has not answered within {LOOK_SECONDS:.0f} s")
    return found, reasons


def _ask_log(streams: Sequence[Stream], clients: Clients, found: FirstMessages, reasons: list[str]) -> None:
    """All streams at once; where that fails each alone, as the topic of one may be what Kafka refuses."""
    try:
        found.in_log |= first_in_log(streams, clients.metadata)
    except KafkaIngestError as error:
        if len(streams) == 1:
            reasons.append(str(error))
        else:
            for stream in streams:
                _ask_log([stream], clients, found, reasons)
