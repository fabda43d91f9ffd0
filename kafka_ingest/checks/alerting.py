"""When an alert is due: once when a state begins, once when it ends. Looking and sending are done elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from kafka_ingest.errors import RetryableError

# An alert over a limit ends when the number is this part of the limit or less, so that it does not flap.
CALM = 0.8


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at one thing that may be wrong."""

    name: str
    """What it is, the same at every look: `lag:information`."""
    is_bad: bool
    text: str
    details: Mapping[str, str | int | float | None]

    def document(self) -> dict[str, object]:
        """What is sent. `text` is what chat webhooks show; it may quote a message, so nothing in it is a chat's markup
        (`<!channel>`, `<address|words>`, HTML)."""
        state = "firing" if self.is_bad else "resolved"
        return {"alert": self.name, "state": state, "text": f"{state.upper()}: {_unmarked(self.text)}", **self.details}


def _unmarked(text: str) -> str:
    return text.replace("<", "‹").replace(">", "›")


def over_limit(value: int, limit: int, *, was_over: bool) -> bool:
    """Whether a number is too high, given how it was before."""
    return value > (int(limit * CALM) if was_over else limit)


def tell_changes(
    firing: set[str], readings: Iterable[Reading], send: Callable[[Mapping[str, object]], None]
) -> tuple[int, RetryableError | None]:
    """Send each reading that differs from what `firing` says, in order, and note it there.

    Returns how many readings were dealt with, and the error that ended it where one could not be sent: it and those
    after it are for the next look. An alert comes twice where the process dies between sending and remembering.
    """
    done = 0
    for reading in readings:
        if reading.is_bad != (reading.name in firing):
            try:
                send(reading.document())
            except RetryableError as error:
                return done, error
            (firing.add if reading.is_bad else firing.discard)(reading.name)
        done += 1
    return done, None
