"""Making a new data folder for MySQL or MariaDB, and its accounts."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kafka_ingest.local.database_program import DatabaseProgram
from kafka_ingest.local.database_server import APPLICATION_DATABASE
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import read_json, write_private_json

APPLICATION_USER = "kafka_ingest"
INITIALISE_TIMEOUT_SECONDS = 300
MARIADB_SCRIPTS = ("system_tables.sql", "performance_tables.sql", "system_tables_data.sql", "sys_schema.sql")


@dataclass(frozen=True)
class Credentials:
    """The passwords of one data folder, kept in `credentials.json` (0600)."""

    root: str
    application: str


def credentials_of(data_dir: Path) -> Credentials:
    """The folder's passwords, made at random the first time."""
    path = data_dir / "credentials.json"
    values = read_json(path)
    if "root" not in values or "kafka_ingest" not in values:
        values = {"root": secrets.token_urlsafe(24), "kafka_ingest": secrets.token_urlsafe(24)}
        write_private_json(path, values)
    return Credentials(root=str(values["root"]), application=str(values["kafka_ingest"]))


def account_statements(credentials: Credentials) -> str:
    """SQL for the server's --init-file, one statement a line; run at every start, so a cut-off first start heals."""
    lines = [f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{credentials.root}'"]
    accounts = (("root", credentials.root), (APPLICATION_USER, credentials.application))
    for user, password in accounts:
        lines.append(f"CREATE USER IF NOT EXISTS '{user}'@'127.0.0.1' IDENTIFIED BY '{password}'")
        lines.append(f"ALTER USER '{user}'@'127.0.0.1' IDENTIFIED BY '{password}'")
    lines.append("GRANT ALL PRIVILEGES ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION")
    lines += database_statements(APPLICATION_DATABASE)
    return ";\n".join(lines) + ";\n"


def database_statements(name: str) -> list[str]:
    """SQL that makes a database and gives the application user every right on it, and on no other."""
    # In GRANT, _ and % in a database's name are wildcards.
    pattern = name.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
    return [
        f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4",
        f"GRANT ALL PRIVILEGES ON `{pattern}`.* TO '{APPLICATION_USER}'@'127.0.0.1'",
    ]


def initialise(program: DatabaseProgram, folder: Path, options: list[str]) -> None:
    """Fill an empty data `folder` with the system tables; a half-filled one left by a crash is replaced.

    `options` begin with --no-defaults. LocalServerError with the server's own words when it fails.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    if program.kind == "mysql":
        _run([*program.command, *options, f"--datadir={partial}", "--initialize-insecure"], None)
    else:
        _run([*program.command, *options, f"--datadir={partial}", "--bootstrap"], _mariadb_bootstrap(program))
    partial.rename(folder)


def _mariadb_bootstrap(program: DatabaseProgram) -> str:
    """What mariadb-install-db feeds to the server (that script needs an installed server and its tools)."""
    scripts = []
    for name in MARIADB_SCRIPTS:
        prefixes = ("mariadb_", "mysql_")  # renamed in MariaDB 11
        found = [share / f"{prefix}{name}" for share in program.share_folders for prefix in prefixes]
        script = next((path for path in found if path.is_file()), None)
        if script is None:
            raise LocalServerError(f"MariaDB's {name} is in none of {[str(path) for path in program.share_folders]}")
        scripts.append(script.read_text())
    head = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n"
    return head + "\n".join(scripts) + "\n"


def _run(command: list[str], stdin: str | None) -> None:
    answer = subprocess.run(
        command,
        input=stdin or "",
        capture_output=True,
        text=True,
        check=False,
        timeout=INITIALISE_TIMEOUT_SECONDS,
        env={**os.environ, "LC_ALL": "C"},
    )
    if answer.returncode != 0:
        last = "\n".join((answer.stdout + answer.stderr).strip().splitlines()[-15:])
        raise LocalServerError(f"`{Path(command[0]).name} … {command[-1]}` failed:\n{last}")
