"""Secrets are taken out of texts; how the command line shows its errors is in cli/test_main.py."""

from __future__ import annotations

import pytest

from kafka_ingest.redaction import environment_secrets, redact


def test_where_the_settings_do_not_parse_the_raw_values_are_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_ENABLE_AUTO_COMMIT", "true")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "broker-secret")
    assert "broker-secret" in environment_secrets()
    assert redact("x broker-secret y") == "x *** y"


def test_a_secret_inside_another_does_not_leave_the_rest_of_it() -> None:
    assert redact("abcdef", ["abc", "abcdef"]) == "***"
    assert redact("nothing", []) == "nothing"
