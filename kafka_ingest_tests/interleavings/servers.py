"""The database servers that interleavings run on: what a test asks of each, in its own words."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

import psycopg
import pymysql
import sqlalchemy as sa

# A server that does not let a killed connection go for so long never does.
KILL_SECONDS = 20.0

Rows = tuple[tuple[object, ...], ...]


class Server(ABC):
    """The test's own connection: what waits, and who is killed. `close()` it."""

    options: ClassVar[Mapping[str, str]]
    """How the server is started: nobody waits for a disk, and a wait that never ends is seen while the test looks."""
    parameters: ClassVar[Mapping[str, str]]
    """Of the URL, for the writers too."""

    def __init__(self, url: sa.URL) -> None:
        self.url = url.update_query_dict(self.parameters)

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def all_rows(self, *statements: str) -> list[Rows]:
        """Those of each statement, in one round trip."""

    @abstractmethod
    def tables(self) -> list[str]:
        """All there are, each before those it refers to."""

    @abstractmethod
    def make_child(self) -> None:
        """The table `i_child`, whose rows keep those of `i_account` from being deleted."""

    @abstractmethod
    def number_rows(self, table: str) -> None:
        """The table's primary key becomes a number that the server gives, and `id` another unique key."""

    @abstractmethod
    def last_word(self, column: str) -> str:
        """SQL: what stands behind the last blank of a text."""

    @abstractmethod
    def lock_waits(self) -> int:
        """How many transactions wait for a lock now."""

    @abstractmethod
    def kill(self, connections: set[int]) -> None:
        """As the server does when it notices that a client is gone. Returns when all is rolled back."""

    @staticmethod
    @abstractmethod
    def number(driver: Any) -> int:
        """What the server calls a driver's connection."""

    @staticmethod
    @abstractmethod
    def lose(driver: Any) -> NoReturn:
        """Cut the connection, and raise what the driver raises then."""

    def rows(self, query: str) -> Rows:
        return self.all_rows(query)[0]

    def run(self, *statements: str) -> None:
        """All in one round trip."""
        self.all_rows(*statements)

    def drop_tables(self) -> None:
        """Those of an earlier world."""
        for name in self.tables():
            self.run(f"DROP TABLE {name}")

    def _expect_gone(self, connections: set[int], query: str) -> None:
        deadline = time.monotonic() + KILL_SECONDS
        while self.rows(query.format(", ".join(map(str, connections)) or "0")):
            assert time.monotonic() < deadline, "the server keeps connections that were killed"
            time.sleep(0.001)
        connections.clear()


