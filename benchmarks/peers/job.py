"""What a peer is asked to load."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

DEFAULT_CAP_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Job:
    """The topic's first `messages` messages into the new table `table` (one of that name is dropped)."""

    bootstrap: str
    topic: str
    """`messages` messages of the stream `information`, all of type `information`, all good."""
    database_url: str
    table: str
    messages: int
    cap_seconds: float = DEFAULT_CAP_SECONDS
    """From the process's start; a slower peer is stopped then and its rate taken over what it loaded."""

    def environment(self, peer: str) -> dict[str, str]:
        """What the programs in `programs/` read; the consumer group is new, so that it reads the topic from its start."""
        return {
            "PEER_BOOTSTRAP": self.bootstrap,
            "PEER_TOPIC": self.topic,
            "PEER_DATABASE_URL": self.database_url,
            "PEER_TABLE": self.table,
            "PEER_GROUP": f"{peer}-{uuid.uuid4().hex[:8]}",
        }
