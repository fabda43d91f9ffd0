"""The command line as a whole: quick help, errors without traceback, secrets never shown."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from kafka_ingest.cli.json_output import json_option, print_json
from kafka_ingest.cli.lazy import LazyCommand, LazyGroup
from kafka_ingest.cli.main import COMMANDS, cli
from kafka_ingest.errors import (
    AccessDenied,
    ConfigError,
    DatabaseUnavailable,
    KafkaIngestError,
    OffsetGap,
    SchemaMismatch,
)
from kafka_ingest.slices import OffsetRange

PASSWORD = "p@ss/w0rd ü"  # noqa: S105  not a real one
QUOTED = "p%40ss%2Fw0rd%20%C3%BC"


def test_help_imports_none_of_the_slow_libraries() -> None:
    code = (
        "import sys\nfrom kafka_ingest.cli.main import cli\ncli(['--help'], standalone_mode=False)\n"
        "print(sorted({'dagster', 'pandas', 'sqlalchemy', 'confluent_kafka', 'rich'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.splitlines()[-1] == "[]"
    for name in COMMANDS:
        assert name in answer.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_short_help_of_the_list_is_how_the_commands_own_help_begins(name: str) -> None:
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    first = (command.help or "").strip().split("\n")[0].rstrip(".")
    listed = COMMANDS[name].short_help.rstrip(".")
    assert first.split(":")[0].split(",")[0] == listed.split(":")[0].split(",")[0]


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, ["nonsense"])
    assert result.exit_code == 2
    assert "nonsense" in result.output


def failing(error: Exception) -> LazyGroup:
    group = LazyGroup("test", lazy={})

    @group.command()
    def run() -> None:
        raise error

    return group


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (ConfigError("set this"), 1),
        (AccessDenied("no"), 1),
        (DatabaseUnavailable("later"), 75),
        (KafkaIngestError("any"), 1),
    ],
)
def test_an_error_is_one_red_paragraph_on_stderr_and_an_exit_code(error: Exception, exit_code: int) -> None:
    result = CliRunner().invoke(failing(error), ["run"], color=True)
    assert result.exit_code == exit_code
    assert result.stdout == ""
    assert result.stderr == click.style(f"Error: {error}", fg="red") + "\n"


def answering(error: Exception | None, *, answers: bool) -> LazyGroup:
    group = LazyGroup("test", lazy={})

    @group.command()
    @json_option("Print JSON.")
    def run(is_json: bool) -> None:
        if answers:
            print_json('{"answer": 1}')
        if error is not None:
            raise error

    return group


def test_a_command_that_was_asked_for_json_prints_the_error_with_its_values_on_stdout() -> None:
    error = OffsetGap("a gap", stream="news", range=OffsetRange("news", 0, 3, 9), next_offset=0)
    result = CliRunner().invoke(answering(error, answers=False), ["run", "--json"])
    assert json.loads(result.stdout) == {
        "error": {
            "type": "OffsetGap",
            "message": "a gap",
            "retryable": False,
            "values": {
                "stream": "news",
                "range": {"topic": "news", "partition": 0, "start": 3, "end": 9},
                "next_offset": 0,
            },
        }
    }
    assert (result.exit_code, result.stderr) == (1, "Error: a gap\n")
    result = CliRunner().invoke(answering(DatabaseUnavailable("later", code="08006"), answers=False), ["run", "--json"])
    assert json.loads(result.stdout)["error"]["retryable"] is True
    assert json.loads(result.stdout)["error"]["values"] == {"code": "08006"}
    assert result.exit_code == 75


@pytest.mark.parametrize(
    ("arguments", "answers", "stdout"), [(["run"], False, ""), (["run", "--json"], True, '{"answer": 1}\n')]
)
def test_no_error_is_printed_as_json_to_people_or_behind_an_answer(
    arguments: list[str], answers: bool, stdout: str
) -> None:
    result = CliRunner().invoke(answering(ConfigError("no"), answers=answers), arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (1, stdout, "Error: no\n")


def test_secrets_are_cut_out_of_an_errors_json_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", 'broker-"secret')
    error = SchemaMismatch('broker-"secret', statements=('SET PASSWORD = broker-"secret',))
    result = CliRunner().invoke(answering(error, answers=False), ["run", "--json"])
    found = json.loads(result.stdout)["error"]
    assert (found["message"], found["values"]) == ("***", {"statements": ["SET PASSWORD = ***"]})


def test_every_command_with_json_tells_an_error_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", "nonsense")
    for arguments in (
        ["status"],
        ["trace", "information", "id=1"],
        ["find", "information", "id=1"],
        ["dead-letters", "list"],
        ["dead-letters", "show", "1"],
        ["dead-letters", "replay", "--yes"],
        ["backfill", "information", "--from", "0", "--dry-run"],
    ):
        result = CliRunner().invoke(cli, [*arguments, "--json"])
        assert result.exit_code == 1, result.output
        assert json.loads(result.stdout)["error"]["values"] == {"setting": "KAFKA_INGEST_DATABASE_URL"}


def test_a_bug_is_not_dressed_up_as_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(failing(ZeroDivisionError()), ["run"], catch_exceptions=False)


def test_secrets_are_cut_out_of_errors_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", f"mysql+pymysql://u:{QUOTED}@h/db")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "broker-secret")
    text = f"cannot use {PASSWORD} or u:{QUOTED}@h or broker-secret"
    result = CliRunner().invoke(failing(ConfigError(text)), ["run"])
    assert result.stderr == "Error: cannot use *** or u:***@h or ***\n"


def test_the_group_gives_back_its_own_commands_beside_the_lazy_ones() -> None:
    group = LazyGroup("test", lazy={"status": LazyCommand("kafka_ingest.cli.status", "status", "Show.")})
    group.add_command(click.Command("own"))
    context = click.Context(group)
    assert group.list_commands(context) == ["status", "own"]
    assert group.get_command(context, "own") is not None
    assert group.get_command(context, "missing") is None
