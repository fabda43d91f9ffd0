"""The sensor of a stream, or of a group of them: looks at metadata, decides by `readiness`, says why. It never consumes and never
commits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from kafka_ingest.engine.backoff import Trouble
from kafka_ingest.engine.ended_runs import revoke_ended
from kafka_ingest.engine.fingerprint import Fingerprint
from kafka_ingest.engine.fingerprint import look as look_at_servers
from kafka_ingest.engine.readiness import Due, NotDue, readiness
from kafka_ingest.engine.shards import WHOLE, Shard
from kafka_ingest.engine.stream_state import oldest_wait_seconds, oldest_window, partition_states
from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.kafka.timeouts import kafka_deadline
from kafka_ingest.orchestration.backfill_watch import BackfillWatch
from kafka_ingest.orchestration.clients import Clients, clients_for, instance_of
from kafka_ingest.orchestration.dagster_records import DagsterRecords, report_failed
from kafka_ingest.orchestration.lag_watch import LagWatch
from kafka_ingest.orchestration.launching import ranges_config, ranges_tags
from kafka_ingest.orchestration.lease_watch import LeaseWatch, Standing, why_dead
from kafka_ingest.orchestration.live_unit import LiveUnit
from kafka_ingest.orchestration.names import LIVE_TAG, PROCESS_TAG, REASON_TAG, UNREACHED_TAG
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.resources import settings_of
from kafka_ingest.orchestration.sensor_memory import SensorMemory, cursor_of, memories_of
from kafka_ingest.orchestration.stream_look import StreamLook
from kafka_ingest.orchestration.troubles import fails_for_others, troubles_in
from kafka_ingest.orchestration.window_reports import window_events
from kafka_ingest.sinks.base import Sink
from kafka_ingest.streams.group import StreamGroup
from kafka_ingest.streams.stream import Stream

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

# Dagster's sensor loop looks every five seconds, whatever a sensor asks for.
TICK_SECONDS = 5
# Dagster ends a tick after 60 s (DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS) without its reason, and its thread goes on. The look at
# the ledger takes at most a ping, a sign-in and one statement that is not answered; then Kafka has what is left of this.
LOOK_SECONDS = 40.0
# A stream that a run is loading is looked at this often, as the run may be stuck.
LOOK_EVERY_SECONDS = 60.0
# Dagster's monitoring ends a run that has outlived its own limit by this much.
OVERTIME_SECONDS = 900.0
# Of a group, as many streams are named in a reason.
_NAMED_STREAMS = 3
# So many runs in a row that did not reach the database, while the sensor does, are not waited after: one host may be cut off, and
# each run fails there within seconds. Where more fail so, all hosts may be.
UNREACHED_RUNS = 3

_IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def live_sensor(unit: LiveUnit, job: UnresolvedAssetJobDefinition | None = None) -> dg.SensorDefinition:
    """Launches a run when a batch is due: of the stream, or of one of the group's. job: the stream's; a group's is found by its
    name, as Dagster warns of a sensor that it has to make again where it gives the job its resources."""

    names, watches = unit.names, [LagWatch(placed) for placed in unit.placed]
    leases = LeaseWatch(*(stream.name for stream in unit.group.streams))
    backfills = BackfillWatch(unit.placed)

    @dg.sensor(
        name=names.sensor(unit.group),
        required_resource_keys=names.connections,
        job=job,
        job_name=names.job(unit.group) if job is None else None,
        # Dagster's loop comes every five seconds and leaves out a sensor whose last tick is younger than its interval: one
        # that had to wait for other streams' ticks would lose the next round to it. Measured: with 5 a tick comes every 9 s;
        # with 4, beside sixteen sensors on a busy machine, every 6.4 s, where it does every 5.1 s with 1.
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=_description(unit),
    )
    def sense(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now, instance = dt.datetime.now(dt.timezone.utc), instance_of(context)

        def sink() -> Sink:
            return clients_for(settings_of(context.resources, names)).sink

        troubles = backfills.look(instance, sink, now)
        standings_of = partial(leases.standings, sink, records=DagsterRecords(instance))
        in_flight = _in_flight(instance, unit, now, standings_of, troubles.append)
        for trouble in troubles:
            context.log.warning(trouble)
        free = [shard for shard in unit.shards if _is_free(unit, shard, in_flight, now)]
        tick = _Tick(unit, instance, now, in_flight, free, memories_of(context.cursor, unit.group), troubles)
        if not free and not any(_is_look_due(memory, now) for memory in tick.memories.values()):
            return dg.SkipReason(tick.told(tick.loading))
        with kafka_deadline(LOOK_SECONDS):
            for watch in watches:
                with tick.trouble_of(watch.stream.name):
                    tick.add(watch, watch.look(instance, clients_for(settings_of(context.resources, names)), now))
            return tick.result()

    return sense


def _description(unit: LiveUnit) -> str:
    group, policy = unit.group, unit.group.streams[0].batch
    when = (
        f"as a batch of one of {len(group.streams)} streams is due"
        if group.is_shared
        else f"at {policy.min_messages} messages or {policy.max_wait_seconds:g} s, whichever is first"
    )
    return (
        f"Launches {unit.names.job(group)} {when}. Turn it off to pause {'them' if group.is_shared else 'the stream'}. It looks "
        f"every {TICK_SECONDS} s, as often as Dagster lets it; the frequency shown is the least distance that is kept."
    )


@dataclass(slots=True)
class _Tick:
    """One look of a sensor at its streams, and what comes of it."""

    unit: LiveUnit
    instance: dg.DagsterInstance
    now: dt.datetime
    in_flight: Sequence[dg.RunRecord]
    free: Sequence[Shard]
    """Those of which a run may be launched."""
    memories: dict[str, SensorMemory]
    troubles: Sequence[str]
    """Of runs that are gone and could not be reported so."""
    _looks: list[tuple[LagWatch, StreamLook]] = field(default_factory=list)
    _due: list[tuple[StreamLook, Shard, Due]] = field(default_factory=list)
    _reasons: dict[str, list[str]] = field(default_factory=dict)
    """Why nothing is launched → for which streams."""
    _runs: dict[Shard, Sequence[dg.RunRecord]] = field(default_factory=dict)
    _has_trouble: bool = False

    @property
    def loading(self) -> str:
        """Which runs are there."""
        runs = ", ".join(record.dagster_run.run_id[:8] for record in self.in_flight)
        return f"run {runs} is loading this {'group' if self.unit.group.is_shared else 'stream'}"

    def told(self, reason: str | None) -> str | None:
        """A reason for launching nothing, with the troubles."""
        return "; ".join([*self.troubles, *([reason] if reason else [])]) or None

    @contextmanager
    def trouble_of(self, stream: str) -> Iterator[None]:
        """What cannot be seen of one stream keeps no other from being looked at. The tick's reason is where a person looks; the
        error page of a failed tick says no more than this."""
        try:
            yield
        except KafkaIngestError as error:
            self._has_trouble = True
            self._reasons.setdefault(_reason(error), []).append(stream)
            self.memories[stream] = replace(self.memories[stream], looked_at=self.now)

    def add(self, watch: LagWatch, look: StreamLook) -> None:
        """A stream as it was seen. Raises as KafkaMetadata does."""
        stream = watch.stream
        self.memories[stream.name] = self.memories[stream.name].after(look.state, now=self.now)
        self._looks.append((watch, look))
        for shard in self.free:
            if shard not in self._runs:
                self._runs[shard] = _last_runs(self.instance, look.placed, shard)
            decision = _decide(look, shard, self._runs[shard])
            if isinstance(decision, Due):
                self._due.append((look, shard, decision))
            else:
                self._reasons.setdefault(decision.reason, []).append(stream.name)

    def result(self) -> dg.SensorResult:
        """Runs to launch; or why none is, and what there is to say of topics and windows."""
        requests = self._requests()
        if requests:
            return dg.SensorResult(run_requests=requests, cursor=self._cursor)
        events: list[dg.AssetObservation | dg.AssetMaterialization] = []
        for watch, look in self._looks:
            name = watch.stream.name
            with self.trouble_of(name):
                found, self.memories[name] = _reported(
                    look, watch, self.memories[name], is_loading=bool(self.in_flight)
                )
                events += found
        is_loading = self.in_flight and not (self.free and self._has_trouble)
        reason = self.loading if is_loading else self._reason
        return dg.SensorResult(skip_reason=self.told(reason), asset_events=events, cursor=self._cursor)

    @property
    def _cursor(self) -> str:
        return cursor_of(self.memories, self.unit.group)

    @property
    def _reason(self) -> str | None:
        """Each reason once, and of a group for which streams."""
        if not self.unit.group.is_shared:
            return "; ".join(text for text in self._reasons if text) or None
        return "; ".join(f"{_some(streams)}: {text}" for text, streams in self._reasons.items()) or None

    def _requests(self) -> list[dg.RunRequest]:
        requests: list[dg.RunRequest] = []
        servers: Fingerprint | None = None
        for look, shard, due in self._due[:1] if self.unit.group.is_shared else self._due:
            with self.trouble_of(look.placed.stream.name):
                # Once a tick at most, and none is kept: who stands behind an address may change while this process lives.
                servers = servers or self._take_over(look.clients)
                is_shared = self.unit.group.is_shared
                requests.append(self._group_request(servers) if is_shared else _run_request(look, shard, due, servers))
        return requests

    def _take_over(self, clients: Clients) -> Fingerprint:
        """Where the new runs are to write. From now on, before any of them is launched, runs that have been ended write nothing:
        where that cannot be said in the ledger, none is launched. Raises as the requests do."""
        servers = look_at_servers(clients.metadata, clients.sink)
        streams = [stream.name for stream in self.unit.group.streams]
        revoke_ended(clients.sink, DagsterRecords(self.instance), streams)
        return servers

    def _group_request(self, servers: Fingerprint) -> dg.RunRequest:
        """The run finds the ranges itself, for all its streams."""
        group = self.unit.group
        names, due = [look.placed.stream.name for look, _, _ in self._due], self._due[0][2]
        return dg.RunRequest(
            run_key=f"{group.name}:{self.now.timestamp():.3f}",
            tags={
                **self.unit.run_tags,
                REASON_TAG: f"{_some(names)}: {due.reason}",
                **servers.as_tags(),
                "dagster/max_runtime": str(int(group.max_run_seconds + OVERTIME_SECONDS)),
            },
        )


def _some(streams: Sequence[str]) -> str:
    more = len(streams) - _NAMED_STREAMS
    return ", ".join(streams[:_NAMED_STREAMS]) + (f" and {more} more" if more > 0 else "")


def _reported(
    look: StreamLook, watch: LagWatch, memory: SensorMemory, *, is_loading: bool
) -> tuple[list[dg.AssetObservation | dg.AssetMaterialization], SensorMemory]:
    """Of a tick that launches nothing, what there is to say of one stream's topics and windows."""
    found: list[dg.AssetObservation | dg.AssetMaterialization] = [*watch.observations(look, memory)]
    if found:
        memory = replace(memory, observed_at=look.now)
    if look.trouble is None:
        materializations, through = window_events(look, memory.through, is_loading=is_loading)
        memory = replace(memory, through=through)
        found += materializations
    return found, memory


