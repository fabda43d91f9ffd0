"""A load and the revocation of its run's lease come one after the other, on every database."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from kafka_ingest.errors import LeaseLost
from kafka_ingest.ledger.leases import (
    acquire_lease,
    read_leases,
    release_lease,
    renew_lease,
    require_lease,
    revoke_lease,
)
from kafka_ingest.ledger.tables import LEASES, METADATA
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink

pytestmark = pytest.mark.services


@pytest.fixture
def sink(any_database_url: str) -> Iterator[Sink]:
    found = open_sink(sa.make_url(any_database_url))
    with found.engine.begin() as connection:
        METADATA.create_all(connection)
        acquire_lease(connection, "s", "run", "here")
    yield found
    found.close()


def revoke(sink: Sink) -> bool:
    with sink.engine.begin() as connection:
        return revoke_lease(connection, read_leases(connection, "s")["run"])


def test_a_lease_goes_by_the_databases_clock_whatever_the_sessions_zone(sink: Sink) -> None:
    with sink.engine.begin() as connection:
        zone = "TIME ZONE '-08:00'" if connection.dialect.name == "postgresql" else "time_zone = '-08:00'"
        connection.exec_driver_sql(f"SET SESSION {zone}")
        assert renew_lease(connection, "s", "run")
        lease = read_leases(connection, "s")["run"]
        connection.exec_driver_sql(f"SET SESSION {zone.replace('-08', '+00')}")
    assert 0 <= lease.age_seconds < 10
    with sink.engine.connect() as connection:
        assert 0 <= read_leases(connection, "s")["run"].age_seconds < 10


def test_a_revocation_waits_for_a_load_that_is_about_to_commit(sink: Sink) -> None:
    with sink.engine.connect() as load:
        with load.begin():
            require_lease(load, "s", "run")
            other = threading.Thread(target=revoke, args=(sink,))
            other.start()
            other.join(0.5)
            assert other.is_alive()
        other.join(10)
    assert not other.is_alive()
    with sink.engine.connect() as connection:
        assert read_leases(connection, "s")["run"].is_revoked
        with pytest.raises(LeaseLost, match="stream s: the lease of run run was revoked"):
            require_lease(connection, "s", "run")


def test_a_load_that_asks_while_its_lease_is_being_revoked_is_refused(sink: Sink) -> None:
    refused: list[LeaseLost] = []

    def load() -> None:
        with sink.engine.begin() as connection:
            try:
                require_lease(connection, "s", "run")
            except LeaseLost as error:
                refused.append(error)

    with sink.engine.connect() as revoking:
        with revoking.begin():
            assert revoke_lease(revoking, read_leases(revoking, "s")["run"])
            other = threading.Thread(target=load)
            other.start()
            other.join(0.5)
            assert not refused
            assert other.is_alive()
        other.join(10)
    assert len(refused) == 1


def test_a_lease_that_was_renewed_since_it_was_read_is_not_revoked(sink: Sink) -> None:
    with sink.engine.connect() as connection:
        seen = read_leases(connection, "s")["run"]
    with sink.engine.begin() as connection:
        assert renew_lease(connection, "s", "run")
    with sink.engine.begin() as connection:
        assert not revoke_lease(connection, seen)
        require_lease(connection, "s", "run")


def test_a_revoked_lease_is_neither_renewed_nor_taken_again_nor_given_up(sink: Sink) -> None:
    assert revoke(sink)
    assert revoke(sink), "once more is no harm"
    with sink.engine.begin() as connection:
        assert not renew_lease(connection, "s", "run")
        release_lease(connection, "s", "run")
        with pytest.raises(LeaseLost):
            acquire_lease(connection, "s", "run", "here")
        acquire_lease(connection, "s", "another run", "here")
        require_lease(connection, "s", "another run")


def test_leases_that_were_left_behind_are_deleted_by_the_next_run_a_day_later(sink: Sink) -> None:
    with sink.engine.begin() as connection:
        acquire_lease(connection, "other", "run", "here")
        long_ago = sa.update(LEASES).values(renewed_at=sa.literal("2026-01-01 00:00:00", sa.String))
        if connection.dialect.name == "postgresql":
            long_ago = sa.update(LEASES).values(renewed_at=sa.text("TIMESTAMP '2026-01-01 00:00:00'"))
        connection.execute(long_ago)
        acquire_lease(connection, "s", "next", "here")
    with sink.engine.connect() as connection:
        assert set(read_leases(connection, "s")) == {"next"}
        assert set(read_leases(connection, "other")) == {"run"}
