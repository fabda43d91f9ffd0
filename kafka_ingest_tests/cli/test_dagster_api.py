"""Asking a Dagster: what becomes of an answer, of a refusal, of silence, and of a proxy."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_ingest.cli.dagster_api import DagsterApi, DagsterUnavailable
from kafka_ingest.cli.demo.dagster_dev import DemoDagster
from kafka_ingest.errors import PermanentError
from kafka_ingest.local.ports import free_port
from kafka_ingest_tests.support.post_server import Answer, PostServer


class Answering:
    """A real HTTP server that answers every request the same and notes what it was asked."""

    def __init__(self) -> None:
        self.code = 200
        self.answer: Any = {"data": {}}
        self.asked: list[dict[str, Any]] = []
        server = PostServer(self._answer)
        self.port, self.close = server.port, server.close

    def _answer(self, _path: str, body: bytes) -> Answer:
        self.asked.append(json.loads(body))
        return self.code, {}, json.dumps(self.answer).encode()


@pytest.fixture
def dagster() -> Iterator[Answering]:
    found = Answering()
    yield found
    found.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_dagster_on_this_machine_is_asked_without_the_users_proxy(
    dagster: Answering, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    dagster.answer = {"data": {"version": "1"}}
    assert DagsterApi(f"http://{host}:{dagster.port}").ask("query", a=1) == {"version": "1"}
    assert dagster.asked == [{"query": "query", "variables": {"a": 1}}]


def test_a_dagster_elsewhere_is_asked_through_the_users_proxy(
    dagster: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dagster.port}")
    dagster.answer = {"data": {"version": "proxied"}}
    assert DagsterApi("http://dagster.invalid:3000").ask("query") == {"version": "proxied"}


def test_nobody_there_may_be_tried_again_and_a_refusal_may_not(dagster: Answering) -> None:
    with pytest.raises(DagsterUnavailable, match="no Dagster answers"):
        DagsterApi(f"http://127.0.0.1:{free_port()}").ask("query")
    api = DagsterApi(f"http://127.0.0.1:{dagster.port}")
    dagster.answer = {"errors": [{"message": "no such field"}]}
    with pytest.raises(PermanentError, match="refused a request: no such field"):
        api.ask("query")
    dagster.code = 400
    with pytest.raises(PermanentError, match="answered 400: no such field"):
        api.ask("query")


def test_the_demo_counts_runs_while_its_dagster_answers(dagster: Answering, tmp_path: Path) -> None:
    demo = DemoDagster(home=tmp_path, log_file=tmp_path / "log", port=dagster.port, environ=os.environ)
    dagster.answer = {"data": {"runsOrError": {"results": [{"status": "SUCCESS"}, {"status": "SUCCESS"}]}}}
    assert demo.runs() == Counter(success=2)
    dagster.code = 500
    assert demo.runs() == Counter()
    away = DemoDagster(home=tmp_path, log_file=tmp_path / "log", port=free_port(), environ=os.environ)
    assert away.runs() == Counter()