def _reason(error: KafkaIngestError) -> str:
    return f"{type(error).__name__}: {error}"


def _is_look_due(memory: SensorMemory, now: dt.datetime) -> bool:
    """Whether a stream that a run is loading is to be looked at."""
    return memory.looked_at is None or not 0 <= (now - memory.looked_at).total_seconds() < LOOK_EVERY_SECONDS


def _is_free(unit: LiveUnit, shard: Shard, in_flight: Sequence[dg.RunRecord], now: dt.datetime) -> bool:
    """Whether a run of the shard may be launched: none that loads its partitions is there, or the only one is about to end."""
    tags = {unit.tag, unit.names.live_tag(unit.group.name, shard)}
    mine = [record for record in in_flight if record.dagster_run.tags[LIVE_TAG] in tags]
    return not mine or _is_ending(mine, unit.group, now)


def _decide(look: StreamLook, shard: Shard, runs: Sequence[dg.RunRecord]) -> Due | NotDue:
    """runs: the last live ones of the shard."""
    stream, state, metadata, now = look.placed.stream, look.state.of_shard(shard), look.clients.metadata, look.now
    if look.trouble is not None:
        return NotDue(_reason(look.trouble))
    if not look.state.topics.partitions:
        return NotDue(f"topic {', '.join(state.topics.missing)} does not exist yet")
    if not state.topics.partitions:
        return NotDue("nothing waiting")  # there are more shards than partitions
    return readiness(
        partition_states(state, stream, metadata, now=now, next_tick_seconds=TICK_SECONDS),
        stream.batch,
        backoff_seconds=_backoff_seconds(runs, stream, now, state.loaded_at),
        oldest_wait_seconds=lambda: oldest_wait_seconds(state, metadata, now=now),
    )


