"""Text from outside stays text in the UI's markdown and in alerts."""

from __future__ import annotations

import re

import pytest

from kafka_ingest.checks.alerting import Reading
from kafka_ingest.orchestration.markdown import code
from kafka_ingest.orchestration.replay_job import _Report

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "`<script>alert(1)</script>`",
    "``` ` <b>",
    "a | b\n|---|\n| c",
    "[click](javascript:alert(1))",
    "\u202e\x00\x1b[31m",
    "",
    "`" * 500,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_code_is_one_span_on_one_line_in_one_cell(text: str) -> None:
    assert re.fullmatch(r"`[^`|\n\r]+`", code(text))
    assert code(text)[1:-1].isprintable()


def test_an_error_in_a_replays_table_is_one_cell() -> None:
    report = _Report()
    report._errors[("decode", HOSTILE[1] + HOSTILE[3])] = 1
    (row,) = report._table().splitlines()[2:]
    assert row.count("|") == 5
    assert row.endswith(f"{code(HOSTILE[1] + HOSTILE[3])} |")


def test_an_alerts_text_holds_no_markup_of_a_chat() -> None:
    said = Reading("run:x", True, "no route for type '<!channel> <http://evil|click>'", {}).document()
    assert "<" not in str(said["text"])
    assert ">" not in str(said["text"])
