"""Every error this package raises on purpose.

    KafkaIngestError
    ├── RetryableError           the same call may succeed later: retried, then the run fails
    │   ├── KafkaUnavailable       broker unreachable, timeout, leader moving
    │   │   └── CommitUnanswered     the group's coordinator is silent; the database has everything
    │   ├── DatabaseUnavailable    connection lost, read-only server
    │   │   └── TransactionConflict    deadlock, lock wait: another transaction wants the same rows
    │   └── RangeReadTimeout       the range was not read to its end before its deadline
    └── PermanentError           a person has to act: never retried
        ├── ConfigError            a setting, stream or model is wrong
        ├── SchemaMismatch         the target table does not fit the model
        ├── OffsetGap              a live load would leave out offsets
        ├── DataLoss               offsets are gone from Kafka before they were loaded
        │   └── LogCut               ... and others may stand in their place by now
        ├── DeadLetterLimit        too large a part of a batch is bad
        ├── AccountingError        a range does not add up (a bug here: nothing was committed)
        ├── StepError              a pipeline step of the user's raised
        ├── AccessDenied           credentials, certificates or privileges
        └── HostileServer          the database asked for a file nobody offered

A bad *message* is not an error: it travels as a `DeadLetter`.
"""

from __future__ import annotations


class KafkaIngestError(Exception):
    """Base of all; the text says what happened, where, and what to do next."""


class RetryableError(KafkaIngestError):
    """Infrastructure trouble that may pass."""


class KafkaUnavailable(RetryableError):
    """The cluster did not answer as it should."""


class CommitUnanswered(KafkaUnavailable):
    """The commit of the group's offsets was not answered in time; the consumer it was sent by cannot be used any more."""


class DatabaseUnavailable(RetryableError):
    """The database did not answer as it should; the transaction was or will be rolled back."""


class TransactionConflict(DatabaseUnavailable):
    """The server has ended the transaction because it and another one wait for each other's rows; it begins again."""


class RangeReadTimeout(RetryableError):
    """A range was not read to its end in time."""


class PermanentError(KafkaIngestError):
    """Trying again without a change gives the same result."""


class ConfigError(PermanentError):
    """A setting, a stream declaration or a run config is wrong."""


class SchemaMismatch(PermanentError):
    """The target table lacks something the model needs, or could change values."""


class OffsetGap(PermanentError):
    """The batch starts above the ledger's next offset."""


class DataLoss(PermanentError):
    """Kafka no longer holds offsets that were never loaded."""


class LogCut(DataLoss):
    """A log was cut below the position it is read from, by an unclean leader election or a power cut."""

    def __init__(self, message: str, *, topic: str, partition: int, position: int, end: int | None) -> None:
        super().__init__(message)
        self.topic = topic
        self.partition = partition
        self.position = position
        """The offset that was to be read."""
        self.end = end
        """Where the log was cut: from here on it holds other messages than it did, or none. None where the broker cannot
        say."""


class DeadLetterLimit(PermanentError):
    """The ratio of dead letters in a batch is over the stream's limit; nothing was committed."""


class AccountingError(PermanentError):
    """rows + deletes + dead letters + ignored + absent differs from the size of the range."""


class StepError(PermanentError):
    """A pipeline step raised or broke its contract."""


class AccessDenied(PermanentError):
    """The server refused who we are or what we asked."""


class HostileServer(PermanentError):
    """The database server asked for data it was not offered."""
