"""A real MySQL or MariaDB with certificates, and users that may do no more than they are given."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.ports import LOOPBACK
from kafka_ingest_tests.security.certificates import Authority


@dataclass(frozen=True)
class SecureDatabase:
    server: LocalDatabase
    authority: Authority
    stranger: Authority

    @classmethod
    def start(cls, kind: str, folder: Path) -> SecureDatabase:
        authority, stranger = Authority(folder, "authority"), Authority(folder, "stranger")
        own = authority.issue("server", host=LOOPBACK)
        files = {"ssl-ca": authority.certificate, "ssl-cert": own.certificate, "ssl-key": own.key}
        options = {name: str(path) for name, path in files.items()}
        return cls(LocalDatabase.start(kind, folder / "server", options=options), authority, stranger)

    def make_database(self) -> str:
        """An empty database that no user has a right on."""
        name = f"s_{uuid.uuid4().hex[:12]}"
        self.server.run_as_administrator(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        return name

    def make_user(self, password: str, database: str, grants: Sequence[str], *, require: str = "SSL") -> str:
        """A user with these grants on the database, who has to come by TLS (or with a certificate: X509)."""
        name = f"u_{uuid.uuid4().hex[:12]}"
        # On loopback MariaDB's user is at 127.0.0.1, as for the application's user; quotes are doubled in SQL.
        text = password.replace("\\", "\\\\").replace("'", "''")
        self.server.run_as_administrator(f"CREATE USER '{name}'@'{LOOPBACK}' IDENTIFIED BY '{text}' REQUIRE {require}")
        if grants:
            self.server.run_as_administrator(f"GRANT {', '.join(grants)} ON `{database}`.* TO '{name}'@'{LOOPBACK}'")
        return name

    def url(self, user: str, password: str, database: str, *, host: str = LOOPBACK, **options: object) -> str:
        """The URL as a person writes it into the environment."""
        query = urlencode({name: str(value) for name, value in options.items()})
        return f"mysql+pymysql://{user}:{quote(password, safe='')}@{host}:{self.server.port}/{database}?{query}"
