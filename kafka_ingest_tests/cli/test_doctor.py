"""The doctor's findings: verdicts, exit codes, secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from kafka_ingest.cli.doctor import command as module
from kafka_ingest.cli.main import cli
from kafka_ingest.findings import Finding, fail, findings_json, ok, redacted, warn


def test_json_is_ok_as_long_as_nothing_failed() -> None:
    findings = [ok("a", "fine"), warn("b", "slow", "faster")]
    assert findings_json(findings)["ok"] is True
    assert findings_json([*findings, fail("c", "no", "yes")]) == {
        "ok": False,
        "checks": [
            {"check": "a", "status": "ok", "detail": "fine", "fix": None},
            {"check": "b", "status": "warn", "detail": "slow", "fix": "faster"},
            {"check": "c", "status": "fail", "detail": "no", "fix": "yes"},
        ],
    }


def test_the_doctor_does_not_send_people_to_the_doctor() -> None:
    assert fail("c", "no answer. It is retried; if it stays, run `kafka-ingest doctor`.", "x").detail == "no answer."
    assert fail("c", "denied (1045); see `kafka-ingest doctor`.", "x").detail == "denied (1045)."


def test_secrets_are_cut_out_of_findings() -> None:
    assert list(redacted([fail("c", "got hunter2", "not hunter2")], ["hunter2"])) == [
        Finding("c", "fail", "got ***", "not ***")
    ]


@pytest.mark.parametrize(("verdict", "exit_code"), [("ok", 0), ("warn", 0), ("fail", 1)])
@pytest.mark.parametrize("is_json", [False, True])
def test_the_exit_code_is_one_where_a_check_fails(
    monkeypatch: pytest.MonkeyPatch, verdict: str, exit_code: int, is_json: bool
) -> None:
    def examine() -> Iterator[Finding]:
        yield Finding("thing", verdict, "as it is", "do this")  # type: ignore[arg-type]

    monkeypatch.setattr(module, "examine", examine)
    result = CliRunner().invoke(cli, ["doctor", *(["--json"] if is_json else [])])
    assert result.exit_code == exit_code
    if is_json:
        assert json.loads(result.stdout)["checks"][0]["status"] == verdict
    else:
        assert f"{verdict:4}  thing: as it is" in result.stdout
        assert "→ do this" in result.stdout


def test_a_refused_setting_is_the_only_finding_and_keeps_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", "://hunter2")
    result = CliRunner().invoke(cli, ["doctor"])
    assert result.exit_code == 1
    assert "fail  settings" in result.stdout
    assert "hunter2" not in result.output


@pytest.mark.parametrize(
    ("kind", "verdict"), [("unset", "warn"), ("missing", "fail"), ("bare", "warn"), ("right", "ok")]
)
def test_dagster_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, verdict: str) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    if kind != "unset":
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "no" if kind == "missing" else tmp_path))
    if kind == "right":
        (tmp_path / "dagster.yaml").write_text("")
    assert [f.verdict for f in module._dagster_home()] == [verdict]
