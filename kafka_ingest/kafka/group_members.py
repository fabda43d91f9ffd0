"""Who is in a consumer group, and what this user may do with it: asked in a process of its own.

Only the admin client can ask, and its request to a group's coordinator aborts the whole process when the connection drops
(librdkafka 2.x, issue 4605). Offsets need no admin client: group_offsets.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AclOperation, AdminClient

from kafka_ingest.errors import KafkaUnavailable
from kafka_ingest.kafka.errors import kafka_error

# Besides the request: to start Python and the client, on a busy machine.
START_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group that exists."""

    client_ids: tuple[str, ...]
    """Of its live members, sorted, each once."""
    operations: tuple[AclOperation, ...]
    """What this user may do with it, as the broker says; empty where the broker does not say."""


def describe_group(properties: Mapping[str, str], group_id: str, *, seconds: float) -> GroupState | None:
    """The group as it is now, by a client with these librdkafka properties; None where it does not exist.

    Raises AccessDenied, and KafkaUnavailable without an answer within `seconds` or when the connection is lost.
    """
    doing = f"describing consumer group {group_id}"
    # By stdin: a command line can be read by everybody on the machine, and properties hold passwords.
    question = json.dumps({"properties": dict(properties), "group_id": group_id, "seconds": seconds})
    try:
        done = subprocess.run(
            [sys.executable, "-m", "kafka_ingest.kafka.group_members"],
            input=question,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + START_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise KafkaUnavailable(f"{doing}: no answer within {seconds + START_SECONDS:.0f} s.") from None
    if not done.stdout:
        raise KafkaUnavailable(f"{doing}: the connection to its coordinator was lost.")
    answer = json.loads(done.stdout)
    if "code" not in answer:
        operations = tuple(AclOperation[name] for name in answer["operations"])
        return GroupState(tuple(sorted(set(answer["client_ids"]))), operations)
    if answer["code"] == KafkaError.GROUP_ID_NOT_FOUND:
        return None
    raise kafka_error(KafkaError(answer["code"], answer["reason"]), doing)


class _Question(TypedDict):
    properties: dict[str, str | int | float | bool]
    group_id: str
    seconds: float


def _answer(question: _Question) -> dict[str, object]:
    group_id = question["group_id"]
    try:
        client = AdminClient(
            question["properties"]
        )  # a name of its own: what nobody holds is destroyed with its requests
        asked = client.describe_consumer_groups(
            [group_id], include_authorized_operations=True, request_timeout=question["seconds"]
        )
        described = asked[group_id].result()
    except KafkaException as error:
        return {"code": error.args[0].code(), "reason": error.args[0].str()}
    return {
        "client_ids": [member.client_id for member in described.members],
        "operations": [operation.name for operation in described.authorized_operations or ()],
    }


if __name__ == "__main__":
    json.dump(_answer(json.load(sys.stdin)), sys.stdout)
