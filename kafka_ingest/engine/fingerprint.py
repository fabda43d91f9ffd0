"""Which Kafka cluster and which database a process reaches, so that a run can be held to where its launching sensor looked.

A worker without the right settings would load rows into a database that nobody looks at, and commit the group's offsets. So the
sensor gives the run a fingerprint along, in its tags, and the run compares its own before it writes anything.

A cluster is known by its id. A database is known by its ledger's id, which stays the same where another server takes over; until
a first run has made the ledger, by which server and database it is. A copy of a database has its ledger's id, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from kafka_ingest.errors import WrongEnvironment
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.ledger.version import read_ledger_id
from kafka_ingest.sinks.base import Sink

CLUSTER_TAG = "kafka_ingest/cluster"
DATABASE_TAG = "kafka_ingest/database"

_SERVER = "server:"
# Enough to tell the servers of one user apart, and to compare by eye.
_HASH_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Where a process reads and writes. Of the database it holds no host name and no user."""

    cluster: str | None
    """The Kafka cluster's id; None where the cluster says none, which is then not compared."""
    database: str
    """`ledger:` and the ledger's id where one stands there, else `server:` and a hash of which server and database it is."""

    def as_tags(self) -> dict[str, str]:
        """As tags of a run."""
        return {DATABASE_TAG: self.database} | ({} if self.cluster is None else {CLUSTER_TAG: self.cluster})

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Fingerprint | None:
        """The one in a run's tags; None for a run that has none, as one launched by hand."""
        database = tags.get(DATABASE_TAG)
        return None if database is None else cls(tags.get(CLUSTER_TAG), database)


def look(metadata: KafkaMetadata, sink: Sink) -> Fingerprint:
    """That of these clients. Raises as their requests do."""
    return Fingerprint(metadata.cluster_id(), database_of(sink))


def database_of(sink: Sink, *, is_server: bool = False) -> str:
    """The database's part of the fingerprint. is_server: say which server it is even where a ledger stands there."""
    with sink.errors("asking which database this is"), sink.engine.connect() as connection:
        ledger_id = None if is_server else read_ledger_id(connection)
        if ledger_id is not None:
            return f"ledger:{ledger_id}"
        identity = sink.server_identity(connection)
    return _SERVER + hashlib.sha256(identity.encode()).hexdigest()[:_HASH_DIGITS]


def check(expected: Fingerprint, metadata: KafkaMetadata, sink: Sink, *, stream: str) -> None:
    """Raises WrongEnvironment where these clients reach another cluster or database than expected. Writes nothing.

    Where no ledger stood when it was looked, one may stand by now: the servers are compared. Else the ledger has to be there.
    """
    database = database_of(sink, is_server=expected.database.startswith(_SERVER))
    cluster = None if expected.cluster is None else metadata.cluster_id()
    if database == expected.database and (cluster is None or cluster == expected.cluster):
        return
    raise WrongEnvironment(
        f"stream {stream}: the sensor that launched this run looks at {_words(expected.cluster, expected.database)}, but this "
        f"process of the run reaches {_words(cluster, database)}. It has read and written nothing. Give the processes of runs "
        "the settings of the code location: KAFKA_BOOTSTRAP_SERVERS names the cluster, KAFKA_INGEST_DATABASE_URL the database, "
        "unless your resources say otherwise; `kafka-ingest doctor` shows what they lead to.",
        stream=stream,
        expected_cluster=expected.cluster,
        found_cluster=cluster,
        expected_database=expected.database,
        found_database=database,
    )


def _words(cluster: str | None, database: str) -> str:
    return f"database {database}" if cluster is None else f"Kafka cluster {cluster} and database {database}"