def _run_request(look: StreamLook, shard: Shard, due: Due, servers: Fingerprint) -> dg.RunRequest:
    names, stream = look.placed.names, look.placed.stream
    part = "" if shard.is_whole else f":{shard}"
    return dg.RunRequest(
        # A key that was used is never launched again, also when its run failed, so no two attempts share one.
        run_key=f"{stream.name}:{look.now.timestamp():.3f}{part}",
        run_config=ranges_config(names, stream, due.ranges, "live"),
        partition_key=oldest_window(look.state.of_shard(shard), stream, look.clients.metadata, now=look.now),
        tags={
            **ranges_tags(names, stream, due.ranges, "live", shard),
            REASON_TAG: due.reason,
            **servers.as_tags(),
            "dagster/max_runtime": str(int(stream.batch.max_run_seconds + OVERTIME_SECONDS)),
        },
    )


def _is_ending(in_flight: Sequence[dg.RunRecord], group: StreamGroup, now: dt.datetime) -> bool:
    """Whether the only one is a run of ours whose time is nearly up: the next one may start, and take over."""
    if len(in_flight) != 1 or REASON_TAG not in in_flight[0].dagster_run.tags:
        return False
    started = in_flight[0].start_time
    age = 0.0 if started is None else now.timestamp() - started
    return age >= group.max_run_seconds - group.handover_seconds