class MySQLServer(Server):
    """MySQL or MariaDB."""

    options: ClassVar[Mapping[str, str]] = {
        "innodb-flush-log-at-trx-commit": "0",
        "sync-binlog": "0",
        "innodb-lock-wait-timeout": "5",
    }
    parameters: ClassVar[Mapping[str, str]] = {"ssl_disabled": "true"}  # a third of a statement's time, on loopback

    def __init__(self, url: sa.URL) -> None:
        super().__init__(url)
        assert url.host
        assert url.port
        self._connection = pymysql.connect(
            host=url.host,
            port=url.port,
            user=url.username,
            password=url.password or "",
            database=url.database,
            autocommit=True,
            ssl_disabled=True,
            client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS,
        )
        is_mariadb = "MariaDB" in str(self.rows("SELECT VERSION()"))
        # A third of the time of SHOW GLOBAL STATUS.
        self._waits_query = (
            f"SELECT variable_value FROM {'information' if is_mariadb else 'performance'}_schema.global_status "
            "WHERE variable_name = 'Innodb_row_lock_current_waits'"
        )

    def close(self) -> None:
        self._connection.close()

    def all_rows(self, *statements: str) -> list[Rows]:
        with self._connection.cursor() as cursor:
            cursor.execute("; ".join(statements))
            found = [cursor.fetchall()]
            while cursor.nextset():
                found.append(cursor.fetchall())
        return found

    def tables(self) -> list[str]:
        return sorted((str(name) for (name,) in self.rows("SHOW TABLES")), key=lambda name: (name != "i_child", name))

    def make_child(self) -> None:
        query = (
            "SELECT collation_name FROM information_schema.columns WHERE table_schema = DATABASE() "
            "AND table_name = 'i_account' AND column_name = 'id'"
        )
        [(collation,)] = self.rows(query)
        self.run(
            f"CREATE TABLE i_child (account VARCHAR(8) CHARACTER SET utf8mb4 COLLATE {collation} PRIMARY KEY, "
            "FOREIGN KEY (account) REFERENCES i_account (id)) ENGINE=InnoDB"
        )

    def number_rows(self, table: str) -> None:
        self.run(
            f"ALTER TABLE {table} DROP PRIMARY KEY, ADD COLUMN number BIGINT AUTO_INCREMENT PRIMARY KEY FIRST, "
            f"ADD UNIQUE KEY (id)"
        )

    def last_word(self, column: str) -> str:
        return f"SUBSTRING_INDEX({column}, ' ', -1)"

    def lock_waits(self) -> int:
        """Of row locks. MySQL and MariaDB both count them; unlike information_schema.innodb_trx, which is a copy that is made
        anew ten times a second at most, it is never old."""
        return int(str(self.rows(self._waits_query)[0][0]))

    def kill(self, connections: set[int]) -> None:
        for number in connections:
            try:
                self.run(f"KILL {number}")
            except pymysql.err.MySQLError as error:
                if error.args[0] != 1094:  # it is gone already
                    raise
        self._expect_gone(connections, "SELECT 1 FROM information_schema.processlist WHERE id IN ({})")

    @staticmethod
    def number(driver: Any) -> int:
        return int(driver.thread_id())

    @staticmethod
    def lose(driver: Any) -> NoReturn:
        driver._force_close()
        raise pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")


class PostgreSQLServer(Server):
    """PostgreSQL."""

    options: ClassVar[Mapping[str, str]] = {
        "fsync": "off",
        "synchronous_commit": "off",
        "deadlock_timeout": "20ms",
        "autovacuum_naptime": "5s",  # each example leaves as many dead rows as it writes
    }
    parameters: ClassVar[Mapping[str, str]] = {"sslmode": "disable", "options": "-c lock_timeout=5s"}

    def __init__(self, url: sa.URL) -> None:
        super().__init__(url)
        plain = url.set(drivername="postgresql")
        self._connection = psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True)

    def close(self) -> None:
        self._connection.close()

    def all_rows(self, *statements: str) -> list[Rows]:
        found: list[Rows] = []
        with self._connection.cursor() as cursor:
            cursor.execute("; ".join(statements).encode())
            while True:
                found.append(tuple(cursor.fetchall()) if cursor.description else ())
                if not cursor.nextset():
                    return found

    def tables(self) -> list[str]:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename <> 'i_child', tablename"
        return [str(name) for (name,) in self.rows(query)]

    def make_child(self) -> None:
        self.run(
            "CREATE TABLE i_child (account VARCHAR(8) PRIMARY KEY, FOREIGN KEY (account) REFERENCES i_account (id))"
        )

    def number_rows(self, table: str) -> None:
        self.run(
            f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD UNIQUE (id), "
            "ADD COLUMN number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
        )

    def last_word(self, column: str) -> str:
        return f"split_part({column}, ' ', -1)"

    def lock_waits(self) -> int:
        """Of locks of any kind: an advisory lock's, too."""
        [(count,)] = self.rows("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return int(str(count))

    def kill(self, connections: set[int]) -> None:
        numbers = ", ".join(map(str, connections)) or "0"
        self.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN ({numbers})")
        self._expect_gone(connections, "SELECT 1 FROM pg_stat_activity WHERE pid IN ({})")

    @staticmethod
    def number(driver: Any) -> int:
        return int(driver.info.backend_pid)

    @staticmethod
    def lose(driver: Any) -> NoReturn:
        driver.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")


SERVERS: Mapping[str, type[Server]] = {
    "mysql": MySQLServer,
    "mariadb": MySQLServer,
    "postgresql": PostgreSQLServer,
}
"""By what `LocalDatabaseServer.kind` calls them."""


def connect(url: str) -> Server:
    """To a database that the test has for itself."""
    found = sa.make_url(url)
    return SERVERS[found.get_backend_name()](found)
