"""The admin client's answer about a consumer group, from a process that may die of asking."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AclOperation

from kafka_ingest.errors import AccessDenied, KafkaUnavailable
from kafka_ingest.kafka import group_members
from kafka_ingest.kafka.group_members import GroupState, describe_group
from kafka_ingest.local.ports import free_port


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What runs in place of the process that asks."""
    path = tmp_path / "child"
    path.touch(0o700)
    monkeypatch.setattr(sys, "executable", str(path))
    return path


def says(child: Path, line: str) -> None:
    child.write_text(f"#!/bin/sh\ncat > {child.parent}/question\n{line}\n")


def test_a_process_that_aborts_is_a_cluster_that_did_not_answer(child: Path) -> None:
    says(child, "kill -ABRT $$")
    with pytest.raises(
        KafkaUnavailable, match="describing consumer group g: the connection to its coordinator was lost"
    ):
        describe_group({}, "g", seconds=1)


def test_a_process_that_hangs_is_ended(child: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_members, "START_SECONDS", 0.2)
    says(child, "exec sleep 600")
    started = time.monotonic()
    with pytest.raises(KafkaUnavailable, match="no answer within"):
        describe_group({}, "g", seconds=0.1)
    assert time.monotonic() - started < 60


def test_members_and_rights_come_back(child: Path) -> None:
    says(child, """echo '{"client_ids": ["b", "a", "b"], "operations": ["READ", "DESCRIBE"]}'""")
    assert describe_group({"sasl.password": "hunter2"}, "g", seconds=1) == GroupState(
        ("a", "b"), (AclOperation.READ, AclOperation.DESCRIBE)
    )
    assert "hunter2" in (child.parent / "question").read_text(), "properties go by stdin"


def test_an_answer_counts_even_where_the_process_dies_after_it(child: Path) -> None:
    says(child, """echo '{"client_ids": [], "operations": []}'; kill -ABRT $$""")
    assert describe_group({}, "g", seconds=1) == GroupState((), ())


def test_a_group_that_does_not_exist_is_none_and_a_denied_one_an_error(child: Path) -> None:
    says(child, f"""echo '{{"code": {KafkaError.GROUP_ID_NOT_FOUND}, "reason": "no"}}'""")
    assert describe_group({}, "g", seconds=1) is None
    says(child, f"""echo '{{"code": {KafkaError.GROUP_AUTHORIZATION_FAILED}, "reason": "not for you"}}'""")
    with pytest.raises(AccessDenied, match="describing consumer group g: not for you"):
        describe_group({}, "g", seconds=1)


def test_the_real_process_says_what_the_client_says() -> None:
    with pytest.raises(KafkaUnavailable, match=r"describing consumer group g: .*\(_TIMED_OUT\)"):
        describe_group({"bootstrap.servers": f"127.0.0.1:{free_port()}"}, "g", seconds=0.5)
