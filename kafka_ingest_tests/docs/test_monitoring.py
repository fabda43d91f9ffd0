"""The metrics' page, the alert rules and the dashboard name what is exported, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import click
import pytest
import yaml

from kafka_ingest.checks.metric_families import FAMILIES
from kafka_ingest.cli.main import cli
from kafka_ingest_tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "metrics.md"
ALERTS = ROOT / "docs" / "monitoring" / "alerts.yml"
DASHBOARD = ROOT / "docs" / "monitoring" / "grafana-dashboard.json"
LABELS = {family.name: set(family.labels) for family in FAMILIES}
# What Prometheus adds itself.
SCRAPE = {"up": {"job", "instance"}}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    assert group.keys() == {"name", "rules"}
    return list(group["rules"])


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def panel_expressions() -> Iterator[tuple[str, str]]:
    """Each query with the text of its legend."""
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]


EXPRESSIONS = [*(rule["expr"] for rule in rules()), *(expression for expression, _ in panel_expressions())]


def wrong_names(expression: str) -> list[str]:
    """Metrics that are not exported, and labels that theirs do not have."""
    known = LABELS | SCRAPE
    found = []
    for name, selector in re.findall(r"\b(kafka_ingest_\w+|up)\b(?:\{([^}]*)\})?", expression):
        labels = set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\s*\"", selector))
        if name not in known:
            found.append(name)
        elif not labels <= known[name]:
            found.append(f"{name}{sorted(labels - known[name])}")
    return found


def test_the_table_of_the_page_is_what_is_exported() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    exported = [(f.name, f.kind, ", ".join(f.labels) or "none", f.text) for f in FAMILIES]
    assert rows == exported


def test_what_the_page_names_beside_its_table_is_exported() -> None:
    named = set(re.findall(r"\bkafka_ingest_\w+", PAGE.read_text(encoding="utf-8")))
    assert named <= LABELS.keys()


def test_options_that_the_page_names_exist() -> None:
    command = cli.get_command(click.Context(cli), "metrics")
    assert command is not None
    options = {name for parameter in command.params for name in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE.read_text(encoding="utf-8"))) <= options


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_name_exported_metrics_with_their_labels_and_are_closed(expression: str) -> None:
    assert re.search(r"\b(kafka_ingest_\w+|up)\b", expression)
    assert wrong_names(expression) == []
    open_brackets = []
    for sign in re.sub(r'"[^"]*"', "", expression):
        if sign in "([{":
            open_brackets.append(sign)
        elif sign in ")]}":
            assert open_brackets.pop() + sign in ("()", "[]", "{}")
    assert open_brackets == []


def test_a_wrong_name_or_label_in_an_expression_is_seen() -> None:
    assert wrong_names('rate(kafka_ingest_rows{kind="live"}[5m])') == ["kafka_ingest_rows"]
    assert wrong_names('kafka_ingest_up{topic="a"} > kafka_ingest_lag_offsets') == ["kafka_ingest_up['topic']"]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_a_rule_has_what_prometheus_asks_of_it_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert (
        {"alert", "expr", "labels", "annotations"} <= rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    )
    assert re.fullmatch(r"KafkaIngest[A-Za-z]+", rule["alert"])
    assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s"))
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description"}
    used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    assert used <= set().union(*(LABELS.get(n, set()) for n in re.findall(r"kafka_ingest_\w+", rule["expr"])))


def test_the_alerts_that_matter_are_there_once() -> None:
    names = [rule["alert"].removeprefix("KafkaIngest") for rule in rules()]
    assert len(set(names)) == len(names)
    assert {"ExporterDown", "StreamUnseen", "LagGrows", "NothingLoaded", "DeadLettersWaiting"} <= set(names)


def test_rates_are_taken_of_counters_only() -> None:
    counters = {f.name for f in FAMILIES if f.kind == "counter"}
    for expression in EXPRESSIONS:
        taken = set(re.findall(r"\b(?:rate|increase)\((\w+)", expression))
        others = set(re.findall(r"\b(?:delta|deriv)\((\w+)", expression))
        assert taken <= counters
        assert not others & counters


def test_the_dashboard_can_be_imported_into_any_grafana() -> None:
    board = dashboard()
    assert board["title"]
    assert "id" not in board, "Grafana gives it one"
    variables = {v["name"]: v for v in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert variables["stream"]["datasource"] == source
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables["stream"]["query"]["query"]).groups()  # type: ignore[union-attr]
    assert label in LABELS[metric]
    places: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["datasource"] == source
        assert all(target["datasource"] == source for target in panel["targets"])
        assert panel["title"]
        assert panel["description"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & places, "panels overlap"
        assert max(x for x, _ in cells) < 24
        places |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_legends_name_labels_that_the_query_leaves() -> None:
    for expression, legend in panel_expressions():
        (metric,) = set(re.findall(r"\bkafka_ingest_\w+", expression))
        kept = re.search(r"\bsum by \(([^)]*)\)", expression)
        labels = set(kept[1].split(", ")) if kept else LABELS[metric]
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels


def test_every_metric_but_those_of_single_partitions_and_rarities_is_on_the_dashboard() -> None:
    shown = {name for expression, _ in panel_expressions() for name in re.findall(r"\bkafka_ingest_\w+", expression)}
    left_out = {name.removeprefix("kafka_ingest_") for name in LABELS.keys() - shown}
    assert left_out == {
        "dagster_up",
        "last_run_seconds",
        "missing_topics",
        "partition_log_end_offset",
        "partition_log_start_offset",
        "partition_next_offset",
        "partitions",
    }
