"""No call over the network without a deadline: each place in the package that waits for somebody else says how long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kafka_ingest

PACKAGE = Path(kafka_ingest.__file__).parent
# Calls that wait for somebody else: how each is told how long, by a keyword or by the argument at this place.
# What librdkafka answers by a future (list_offsets and its like) ends when the request does.
WAITING: dict[str, tuple[str, int | None]] = {
    "alter_consumer_group_offsets": ("request_timeout", None),
    "committed": ("timeout", 1),
    "communicate": ("timeout", 1),
    "consume": ("timeout", 1),
    "create_connection": ("timeout", 1),
    "create_partitions": ("request_timeout", None),
    "create_topics": ("request_timeout", None),
    "delete_records": ("request_timeout", None),
    "delete_topics": ("request_timeout", None),
    "describe_acls": ("request_timeout", None),
    "describe_cluster": ("request_timeout", None),
    "describe_configs": ("request_timeout", None),
    "describe_consumer_groups": ("request_timeout", None),
    "describe_topics": ("request_timeout", None),
    "flush": ("timeout", 0),
    "get_watermark_offsets": ("timeout", 1),
    "list_consumer_group_offsets": ("request_timeout", None),
    "list_offsets": ("request_timeout", None),
    "list_topics": ("timeout", None),
    "offsets_for_times": ("timeout", 1),
    "urlopen": ("timeout", 2),
}


def without_deadline(source: str) -> Iterator[str]:
    """`line: call` of each call that may wait for ever."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if ast.unparse(node.func) == "subprocess.run":
            keyword, place = "timeout", None
        elif name in WAITING:
            keyword, place = WAITING[name]
        else:
            continue
        has_place = place is not None and len(node.args) > place
        if not has_place and keyword not in {k.arg for k in node.keywords}:
            yield f"{node.lineno}: {ast.unparse(node)}"


def test_every_call_that_waits_for_somebody_else_has_a_deadline() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    found = {str(path.relative_to(PACKAGE)): list(without_deadline(path.read_text())) for path in files}
    assert {path: calls for path, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "call",
    ["admin.list_topics('news')", "urlopen(request)", "producer.flush()", "subprocess.run(['a'])", "c.consume(5)"],
)
def test_a_call_without_one_is_found(call: str) -> None:
    assert list(without_deadline(f"x = 1\n{call}")) == [f"2: {call}"]


def test_one_with_a_deadline_is_let_through() -> None:
    calls = ["p.flush(3)", "urlopen(r, timeout=1)", "c.committed(ps, 5)", "a.list_offsets(o, request_timeout=2)"]
    assert list(without_deadline("\n".join(calls))) == []
