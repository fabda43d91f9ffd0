"""Every error this package raises on purpose.

    KafkaIngestError
    ├── RetryableError           the same call may succeed later: retried, then the run fails
    │   ├── KafkaUnavailable       broker unreachable, timeout, leader moving
    │   │   └── CommitUnanswered     the group's coordinator is silent; the database has everything
    │   ├── SchemaRegistryUnavailable  the schema registry does not answer as it should
    │   ├── DatabaseUnavailable    connection lost, read-only server
    │   │   └── TransactionConflict    deadlock, lock wait: another transaction wants the same rows
    │   └── RangeReadTimeout       the range was not read to its end before its deadline
    └── PermanentError           a person has to act: never retried
        ├── ConfigError            a setting, stream or model is wrong
        │   └── DeclarationError       ... of a stream declared as data: says where in it
        ├── WrongEnvironment       the run's process reaches another cluster or database than the sensor that launched it
        ├── SchemaMismatch         the target table does not fit the model
        ├── OffsetGap              a live load would leave out offsets
        ├── LeaseLost              another run goes on in this one's place
        ├── DataLoss               offsets are gone from Kafka before they were loaded
        │   └── LogCut               ... and others may stand in their place by now
        ├── DeadLetterLimit        too large a part of a batch is bad
        ├── SourceTruncated        the table that a stream mirrors was truncated
        ├── AccountingError        a range does not add up (a bug here: nothing was committed)
        ├── StepError              a pipeline step of the user's raised
        ├── AccessDenied           credentials, certificates or privileges
        └── HostileServer          the database asked for a file nobody offered

Besides its text an error carries what it is about as attributes, for programs; `values()` gives them all. An attribute is None,
or empty, where the place that raised it does not know it. They hold names, numbers, offsets and DDL, never a secret. Errors can
be pickled.

A bad *message* is not an error: it travels as a `DeadLetter`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class RangeOfOffsets(Protocol):
    """As `slices.OffsetRange`, whose module stands on this one: offsets `[start, end)` of a Kafka partition."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


