"""`kafka-ingest init`: a project that runs as it is written, under a name that is free, over nothing that is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from dotenv import dotenv_values

from kafka_ingest.cli.init.project import package_name, project_files
from kafka_ingest.cli.main import cli
from kafka_ingest.errors import ConfigError
from kafka_ingest.settings import Settings
from kafka_ingest_tests.docs.pages import ROOT

pytestmark = pytest.mark.slow


def init(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> Result:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(cli, ["init", *arguments])


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    assert init(monkeypatch, tmp_path, "shop").exit_code == 0
    return tmp_path / "shop"


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """As where the project is installed, and as a shell does it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KAFKA_", "DAGSTER_"))}
    environ = kept | {"PYTHONPATH": f"{folder / 'src'}:{ROOT}", "PWD": str(folder)}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=120)


def test_the_tests_of_a_new_project_pass(shop: Path) -> None:
    done = run(shop, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_dagster_loads_a_new_project_with_the_settings_it_shows(shop: Path) -> None:
    shutil.copy(shop / ".env.example", shop / ".env")
    done = run(shop, sys.executable, "-m", "dagster", "definitions", "validate")
    assert done.returncode == 0, done.stderr
    assert "Validation successful for code location shop.\n" in done.stdout.replace("\x1b[0m", "")
    assert (shop / "dagster_home" / "history").is_dir(), "DAGSTER_HOME is the project's"


def test_a_command_finds_the_streams_of_a_new_project(shop: Path) -> None:
    shutil.copy(shop / ".env.example", shop / ".env")
    done = run(shop, sys.executable, "-c", "from kafka_ingest.cli.main import cli; cli()", "status", "nonsense")
    assert done.stderr == "Error: no stream is named 'nonsense'; declared: orders\n"


def test_the_settings_of_a_new_project_name_nobodys_servers_and_parse(shop: Path) -> None:
    values = {name: value or "" for name, value in dotenv_values(shop / ".env.example").items()}
    settings = Settings.from_environment(values)
    assert settings.bootstrap_servers == "broker:9092"
    assert settings.shown_database_url == "mysql+pymysql://user:***@host/db"
    assert not (shop / ".env").exists()


def test_the_code_of_a_new_project_is_laid_out_as_ruff_does_by_default(shop: Path) -> None:
    for command in (["check"], ["format", "--check"]):
        done = run(shop, sys.executable, "-m", "ruff", *command, "--isolated", "--no-cache", ".")
        assert done.returncode == 0, done.stdout


def test_git_leaves_out_passwords_and_history_and_keeps_dagsters_settings(shop: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=shop, check=True, timeout=60)
    for path in (".env", "dagster_home/history/runs.db", "src/shop/__pycache__/a.pyc"):
        (shop / path).parent.mkdir(parents=True, exist_ok=True)
        (shop / path).touch()
    untracked = ["git", "ls-files", "--others", "--exclude-standard"]
    found = subprocess.run(untracked, cwd=shop, check=True, capture_output=True, text=True, timeout=60).stdout
    assert sorted(found.split()) == sorted(project_files("shop"))


def test_the_answer_names_the_package_and_what_to_type_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = init(monkeypatch, tmp_path, "Two Words").stdout
    assert "11 files" in said
    assert "the package two_words" in said
    assert "\n  cd 'Two Words'\n" in said
    for command in ("pip install -e '.[dev]'", "pytest", "install -m 600 .env.example .env", "kafka-ingest doctor"):
        assert f"\n  {command} " in said
    assert 'name = "two-words"' in (tmp_path / "Two Words" / "pyproject.toml").read_text()
    assert (tmp_path / "Two Words" / "src" / "two_words" / "streams" / "orders.py").is_file()


def test_with_json_the_answer_and_the_error_are_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = json.loads(init(monkeypatch, tmp_path, "shop", "--json").stdout)
    assert answer == {
        "path": str(tmp_path / "shop"),
        "package": "shop",
        "files": sorted(project_files("shop")),
        "next": [
            "cd shop",
            "pip install -e '.[dev]'",
            "pytest",
            "install -m 600 .env.example .env",
            "kafka-ingest doctor",
            "dagster dev",
        ],
    }
    again = init(monkeypatch, tmp_path, "shop", "--json")
    assert again.exit_code == 1
    assert json.loads(again.stdout)["error"]["type"] == "ConfigError"


def test_this_folder_is_the_default_and_what_else_is_in_it_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    done = init(monkeypatch, folder)
    assert done.exit_code == 0
    assert "cd " not in done.stdout
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == {*project_files("shop"), "notes.txt"}
    assert (folder / "notes.txt").read_text() == "mine"


def test_nothing_is_written_over_or_beside_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    (folder / "tests").mkdir(parents=True)
    (folder / "README.md").write_text("mine")
    (folder / "tests" / "test_orders.py").symlink_to("gone")
    done = init(monkeypatch, tmp_path, "shop")
    assert done.exit_code == 1
    assert f"{folder} has README.md, tests/test_orders.py already" in done.stderr
    assert sorted(path.name for path in folder.rglob("*")) == ["README.md", "test_orders.py", "tests"]
    assert (folder / "README.md").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = init(monkeypatch, tmp_path, "file/shop")
    assert done.exit_code == 1
    assert "cannot be written: Not a directory" in done.stderr
    assert init(monkeypatch, tmp_path, "file").exit_code == click.UsageError.exit_code


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("shop", "shop"),
        ("My Shop-2.0", "my_shop_2_0"),
        ("Büro Ltd.", "buro_ltd"),
        ("_private_", "private"),
    ],
)
def test_the_package_has_the_folders_name_as_python_can_write_it(folder: str, name: str) -> None:
    assert package_name(Path("/somewhere", folder)) == name


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("2026", "begins with a letter"),
        ("订单", "begins with a letter"),
        ("/", "begins with a letter"),
        ("class", "class is Python's"),
        ("json", "json is Python's"),
        ("kafka-ingest", "kafka_ingest is a module of the installed kafka-ingest"),
        ("Dagster", "dagster is a module of the installed dagster"),
        ("yaml", "yaml is a module of the installed PyYAML"),
    ],
)
def test_a_name_that_would_hide_another_module_is_refused(folder: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        package_name(Path("/somewhere", folder))
