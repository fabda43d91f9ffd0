"""What the doctor says of a stream's consumer group."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AclOperation

from kafka_ingest.cli.doctor.kafka import _group
from kafka_ingest.errors import AccessDenied, KafkaIngestError, KafkaUnavailable
from kafka_ingest.findings import Finding
from kafka_ingest.kafka.group_members import GroupState
from kafka_ingest.slices import TopicPartition
from kafka_ingest.testing.models import MIXED
from kafka_ingest_tests.support.cluster import FakeMetadata, Log

P0, P1 = TopicPartition("mixed", 0), TopicPartition("mixed", 1)
MAY = (AclOperation.READ, AclOperation.DESCRIBE)


def finding(group: GroupState | KafkaIngestError | None) -> Finding:
    metadata = FakeMetadata({P0: Log({}, 0), P1: Log({}, 0)})
    metadata.committed = {P0: 7}

    def describe(group_id: str) -> GroupState | None:
        assert group_id == "g"
        if isinstance(group, KafkaIngestError):
            raise group
        return group

    (found,) = _group(MIXED, "g", metadata, [P0, P1], describe)
    assert found.check == "group g of mixed"
    return found


@pytest.mark.parametrize("operations", [MAY, (AclOperation.ALL,), ()])
def test_a_group_without_members_that_may_be_read_is_right(operations: tuple[AclOperation, ...]) -> None:
    found = finding(GroupState((), operations))
    assert (found.verdict, found.detail) == ("ok", "offsets of 1 of 2 partition(s) are committed, no other member")


def test_a_group_that_does_not_exist_yet_is_right() -> None:
    assert (finding(None).verdict, finding(None).detail) == ("ok", "does not exist yet: the first run makes it")


def test_live_members_are_named_three_at_most() -> None:
    found = finding(GroupState(("a", "b", "c", "d"), MAY))
    assert found.verdict == "fail"
    assert "another consumer is a live member (a, b, c), so commits will be refused" in found.detail
    assert "KAFKA_GROUP_ID" in str(found.fix)


def test_a_user_that_may_not_commit_is_told_the_acl() -> None:
    found = finding(GroupState((), (AclOperation.DESCRIBE,)))
    assert (found.verdict, found.detail) == ("fail", "this user may not commit offsets of the group")
    assert "READ and DESCRIBE on group g" in str(found.fix)
    assert "READ and DESCRIBE on group g" in str(finding(AccessDenied("no")).fix)


def test_a_lost_connection_is_a_finding_and_no_question_of_acls() -> None:
    found = finding(KafkaUnavailable("the connection to its coordinator was lost."))
    assert (found.verdict, found.detail) == ("fail", "the connection to its coordinator was lost.")
    assert "ACL" not in str(found.fix)