class KafkaIngestError(Exception):
    """Base of all; the text says what happened, where, and what to do next.

    stream: name of the stream it happened to.
    code: how the server's client calls its error: librdkafka's number, MySQL's number, a SQLSTATE, SQLite's name.
    """

    def __init__(self, message: str, *, stream: str | None = None, code: int | str | None = None) -> None:
        super().__init__(message)
        self.stream = stream
        self.code = code

    def values(self) -> dict[str, Any]:
        """The attributes that say something, by name; None and empty ones are left out."""
        return {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and value is not None and value != ()
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own would call the class with the text alone, and some here need more than that.
        return _without_init, (type(self), self.args), vars(self)


def _without_init(kind: type[KafkaIngestError], args: tuple[object, ...]) -> KafkaIngestError:
    return kind.__new__(kind, *args)


class RetryableError(KafkaIngestError):
    """Infrastructure trouble that may pass."""


class KafkaUnavailable(RetryableError):
    """The cluster did not answer as it should."""


class CommitUnanswered(KafkaUnavailable):
    """The commit of the group's offsets was not answered in time; the consumer it was sent by cannot be used any more."""


class SchemaRegistryUnavailable(RetryableError):
    """The schema registry did not answer, or answered that it cannot for now. `code` is the HTTP status, where there was one."""


class DatabaseUnavailable(RetryableError):
    """The database did not answer as it should; the transaction was or will be rolled back."""


class TransactionConflict(DatabaseUnavailable):
    """The server has ended the transaction because it and another one wait for each other's rows; it begins again."""


class RangeReadTimeout(RetryableError):
    """A range was not read to its end in time.

    ranges: what was still to be read.
    seconds: how long nothing came.
    """

    def __init__(
        self,
        message: str,
        *,
        stream: str | None = None,
        ranges: tuple[RangeOfOffsets, ...] = (),
        seconds: float | None = None,
    ) -> None:
        super().__init__(message, stream=stream)
        self.ranges = ranges
        self.seconds = seconds


class PermanentError(KafkaIngestError):
    """Trying again without a change gives the same result."""


class ConfigError(PermanentError):
    """A setting, a stream declaration or a run config is wrong.

    setting: the environment variable, the command's option, the run config's field or the declaration's attribute.
    model: name of the model whose declaration is wrong.
    """

    def __init__(
        self,
        message: str,
        *,
        stream: str | None = None,
        code: int | str | None = None,
        setting: str | None = None,
        model: str | None = None,
    ) -> None:
        super().__init__(message, stream=stream, code=code)
        self.setting = setting
        self.model = model


class DeclarationError(ConfigError):
    """A stream that is declared as data is wrong.

    place: the keys and positions that lead to what is wrong: `("streams", 0, "routes", "news", "columns", "price", "type")`.
    """

    def __init__(
        self,
        message: str,
        *,
        place: tuple[str | int, ...],
        stream: str | None = None,
        setting: str | None = None,
        model: str | None = None,
    ) -> None:
        super().__init__(message, stream=stream, setting=setting, model=model)
        self.place = place


class WrongEnvironment(PermanentError):
    """The process of a run reaches another Kafka cluster or another database than the sensor that launched it.

    expected_cluster, found_cluster: ids of the clusters.
    expected_database, found_database: `ledger:` and a ledger's id, or `server:` and a hash of which server and database it is.
    """

    def __init__(
        self,
        message: str,
        *,
        stream: str | None = None,
        expected_cluster: str | None = None,
        found_cluster: str | None = None,
        expected_database: str | None = None,
        found_database: str | None = None,
    ) -> None:
        super().__init__(message, stream=stream)
        self.expected_cluster = expected_cluster
        self.found_cluster = found_cluster
        self.expected_database = expected_database
        self.found_database = found_database


class SchemaMismatch(PermanentError):
    """The target table lacks something the model needs, or could change values.

    tables: names of the tables that do not fit.
    statements: what a person runs to make them fit, in order.
    """

    def __init__(
        self,
        message: str,
        *,
        stream: str | None = None,
        code: int | str | None = None,
        tables: tuple[str, ...] = (),
        statements: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, stream=stream, code=code)
        self.tables = tables
        self.statements = statements


class OffsetGap(PermanentError):
    """The batch starts above the ledger's next offset.

    range: what was to be loaded.
    next_offset: where the ledger stands; None where it does not know the partition.
    """

    def __init__(
        self,
        message: str,
        *,
        stream: str | None = None,
        range: RangeOfOffsets | None = None,  # noqa: A002  as RangeCounts.range
        next_offset: int | None = None,
    ) -> None:
        super().__init__(message, stream=stream)
        self.range = range
        self.next_offset = next_offset


class LeaseLost(PermanentError):
    """The run's lease was revoked, as it was not renewed in time; another run goes on. Nothing was loaded."""


class DataLoss(PermanentError):
    """Kafka no longer holds offsets that were never loaded.

    ranges: offsets that are gone from the log. Where it was being read: what was still to be read, of which some are gone.
    topics: topics that were deleted and created again; how many offsets went with the old ones is not known.
    """

    def __init__(
        self,
        message: str,
        *,
        stream: str | None = None,
        ranges: tuple[RangeOfOffsets, ...] = (),
        topics: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, stream=stream)
        self.ranges = ranges
        self.topics = topics


class LogCut(DataLoss):
    """A log was cut below the position it is read from, by an unclean leader election or a power cut.

    position: the offset that was to be read.
    end: where the log was cut: from here on it holds other messages than it did, or none. None where the broker cannot say.
    """

    def __init__(
        self, message: str, *, topic: str, partition: int, position: int, end: int | None, stream: str | None = None
    ) -> None:
        super().__init__(message, stream=stream)
        self.topic = topic
        self.partition = partition
        self.position = position
        self.end = end


class DeadLetterLimit(PermanentError):
    """The ratio of dead letters in a batch is over the stream's limit; nothing was committed.

    dead_letters, messages: numbers of the batch that was refused.
    limit: the stream's `max_dead_letter_ratio`, 0 to 1.
    ranges: the batch.
    """

    def __init__(
        self,
        message: str,
        *,
        stream: str | None = None,
        dead_letters: int | None = None,
        messages: int | None = None,
        limit: float | None = None,
        ranges: tuple[RangeOfOffsets, ...] = (),
    ) -> None:
        super().__init__(message, stream=stream)
        self.dead_letters = dead_letters
        self.messages = messages
        self.limit = limit
        self.ranges = ranges


class SourceTruncated(PermanentError):
    """The source's table was truncated, and ours cannot follow; nothing of the slice was committed.

    topic, partition, position: of the message that says so; the position is its offset.
    table: that would keep the rows.
    """

    def __init__(
        self,
        message: str,
        *,
        stream: str | None = None,
        topic: str | None = None,
        partition: int | None = None,
        position: int | None = None,
        table: str | None = None,
    ) -> None:
        super().__init__(message, stream=stream)
        self.topic = topic
        self.partition = partition
        self.position = position
        self.table = table


class AccountingError(PermanentError):
    """rows + deletes + dead letters + ignored + absent differs from the size of the range.

    counts: those five numbers, by name.
    """

    def __init__(
        self,
        message: str,
        *,
        stream: str | None = None,
        range: RangeOfOffsets | None = None,  # noqa: A002  as RangeCounts.range
        counts: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(message, stream=stream)
        self.range = range
        self.counts = counts


class StepError(PermanentError):
    """A pipeline step raised or broke its contract.

    step: name of the function.
    model: name of the model whose rows it was given.
    ranges: where the messages of these rows stand.
    """

    def __init__(
        self,
        message: str,
        *,
        stream: str | None = None,
        step: str | None = None,
        model: str | None = None,
        ranges: tuple[RangeOfOffsets, ...] = (),
    ) -> None:
        super().__init__(message, stream=stream)
        self.step = step
        self.model = model
        self.ranges = ranges


class AccessDenied(PermanentError):
    """The server refused who we are or what we asked."""


class HostileServer(PermanentError):
    """The database server asked for data it was not offered.

    file: name of the file it asked for.
    """

    def __init__(self, message: str, *, stream: str | None = None, file: str | None = None) -> None:
        super().__init__(message, stream=stream)
        self.file = file
