"""The Component with Dagster's own `dg`, in a project that `create-dagster` makes: found, scaffolded, checked, listed."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kafka_ingest_tests.e2e.fresh_project import FreshEnvironment, run

pytestmark = pytest.mark.services

TYPE = "kafka_ingest.KafkaIngestComponent"
ENVIRON = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "KAFKA_INGEST_DATABASE_URL": "mysql+pymysql://loader:s3cret@127.0.0.1/news",
    "NO_COLOR": "1",
    "COLUMNS": "250",
}
# What is wrong is marked with the beginning of what is said of it.
BROKEN = """\
type: kafka_ingest.KafkaIngestComponent
attributes:
  kafka:  #! 'bootstrap_servers' is a required property
    bootstrap_server: broker:9092  #! Additional properties are not allowed ('bootstrap_server' was unexpected)
  key_prefix: {a: b}  #! {'a': 'b'} is not of type 'array'
  streams:
    - name: trades
      topics: trades
      batch: {max_rows: 0, min_messages: "{{ env.MANY }}"}  #! 0 is less than the minimum of 1
      unrouted: drop  #! 'drop' is not one of ['dead_letter', 'ignore']
      routes:
        trade:
          table: trades
          columns:
            symbol: VARCHR(16)  #! 'VARCHR(16)' does not match
            price:
              type: DOUBLE
              nulable: true  #! Additional properties are not allowed ('nulable' was unexpected)
            venue:
              type: TEXT
              source: {heder: venue}  #! Additional properties are not allowed ('heder' was unexpected)
            size:
              type: INT UNSIGNED
              cast: {from_text: true, rounding: up}  #! 'up' is not one of ['half_up', 'half_even', 'down']
        other:  #! 'table' is a required property
          columns: {symbol: TEXT}
    - 7  #! 7 is not of type 'object'
  owner: me  #! Additional properties are not allowed ('owner' was unexpected)
"""
# What only the Component itself can tell.
MISTAKEN = """\
type: kafka_ingest.KafkaIngestComponent
attributes:
  streams:
    - name: trades
      topics: trades
      routes:
        trade:
          table: trades
          columns: {symbol: TEXT}
      steps:
        - .steps.clean
"""


@dataclass(frozen=True, slots=True)
class Project:
    folder: Path
    environment: FreshEnvironment
    environ: dict[str, str] = field(default_factory=lambda: dict(ENVIRON))

    def dg(self, *arguments: str, exit_code: int = 0) -> str:
        command = [self.environment.command("dg"), *arguments]
        return run(command, cwd=self.folder, environ=self.environ, exit_code=exit_code)

    def component(self, name: str) -> Path:
        return self.folder / "src" / "market" / "defs" / name

    def write(self, name: str, text: str) -> Path:
        """The `defs.yaml` of a component, in place of the one that the last test wrote."""
        for other in ("broken", "mistaken"):
            shutil.rmtree(self.component(other), ignore_errors=True)
        file = self.component(name) / "defs.yaml"
        file.parent.mkdir()
        file.write_text(text)
        return file


@pytest.fixture(scope="module")
def project(fresh_environment: FreshEnvironment, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    run([fresh_environment.command("create-dagster"), "project", "market", "--no-uv-sync"], cwd=folder)
    run([fresh_environment.python, "-m", "pip", "install", "-q", "-e", "market"], cwd=folder)
    found = Project(folder / "market", fresh_environment)
    found.dg("scaffold", "defs", TYPE, "quotes")
    return found


def test_dg_finds_the_component(project: Project) -> None:
    assert re.search(rf"{re.escape(TYPE)}\s*│ Kafka topics into database tables", project.dg("list", "components"))


def test_what_dg_scaffolds_is_right_and_loads(project: Project) -> None:
    assert {path.name for path in project.component("quotes").iterdir()} >= {"defs.yaml", "stream.py"}
    assert "validated successfully" in project.dg("check", "yaml")
    assert "All definitions loaded successfully" in project.dg("check", "defs")
    listed = project.dg("list", "defs")
    for name in ("quotes/quotes", "kafka/quotes", "quotes/dead_letters", "ingest_quotes", "quotes_sensor"):
        assert name in listed
    assert "s3cret" not in listed


def test_dg_checks_the_yaml_and_names_each_line_that_is_wrong(project: Project) -> None:
    file = project.write("broken", re.sub("  #!.*", "", BROKEN))
    said = project.dg("check", "yaml", str(file.parent), exit_code=1)
    found = re.findall(rf"^{re.escape(str(file))}:(\d+) - {re.escape(TYPE)} \S+ (.*)$", said, re.MULTILINE)
    marked = [(number, line.partition("  #! ")[2]) for number, line in enumerate(BROKEN.splitlines(), 1)]
    wanted = [(number, text) for number, text in marked if text]
    assert sorted((int(number), text[: len(dict(wanted).get(int(number), text))]) for number, text in found) == wanted


def test_what_only_loading_can_tell_names_its_line_too(project: Project) -> None:
    file = project.write("mistaken", MISTAKEN)
    said = project.dg("check", "defs", "--no-check-yaml", exit_code=1)
    assert f"{file}:11 - attributes.streams.0.steps.0" in said
    assert "streams[0].steps[0] is '.steps.clean', which cannot be imported: No module named" in said
