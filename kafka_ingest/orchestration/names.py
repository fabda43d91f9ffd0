"""Names and tags: what people search for in the UI. Dagster is imported with the first asset key only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from kafka_ingest.engine.shards import WHOLE, Shard
from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.group import StreamGroup
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable, identifier_of

if TYPE_CHECKING:
    import dagster as dg

STREAM_TAG = "kafka_ingest/stream"
GROUP_TAG = "kafka_ingest/group"
"""The group's name, on the live runs of several streams, which have no STREAM_TAG."""
FAILED_TAG = "kafka_ingest/failed"
"""On a group's run: the streams for which it ended failed."""
TROUBLES_TAG = "kafka_ingest/troubles"
"""On a group's run: how often in a row each of the streams that fail has, and when it did last."""
KIND_TAG = "kafka_ingest/kind"
LIVE_TAG = "kafka_ingest/live"
"""The stream's name, and the shard where it is one of several, on live runs only: what `dagster.yaml` limits, and the sensor
looks for."""
SHARD_TAG = "kafka_ingest/shard"
"""`number/count` of a live run that loads only a part of the stream's Kafka partitions."""
PART_OF_TAG = "kafka_ingest/part_of"
"""On a run that loads a part of a backfill: the run that answers for the whole."""
PART_TAG = "kafka_ingest/part"
"""`number/count` of that part; 0 is what the run loads that answers for the whole."""
RANGES_TAG = "kafka_ingest/ranges"
REASON_TAG = "kafka_ingest/reason"
"""Why the sensor launched the run."""
UNREACHED_TAG = "kafka_ingest/unreached"
"""On a run that failed as it did not reach the database at all: the host it was on."""
UPKEEP_TAG = "kafka_ingest/upkeep"
"""On runs of the audit and of the retention."""
CUT_TAG = "kafka_ingest/log_cut"
"""On an old run that stays for what an asset shows of it: the rest of its log is deleted."""
PROCESS_TAG = "kafka_ingest/process"

Metadata: TypeAlias = "dict[str, int | float | str | dg.MetadataValue]"
"""Of an event; numbers stay numbers, so that the UI plots them."""

DEAD_LETTERS = "dead_letters"
LEDGER = "ledger"

_PART = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Names:
    """How one set of definitions is named. A prefix keeps several sets apart in one code location: it stands before every job,
    op, sensor, schedule, resource and group, in every asset key, and in the tags that tell one set's runs from another's."""

    prefix: tuple[str, ...] = ()

    @classmethod
    def with_prefix(cls, key_prefix: str | Sequence[str] | None) -> Names:
        """key_prefix: as Dagster takes it for asset keys. Raises ConfigError for a part that is not letters, digits and _."""
        parts = () if key_prefix is None else (key_prefix,) if isinstance(key_prefix, str) else tuple(key_prefix)
        for part in parts:
            if not _PART.fullmatch(part):
                raise ConfigError(
                    f"key_prefix has the part {part!r}: letters, digits and _ only, as it stands in names of jobs too",
                    setting="key_prefix",
                )
        return cls(parts)

    def of(self, name: str) -> str:
        """A name of this set: of a job, an op, a sensor, a resource."""
        return "_".join((*self.prefix, name))

    def tag(self, name: str) -> str:
        """Value of a tag that runs of this set are found by."""
        return "/".join((*self.prefix, name))

    def live_tag(self, name: str, shard: Shard) -> str:
        """Value of LIVE_TAG of the runs of a group, or of a stream's shard."""
        return self.tag(name) if shard.is_whole else f"{self.tag(name)}:{shard}"

    def live_tags(self, stream: Stream) -> list[str]:
        """Values of LIVE_TAG of all live runs of the stream as it is divided now: those of its group, those of the whole, and
        those of its shards."""
        shards = Shard.all(stream.batch.shards)
        own = dict.fromkeys(self.live_tag(stream.name, shard) for shard in (WHOLE, *shards))
        return [*own] if stream.group is None else [self.tag(stream.group), *own]

    def key(self, *path: str) -> dg.AssetKey:
        """Key of an asset of this set."""
        import dagster as dg  # not at the top: it takes seconds, and the command line wants tags and job names only

        return dg.AssetKey([*self.prefix, *path])

    def topic_key(self, topic: str) -> dg.AssetKey:
        """Asset of a topic, or of a topic pattern, before any translator."""
        return self.key("kafka", re.sub(r"[^A-Za-z0-9_.-]", "_", topic).replace(".", "_"))

    def table_key(self, stream: Stream, target: TargetTable) -> dg.AssetKey:
        """Asset of a table, before any translator: under its stream and, where it has one, its schema. A name with other signs
        than letters, digits and _ stands there as an identifier made from it."""
        return self.key(stream.name, *(_part(name) for name in (target.schema, target.name) if name is not None))

    def job(self, stream: Stream | StreamGroup) -> str:
        """The job that loads the stream, or the streams of a group in turn."""
        return self.of(f"ingest_{stream.name}")

    def part_job(self, stream: Stream) -> str:
        """The job that loads a part of a backfill of the stream, where it has shards."""
        return self.of(f"backfill_part_{stream.name}")

    def preview_job(self, stream: Stream) -> str:
        """The job that says what a backfill of the stream would change."""
        return self.of(f"preview_{stream.name}")

    def replay_job(self, stream: Stream) -> str:
        """The job that replays the stream's dead letters."""
        return self.of(f"replay_dead_letters_{stream.name}")

    def find_job(self, stream: Stream) -> str:
        """The job that says what became of a message."""
        return self.of(f"find_message_{stream.name}")

    def sensor(self, stream: Stream | StreamGroup) -> str:
        """The sensor that launches the runs of a group, or of a stream without one."""
        return self.of_sensor(stream.name)

    def of_sensor(self, name: str) -> str:
        """The same, of a group's or a stream's name."""
        return self.of(f"{name}_sensor")

    @property
    def kafka(self) -> str:
        """Resource: the Kafka cluster."""
        return self.of("kafka_ingest_kafka")

    @property
    def database(self) -> str:
        """Resource: the database."""
        return self.of("kafka_ingest_database")

    @property
    def registry(self) -> str:
        """Resource: the schema registry."""
        return self.of("kafka_ingest_registry")

    @property
    def connections(self) -> set[str]:
        """The resources that say where to connect to: what jobs, checks and sensors ask for."""
        return {self.kafka, self.database, self.registry}

    @property
    def ingestion(self) -> str:
        """Resource: a run's own connections."""
        return self.of("kafka_ingest_ingestion")

    @property
    def run_files(self) -> str:
        """Resource: the I/O manager between the ops of a run."""
        return self.of("kafka_ingest_run_files")


def table_key(stream: Stream, target: TargetTable, key_prefix: str | Sequence[str] | None = None) -> dg.AssetKey:
    """Asset of a table, for assets of one's own that follow it; key_prefix is that of `build_definitions`, and a translator may
    have changed it. Raises ConfigError as `build_definitions` does."""
    return Names.with_prefix(key_prefix).table_key(stream, target)


def _part(name: str) -> str:
    """As it stands where Dagster can make an op's output of it, as it does for the checks of an asset."""
    return name if _PART.fullmatch(name) else identifier_of(name)
