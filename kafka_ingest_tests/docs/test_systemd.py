"""The units for systemd start what is installed, and systemd takes them."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "docs" / "systemd").glob("*.service"))
PLACE = "/opt/kafka-ingest/.venv/bin/"


def test_there_is_a_unit_for_each_process() -> None:
    assert [unit.stem.removeprefix("kafka-ingest-") for unit in UNITS] == ["code", "daemon", "metrics", "web"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_command_of_the_package_or_of_dagster(unit: Path) -> None:
    read = configparser.ConfigParser(interpolation=None)
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read(unit)
    command = read["Service"]["ExecStart"]
    assert command.startswith(PLACE)
    assert (Path(sys.executable).parent / command.removeprefix(PLACE).split()[0]).exists()
    assert read["Service"]["Restart"] == "always"


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path, tmp_path: Path) -> None:
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace(PLACE, f"{Path(sys.executable).parent}/"))
    done = subprocess.run(["systemd-analyze", "verify", str(here)], capture_output=True, text=True, check=False)
    assert (done.returncode, unit.name in done.stderr) == (0, False), done.stderr
