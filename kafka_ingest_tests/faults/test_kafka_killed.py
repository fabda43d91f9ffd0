"""kill -9 of the broker in the middle of a fetch: outlived where it is back in time, else retryable, and exactly once."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kafka_ingest.errors import RetryableError
from kafka_ingest.kafka import reader, timeouts
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.e2e.check import assert_exactly_once
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.proxied import run_once, settings_of, stream_on
from kafka_ingest_tests.e2e.scale import IS_FULL

pytestmark = pytest.mark.faults

TRIALS = 20 if IS_FULL else 2
# So little at a time that a slice takes many fetches, and that librdkafka does not hold the rest already.
SMALL = {
    "KAFKA_FETCH_MESSAGE_MAX_BYTES": "8000",
    "KAFKA_QUEUED_MIN_MESSAGES": "1",
    "KAFKA_QUEUED_MAX_MESSAGES_KBYTES": "8",
    "KAFKA_FETCH_QUEUE_BACKOFF_MS": "200",
}
RECOVERY_SECONDS = 60.0


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalKafka]:
    """A broker of the test's own, to be killed."""
    broker = LocalKafka.start(tmp_path / "kafka")
    yield broker
    broker.stop()


def kill_mid_fetch(monkeypatch: pytest.MonkeyPatch, broker: LocalKafka, then: Callable[[], None]) -> list[int]:
    """Kills the broker after the second fetch of the next read that brought something; offsets not fetched by then."""
    real, fetches = RangeReader._fetch, [0]
    left: list[int] = []

    def fetch(self: RangeReader, count: int) -> bool:
        has_progress = real(self, count)
        fetches[0] += has_progress
        if fetches[0] == 2 and not left:
            held = sum(len(part) for state in self._partitions.values() for part in state.pending)
            left.append(sum(r.size for r in self.remaining()) - held)
            broker.kill()
            then()
        return has_progress

    monkeypatch.setattr(RangeReader, "_fetch", fetch)
    return left


@pytest.mark.parametrize("is_back_in_time", [True, False], ids=["back in time", "away"])
def test_a_broker_killed_in_the_middle_of_a_fetch_loses_and_doubles_nothing(
    own: LocalKafka, mysql_url: str, monkeypatch: pytest.MonkeyPatch, is_back_in_time: bool
) -> None:
    topic, truth = make_topic(own, partitions=4), Truth()
    settings, stream = settings_of(own.bootstrap_servers, mysql_url, **SMALL), stream_on(topic, max_rows=10_000)
    if not is_back_in_time:
        monkeypatch.setattr(reader, "SILENCE_SECONDS", 3.0)
        monkeypatch.setattr(timeouts, "REQUEST_TIMEOUT_SECONDS", 5.0)
    for trial in range(TRIALS):
        for part in range(4):  # each a batch of its own in every partition, which is the least that one fetch brings
            produce(own.bootstrap_servers, topic, news(seed=4 * trial + part, count=500), truth)
        restart = threading.Thread(target=own.restart)
        with monkeypatch.context() as patch:
            left = kill_mid_fetch(patch, own, restart.start if is_back_in_time else lambda: None)
            if is_back_in_time:
                run_once(stream, settings)
                restart.join()
            else:
                with pytest.raises(RetryableError):
                    run_once(stream, settings)
        assert left, "nothing was fetched"
        assert left[0] > 0, "all of the slice was there before the kill"
        if not is_back_in_time:
            own.restart()
        begun = time.monotonic()
        _run_until_it_works(lambda: run_once(stream, settings))
        sys.stderr.write(
            f"broker killed with {left[0]} offsets to fetch: all rows {time.monotonic() - begun:.1f} s after\n"
        )
    assert_exactly_once(mysql_url, own.bootstrap_servers, topic, truth)


def _run_until_it_works(run: Callable[[], object]) -> None:
    """As the sensor does: again after a retryable error."""
    until = time.monotonic() + RECOVERY_SECONDS
    while True:
        try:
            run()
        except RetryableError:
            assert time.monotonic() < until, "it never came back"
            time.sleep(0.5)
        else:
            return
