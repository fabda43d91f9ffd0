"""The local PostgreSQL server: its port, its processes and who may sign in."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from kafka_ingest.sinks.postgresql.local_server import LocalPostgreSQL

pytestmark = pytest.mark.services


def processes_of(folder: Path) -> list[str]:
    """Command lines that name the folder, and processes that are in it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = str((entry / "cwd").readlink())
        except OSError:
            continue
        if str(folder) in command or str(folder) in place:
            found.append(command)
    return found


def connect(server: LocalPostgreSQL) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(server.url().replace("+psycopg", ""), autocommit=True)


def test_a_local_server_keeps_its_port_and_what_was_committed_and_leaves_no_process(tmp_path: Path) -> None:
    server = LocalPostgreSQL.start("postgresql", tmp_path, options={"max_connections": "20"})
    try:
        port = server.port
        with connect(server) as connection:
            connection.execute("CREATE TABLE kept (n int)")
            connection.execute("INSERT INTO kept VALUES (1)")
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
            assert connection.execute("SHOW max_connections").fetchone() == ("20",)
        again = LocalPostgreSQL.start("postgresql", tmp_path, options={"max_connections": "20"})
        assert (again.pid, again.port) == (server.pid, port)
        server.kill()
        assert processes_of(tmp_path) == []
        # By now the number that the server's own pid file holds may be another process's.
        stale = tmp_path / "data" / "postmaster.pid"
        stale.write_text(stale.read_text().replace(str(server.pid), str(os.getpid()), 1))
        server = LocalPostgreSQL.start("postgresql", tmp_path)
        assert server.port == port
        with connect(server) as connection:
            assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]
            began = time.monotonic()
            server.stop()  # though somebody is connected
            assert time.monotonic() - began < 10
        assert processes_of(tmp_path) == []
        assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600
    finally:
        server.stop()


def test_a_local_server_listens_on_loopback_only_and_asks_for_the_password(server: LocalPostgreSQL) -> None:
    sockets = Path("/proc/net/unix").read_text().splitlines()
    assert not [line for line in sockets if f".s.PGSQL.{server.port}" in line]
    with connect(server) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
    for user in ("postgres", "kafka_ingest"):
        with pytest.raises(psycopg.OperationalError, match=r"no password supplied|authentication failed"):
            psycopg.connect(host="127.0.0.1", port=server.port, user=user, dbname="postgres")


def test_a_wrong_parameter_fails_with_the_servers_own_words(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="unrecognized configuration parameter"):
        LocalPostgreSQL.start("postgresql", tmp_path, options={"no_such_thing": "1"})
    assert processes_of(tmp_path) == []
