"""Stream: topics read together, with their routes, batch policy and pipeline steps."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from kafka_ingest.dates import DateRule
from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.deletes import DeleteRules
from kafka_ingest.streams.envelopes.base import MessageEnvelope
from kafka_ingest.streams.envelopes.delete_when import DeleteWhen, Value
from kafka_ingest.streams.formats.base import Format
from kafka_ingest.streams.formats.json import Json
from kafka_ingest.streams.json_schema import model_schema
from kafka_ingest.streams.model import Model
from kafka_ingest.streams.step import Step
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.streams.tombstone_keys import key_schema

# The ledger's tables, and the asset that stands beside a stream's tables.
_OWN_TABLES = frozenset(
    {
        "dead_letters",
        "ledger",
        "kafka_ingest_offsets",
        "kafka_ingest_batches",
        "kafka_ingest_dead_letters",
        "kafka_ingest_ledger",
        "kafka_ingest_leases",
    }
)
STREAM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


HANDOVER_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class RouteByField:
    """The message type stands in a field of the message, at a dotted path. A message without it has no route."""

    path: str = "type"


@dataclass(frozen=True, slots=True)
class RouteByHeader:
    """The message type is the UTF-8 value of a Kafka header (the last one of that name). A message without it has no route."""

    name: str


@dataclass(frozen=True, slots=True)
class RouteByTopic:
    """The message type is the topic's name."""


RouteBy = RouteByField | RouteByHeader | RouteByTopic

