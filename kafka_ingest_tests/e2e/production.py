"""News that keep coming."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

from kafka_ingest_tests.e2e.news import Truth, news, produce


class Production:
    """Messages at a steady rate, in a thread, until told to stop; through restarts of the broker."""

    def __init__(self, servers: str, topic: str, truth: Truth, *, rate: int, seed: int, partitions: int = 4) -> None:
        """truth: notes what was sent. rate: messages a second, a second's at once. partitions: of the topic."""
        self._servers, self._topic, self._truth = servers, topic, truth
        self._rate, self._seed, self._partitions = rate, seed, partitions
        self._done = threading.Event()
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name="production")

    def __enter__(self) -> Production:
        self._thread.start()
        return self

    def __exit__(self, *_exc: Any) -> None:
        self.stop()

    def stop(self) -> None:
        self._done.set()
        self._thread.join(180)
        assert not self._thread.is_alive(), "production hangs"

    def check(self) -> None:
        """Raises what ended it."""
        if self._failed:
            raise self._failed[0]

    def _run(self) -> None:
        try:
            for number in itertools.count():
                if self._done.is_set():
                    return
                begun = time.monotonic()
                seed = self._seed * 1_000_003 + number
                messages = news(seed=seed, count=self._rate, partitions=self._partitions)
                produce(self._servers, self._topic, messages, self._truth)
                self._done.wait(max(0.0, 1.0 - (time.monotonic() - begun)))
        except BaseException as error:  # noqa: BLE001  # raised again by check()
            self._failed.append(error)
