"""Making a new data folder for MySQL or MariaDB, and its accounts."""

from __future__ import annotations

import shutil
from pathlib import Path

from kafka_ingest.local.database_credentials import APPLICATION_USER, Credentials
from kafka_ingest.local.database_program import DatabaseProgram
from kafka_ingest.local.database_server import APPLICATION_DATABASE
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.initialiser import initialise_by

MARIADB_SCRIPTS = ("system_tables.sql", "performance_tables.sql", "system_tables_data.sql", "sys_schema.sql")


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
        _fill([*program.command, *options, f"--datadir={partial}", "--initialize-insecure"], "")
    else:
        _fill([*program.command, *options, f"--datadir={partial}", "--bootstrap"], _mariadb_bootstrap(program))
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


def _fill(command: list[str], stdin: str) -> None:
    initialise_by(command, stdin, what=f"`{Path(command[0]).name} … {command[-1]}`")
