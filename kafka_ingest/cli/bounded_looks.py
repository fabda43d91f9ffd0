"""Several things looked at together, within a time: what was just found is given again, and what is late is left out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field

from kafka_ingest.checks.metric_families import Sample
from kafka_ingest.errors import KafkaIngestError, RetryableError

# Looks under way at the same time: they wait for servers most of the time, and share the database's connections.
LOOKS_AT_A_TIME = 4


class LookUnanswered(RetryableError):
    """The look has not come to its end in time."""


@dataclass(slots=True)
class Subject:
    """One thing that is looked at. Its looks never overlap."""

    name: str
    look: Callable[[], list[Sample]]
    up: Callable[[float], Sample]
    """The sample that says whether the look has worked, of 1 or 0."""
    answer: Future[list[Sample]] | None = None
    """The last look, or the one under way."""
    answered_at: float = field(default=0.0)


class BoundedLooks:
    """Looks at its subjects when asked. Threads may share it; the second waits for the first, and gets what it has found."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        *,
        within_seconds: float,
        keep_seconds: float,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """within_seconds: for all looks together. keep_seconds: how long what was found is given again. say: is told when a
        look fails in another way than the last time, and when it works again."""
        self._subjects = subjects
        self._within = within_seconds
        self._keep = keep_seconds
        self._say = say
        self._clock = clock
        self._asking = threading.Lock()
        self._places = threading.BoundedSemaphore(LOOKS_AT_A_TIME)
        self._said: dict[str, str] = {}

    def samples(self) -> list[Sample]:
        """Of each subject: up 1 and what was found, or up 0 alone where the look raised one of our errors or is late.

        Any other error is a bug, and is raised.
        """
        with self._asking:
            end = self._clock() + self._within
            answers = [(each, self._answer(each)) for each in self._subjects]
            return [sample for subject, answer in answers for sample in self._found(subject, answer, end)]

    def has_failed(self) -> bool:
        """Whether a look has failed when `samples` was asked for last."""
        return bool(self._said)

    def _answer(self, subject: Subject) -> Future[list[Sample]]:
        last = subject.answer
        if last is not None and not (last.done() and self._clock() - subject.answered_at > self._keep):
            return last
        answer: Future[list[Sample]] = Future()
        subject.answer = answer
        # A daemon: a server that does not answer does not keep the process from ending.
        threading.Thread(target=self._look, args=(subject, answer), name="kafka-ingest-look", daemon=True).start()
        return answer

    def _look(self, subject: Subject, answer: Future[list[Sample]]) -> None:
        with self._places:
            try:
                found = subject.look()
            except BaseException as error:  # noqa: BLE001  # raised again where the answer is asked for
                subject.answered_at = self._clock()
                answer.set_exception(error)
            else:
                subject.answered_at = self._clock()
                answer.set_result(found)

    def _found(self, subject: Subject, answer: Future[list[Sample]], end: float) -> list[Sample]:
        try:
            try:
                found = answer.result(max(0.0, end - self._clock()))
            except FutureTimeoutError:
                if not answer.done():
                    raise LookUnanswered(
                        f"not answered within {self._within:g} s; the look goes on, and the next scrape asks for it again"
                    ) from None
                found = answer.result()  # it came at the last moment, or is a time-out of the look's own
        except KafkaIngestError as error:
            text = f"{subject.name}: {type(error).__name__}: {error}"
            if self._said.get(subject.name) != text:
                self._said[subject.name] = text
                self._say(text)
            return [subject.up(0.0)]
        if self._said.pop(subject.name, None) is not None:
            self._say(f"{subject.name}: answers again")
        return [subject.up(1.0), *found]