def _in_flight(
    instance: dg.DagsterInstance,
    unit: LiveUnit,
    now: dt.datetime,
    standings_of: Callable[[Collection[str]], Mapping[str, Standing]],
    tell: Callable[[str], object],
) -> list[dg.RunRecord]:
    """Live runs that are there. A run that stands as started and is not is reported as failed: otherwise it would
    keep its place in the queue's limit for ever. standings_of: of the leases of these runs. tell: gets what could not be
    reported; such a run is not waited for all the same, as the queue has a place for another beside it."""
    records = instance.get_run_records(dg.RunsFilter(tags={LIVE_TAG: unit.live_tags}, statuses=_IN_FLIGHT))
    standings = standings_of([r.dagster_run.run_id for r in records if PROCESS_TAG in r.dagster_run.tags])
    alive = []
    for record in records:
        reason = why_dead(record, standings.get(record.dagster_run.run_id, Standing()), now)
        if reason is None:
            alive.append(record)
            continue
        trouble = report_failed(instance, record.dagster_run, f"{reason}; its sensor has given it up.")
        if trouble is not None:
            tell(trouble)
    return alive


def backoff_seconds(
    instance: dg.DagsterInstance,
    placed: PlacedStream,
    now: dt.datetime,
    loaded_at: dt.datetime | None,
    shard: Shard = WHOLE,
) -> float:
    """Seconds still to wait: 5, 10, 20 … 300 after the last of that many failed live runs of the shard in a row, less the time
    since.

    loaded_at: when something was loaded last. A run that has loaded before it failed was killed, or met trouble that is new:
    the row begins with it. Of those that did not reach the database (UNREACHED_TAG), UNREACHED_RUNS do not count. A group's run
    that failed for a stream says so itself, and what it says counts for that stream.
    """
    return _backoff_seconds(_last_runs(instance, placed, shard), placed.stream, now, loaded_at)


def _last_runs(instance: dg.DagsterInstance, placed: PlacedStream, shard: Shard) -> Sequence[dg.RunRecord]:
    """The last live runs that load the shard, newest first."""
    live = {LIVE_TAG: placed.names.live_tag(placed.stream.group or placed.stream.name, shard)}
    return instance.get_run_records(dg.RunsFilter(tags=live), limit=10)


def _backoff_seconds(
    records: Sequence[dg.RunRecord], stream: Stream, now: dt.datetime, loaded_at: dt.datetime | None
) -> float:
    trouble = troubles_in(records).get(stream.name)
    if trouble is not None:
        return trouble.wait_seconds(now.timestamp())
    failures = unreached = 0
    last_end: float | None = None
    for record in records:
        run = record.dagster_run
        if run.status != dg.DagsterRunStatus.FAILURE or fails_for_others(run, stream.name):
            break
        failures += 1
        unreached += UNREACHED_TAG in run.tags
        if last_end is None:
            last_end = record.end_time or record.update_timestamp.replace(tzinfo=dt.timezone.utc).timestamp()
        if loaded_at is not None and record.create_timestamp.replace(tzinfo=dt.timezone.utc) < loaded_at:
            break
    return (
        0.0
        if last_end is None
        else Trouble(failures - min(unreached, UNREACHED_RUNS), last_end).wait_seconds(now.timestamp())
    )
