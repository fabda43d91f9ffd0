"""A consumer that many streams share knows the topics' leaders before it is told to read them."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from kafka_ingest.errors import KafkaUnavailable
from kafka_ingest.kafka import consumer as consumer_module
from kafka_ingest.kafka.consumer import open_consumer
from kafka_ingest.settings import Settings

SETTINGS: Settings = Settings.from_environment({})


class Asked:
    """What a consumer is asked for; with an error, the cluster does not answer."""

    def __init__(self, error: KafkaError | None = None) -> None:
        self.calls: list[str] = []
        self.error = error

    def __call__(self, _config: dict[str, Any]) -> Asked:
        return self

    def list_topics(self, *, timeout: float) -> None:
        self.calls.append("list_topics")
        assert timeout > 0
        if self.error is not None:
            raise KafkaException(self.error)

    def close(self) -> None:
        self.calls.append("close")


def test_one_that_is_shared_asks_for_all_topics_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    monkeypatch.setattr(consumer_module, "Consumer", asked)
    open_consumer(SETTINGS, "g")
    assert asked.calls == []
    open_consumer(SETTINGS, "g", is_shared=True)
    assert asked.calls == ["list_topics"]


def test_one_whose_cluster_does_not_answer_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    monkeypatch.setattr(consumer_module, "Consumer", asked)
    with pytest.raises(KafkaUnavailable, match="asking for the topics' leaders"):
        open_consumer(SETTINGS, "g", is_shared=True)
    assert asked.calls == ["list_topics", "close"]