BATCH_BOUNDS: Mapping[str, tuple[int, int]] = {
    "min_messages": (1, 10_000_000),
    "max_wait_seconds": (0, 86_400),
    "max_rows": (1, 1_000_000),
    "max_bytes": (1_024, 1 << 30),
    "loaders": (1, 16),
    "shards": (1, 64),
    "linger_seconds": (0, 86_400),
    "max_run_seconds": (0, 86_400),
}
"""From and to, both included, of what a BatchPolicy takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPolicy:
    """When a batch is due and how large a slice may get.

    A batch is due at `min_messages` waiting messages or when the oldest has waited `max_wait_seconds`, whichever is
    first. A slice (one transaction) holds at most `max_rows` messages and `max_bytes` of values, keys and headers; a
    single larger message is a slice of its own.

    Bounds: `min_messages` 1 to 10,000,000; `max_rows` 1 to 1,000,000; `max_bytes` 1,024 to 2**30; `loaders` 1 to 16; `shards` 1
    to 64; seconds 0 to 86,400. Raises ConfigError for what lies outside.
    """

    min_messages: int = 10
    max_wait_seconds: float = 10.0
    max_rows: int = 50_000
    max_bytes: int = 24 * 1024 * 1024
    loaders: int = 2
    """How many slices a run loads at the same time where much is waiting, over a connection each; committed in order."""
    shards: int = 1
    """How many runs the stream's Kafka partitions are divided among, live and in backfills, which load side by side: on several
    workers, or cores. Each partition belongs to one; more than there are partitions do nothing."""
    linger_seconds: float | None = None
    """How long a run that has caught up waits for more before it ends; `max_wait_seconds` where None, 0 ends at once."""
    max_run_seconds: float = 600.0
    """A run starts no further slice after this long, so that history has entries and code changes arrive."""

    def __post_init__(self) -> None:
        for name, (low, high) in BATCH_BOUNDS.items():
            value = self.linger if name == "linger_seconds" else getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"BatchPolicy.{name} is {value}; it must be from {low} to {high}", setting=name)

    @property
    def handover_seconds(self) -> float:
        """How long before a run's time is up the next one may be launched, so that a busy stream never waits for a process to
        start: a tick, the queue, and the start itself."""
        return min(HANDOVER_SECONDS, self.max_run_seconds / 4)

    @property
    def linger(self) -> float:
        """`linger_seconds`, or what stands in for it."""
        return self.max_wait_seconds if self.linger_seconds is None else self.linger_seconds


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One stream: what `streams/` modules declare. Declaring one checks it, and connects to nothing.

    name: letters, digits and _, at most 64, no digit first. The ledger, the jobs and the assets know the stream by it.
    topics: a name, a tuple of names, or a pattern: a string starting with `^` (as in librdkafka's subscribe), matched
            against whole topic names.
    routes: message type → model. Several types may go to one model, and no two models to one table.
    route_by: where the message type stands: in a field ("type"), in a header, or it is the topic.
    start: where a partition without a ledger entry begins: "earliest", "latest" (pinned by the first run), "group"
           (the consumer group's committed offset, else earliest: takes over from another consumer) or an aware datetime.
    unrouted: what becomes of a message no route takes: a dead letter, or it is counted as ignored.
    on_data_loss: where Kafka deleted offsets before they were loaded, "fail" ends every run with DataLoss until a person has
           decided; "skip" records the lost ranges in the ledger and goes on behind them.
    timezone: IANA zone of dates without one.
    max_dead_letter_ratio: over this part of a slice's messages (0 to 1) the slice fails instead, so that a bad deploy does
           not drain a topic into dead letters. A slice under 100 messages is judged together with those loaded before it.
    warn_dead_letter_ratio: over this part an asset check warns; nothing is held up.
    fresh_warn, fresh_fail: a table that got nothing for this long is marked stale in the UI; `fresh_fail=None` for topics
           that may rest. `fresh_warn` is at least a minute and less than `fresh_fail`.
    evolve: add missing columns to existing tables instead of failing; none is added while anything else does not fit.
    window: time partition of the assets, by Kafka timestamp.
    window_start: an aware datetime in the first window, which also holds what is older; None: the window of the stream's first
           message, as it is when Dagster loads the definitions.

    Raises ConfigError for what cannot be loaded, a model's columns included.
    """

    name: str
    topics: str | tuple[str, ...]
    routes: Mapping[str, type[Model]]
    route_by: RouteBy = RouteByField()
    batch: BatchPolicy = field(default_factory=BatchPolicy)
    steps: tuple[Step, ...] | None = None
    """Pipeline steps in order; `(translate_dates,)` where None."""
    timezone: str = "UTC"
    start: Literal["earliest", "latest", "group"] | dt.datetime = "earliest"
    unrouted: Literal["dead_letter", "ignore"] = "dead_letter"
    on_data_loss: Literal["fail", "skip"] = "fail"
    max_dead_letter_ratio: float = 0.5
    warn_dead_letter_ratio: float = 0.1
    fresh_warn: dt.timedelta = dt.timedelta(hours=6)
    fresh_fail: dt.timedelta | None = dt.timedelta(hours=24)
    evolve: bool = False
    window: Literal["hourly", "daily"] = "hourly"
    window_start: dt.datetime | None = None
    dead_letter_topic: str | None = None
    """Kafka topic that dead letters are also published to, at least once, with the `__connect.errors.*` headers that Kafka
    Connect gives its own."""
    group_id: str | None = None
    """Consumer group of this stream; `KAFKA_GROUP_ID` where None. Streams that share a topic need groups of their own."""
    group: str | None = None
    """Streams of one group share a sensor and a live run, which loads them in turn: for small ones (docs/streams.md). Named as a
    stream is, and as no stream is. No consumer group: that is `group_id`."""
    value_format: Format = field(default_factory=Json)
    """How the messages' values are written (docs/formats.md)."""
    key_format: Format = field(default_factory=Json)
    """How their keys are, which name the rows that tombstones delete. With `Json`, a model's `tombstone_key` says more."""
    envelope: MessageEnvelope | None = None
    """What stands around the row in a value: Debezium(), Maxwell(), Canal(), CloudEvents() or your own (docs/cdc.md). Then the
    paths of columns begin at the row; those of `route_by`, `delete_when` and `Envelope` sources at the message's top."""
    delete_when: Mapping[str, Value | Sequence[Value]] | None = None
    """Dotted path of a field → the value, or a list of values, with which a message deletes the row it holds:
    `{"__deleted": ["true", True]}`. One of several fields is enough."""
    on_truncate: Literal["fail", "ignore"] = "fail"
    """Where the envelope says that the source's table was truncated: "fail" ends every run with SourceTruncated until a person
    has decided; "ignore" counts the message as ignored, and the table keeps its rows."""

    def __post_init__(self) -> None:
        if not STREAM_NAME.fullmatch(self.name):
            raise ConfigError(
                f"stream name {self.name!r}: letters, digits and _ only, at most 64, no digit first",
                stream=self.name,
                setting="name",
            )
        if not self.topics or any(not t for t in self._topic_tuple):
            raise ConfigError(f"stream {self.name}: topics is empty", stream=self.name, setting="topics")
        if self.is_pattern:
            try:
                re.compile(self.topic_text)
            except re.error as error:
                raise ConfigError(
                    f"stream {self.name}: topic pattern {self.topic_text!r}: {error}",
                    stream=self.name,
                    setting="topics",
                ) from error
        if self.dead_letter_topic is not None:
            if not _TOPIC.fullmatch(self.dead_letter_topic):
                raise ConfigError(
                    f"stream {self.name}: dead_letter_topic {self.dead_letter_topic!r} is no topic name",
                    stream=self.name,
                    setting="dead_letter_topic",
                )
            if self.takes_topic(self.dead_letter_topic):
                raise ConfigError(
                    f"stream {self.name} reads its own dead_letter_topic {self.dead_letter_topic!r}, so a dead letter would "
                    "come round for ever; choose another topic",
                    stream=self.name,
                    setting="dead_letter_topic",
                )
        if not self.routes:
            raise ConfigError(
                f"stream {self.name}: routes is empty; map a message type to a model",
                stream=self.name,
                setting="routes",
            )
        for name in ("max_dead_letter_ratio", "warn_dead_letter_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"stream {self.name}: {name} is {getattr(self, name)}, not 0 to 1", stream=self.name, setting=name
                )
        # Dagster takes no window under a minute, and none to warn that is not shorter than the one to fail.
        if self.fresh_fail is not None and not dt.timedelta(minutes=1) <= self.fresh_warn < self.fresh_fail:
            raise ConfigError(
                f"stream {self.name}: fresh_warn={self.fresh_warn} must be at least a minute and less than "
                f"fresh_fail={self.fresh_fail}",
                stream=self.name,
                setting="fresh_warn",
            )
        for name in ("start", "window_start"):
            value = getattr(self, name)
            if isinstance(value, dt.datetime) and value.tzinfo is None:
                raise ConfigError(
                    f"stream {self.name}: {name}={value} needs a time zone", stream=self.name, setting=name
                )
        for name in ("value_format", "key_format"):
            if not isinstance(getattr(self, name), Format):
                raise ConfigError(
                    f"stream {self.name}: {name} is {getattr(self, name)!r}, no format such as Json() or Avro()",
                    stream=self.name,
                    setting=name,
                )
        DateRule(timezone=self.timezone)  # refuses an unknown zone
        if self.envelope is not None and not isinstance(self.envelope, MessageEnvelope):
            raise ConfigError(
                f"stream {self.name}: envelope is {self.envelope!r}, no envelope such as Debezium()",
                stream=self.name,
                setting="envelope",
            )
        for target in self.targets:
            for row in self.row_paths:
                model_schema(target, row)  # refuses what cannot be loaded
            if self.delete_rules.reads_message_keys(target):
                key_schema(target, self.key_format)
            if target.explode is not None:
                for row in self.row_paths:
                    self._check_exploded(target, (*row, *target.explode))
            if target.label in _OWN_TABLES:
                raise ConfigError(
                    f"stream {self.name}: table name {target.label!r} is taken; choose another", stream=self.name
                )
        self.delete_rules.check((target, self.model_of(target)) for target in self.targets)
        if sum(map(self.delete_rules.takes_tombstones, self.targets)) > 1 and isinstance(self.route_by, RouteByField):
            raise ConfigError(
                f"stream {self.name}: a tombstone has no field to route by, so only one model may delete on tombstones; "
                "route by topic or header, or split the stream",
                stream=self.name,
            )

    @cached_property
    def delete_rules(self) -> DeleteRules:
        """What of the messages deletes rows."""
        when = None if self.delete_when is None else DeleteWhen.of(self.delete_when, self.name)
        return DeleteRules(self.name, self.envelope, when, isinstance(self.route_by, RouteByField))

    @property
    def row_paths(self) -> tuple[tuple[str, ...], ...]:
        """Where a row may stand in a value: one that is written, and one that is deleted."""
        return ((),) if self.envelope is None else tuple(dict.fromkeys((self.envelope.row, self.envelope.deleted)))

    def _exploding(self, target: TargetTable) -> TargetTable:
        """The table whose messages are arrays of its rows, which an upsert model need not say."""
        if target.explode == ():
            return target
        if target.kept:
            raise ConfigError(
                f"stream {self.name}: model {target.model_name} has columns with keep_absent "
                f"({', '.join(bound.name for bound in target.kept)}), and {self.envelope!r} holds an array of rows, whose "
                "elements are whole rows; leave keep_absent out",
                stream=self.name,
                setting="keep_absent",
                model=target.model_name,
            )
        if target.explode is None and target.is_upsert:
            return replace(target, explode=())
        said = "explodes an array of its own" if target.explode else "keeps a row per message"
        raise ConfigError(
            f"stream {self.name}: model {target.model_name} {said}, and {self.envelope!r} holds an array of rows; declare "
            "explode = '[]' in the model",
            stream=self.name,
            setting="explode",
            model=target.model_name,
        )

    def _check_exploded(self, target: TargetTable, path: tuple[str, ...]) -> None:
        shown = ".".join(path) or "[]"
        if not self.value_format.has_arrays(path):
            raise ConfigError(
                f"stream {self.name}: model {target.model_name} explodes {shown!r}, and messages in {self.value_format!r} have "
                "no such array",
                stream=self.name,
                setting="explode",
                model=target.model_name,
            )
        if not path and isinstance(self.route_by, RouteByField):
            raise ConfigError(
                f"stream {self.name}: model {target.model_name} explodes messages that are arrays, which have no field "
                f"{self.route_by.path!r} to route by; route by topic or header",
                stream=self.name,
                setting="route_by",
                model=target.model_name,
            )

    @property
    def _topic_tuple(self) -> tuple[str, ...]:
        return (self.topics,) if isinstance(self.topics, str) else tuple(self.topics)

    @property
    def is_pattern(self) -> bool:
        """Whether `topics` is a regular expression and not a name."""
        return isinstance(self.topics, str) and self.topics.startswith("^")

    @property
    def topic_text(self) -> str:
        """The topics as a person reads them."""
        return ", ".join(self._topic_tuple)

    @property
    def topic_names(self) -> tuple[str, ...]:
        """Declared names; the pattern itself where it is one."""
        return self._topic_tuple

    def takes_topic(self, topic: str) -> bool:
        """Whether the stream reads this topic, if it exists."""
        if self.is_pattern:
            return re.fullmatch(self.topic_text, topic) is not None
        return topic in self._topic_tuple

    @cached_property
    def targets(self) -> tuple[TargetTable, ...]:
        """The tables, each once, in the order of the routes."""
        return tuple(self._model_of)

    def target_of(self, message_type: str | None) -> TargetTable | None:
        """The table of a message type; None where no route takes it."""
        return None if message_type is None else self._target_of_type.get(message_type)

    def route_of(self, target: TargetTable) -> str:
        """The message type that goes to this table; the first, where several do."""
        return next(name for name, found in self._target_of_type.items() if found == target)

    def model_of(self, target: TargetTable) -> type[Model]:
        """The model a table was declared by: for the user's steps, and to create the table with constraints and indexes."""
        return self._model_of[target]

    @cached_property
    def _model_of(self) -> Mapping[TargetTable, type[Model]]:
        found: dict[TargetTable, type[Model]] = {}
        owners: dict[str, type[Model]] = {}
        for model in dict.fromkeys(self.routes.values()):
            target = TargetTable.of(model, self.timezone)
            if self.envelope is not None and self.envelope.is_array:
                target = self._exploding(target)
            for table in target.tables:
                owner = owners.setdefault(table.fullname.lower(), model)  # names do not differ by case on every system
                if owner is not model:
                    names = " and ".join(f"{m.__module__}.{m.__name__}" for m in (owner, model))
                    raise ConfigError(
                        f"stream {self.name}: models {names} both write to table {table.fullname!r}; route both message "
                        "types to one model, or give one of them a table of its own",
                        stream=self.name,
                    )
            found[target] = model
        return found

    @cached_property
    def _target_of_type(self) -> Mapping[str, TargetTable]:
        target_of_model = {model: target for target, model in self._model_of.items()}
        return {name: target_of_model[model] for name, model in self.routes.items()}
