"""A pipeline step: a function over one table's DataFrame. The extension point for transformations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

from kafka_ingest.slices import DeadLetter, Stage
from kafka_ingest.streams.model import Model
from kafka_ingest.streams.target import TargetTable


@dataclass(slots=True)
class StepContext:
    """What a step may know of the frame it is given, and its way to refuse rows. One per frame."""

    stream: str
    """The stream's name."""
    model: type[Model]
    target: TargetTable
    """The model's table, with its columns and their rules."""
    timezone: str
    """IANA zone of the stream's dates without one."""
    dead_letters: list[DeadLetter] = field(default_factory=list)

    def reject(self, errors: pd.Series, *, stage: Stage = "step") -> None:
        """Make dead letters of messages.

        errors: a text per refused row, with the frame's index. The rows are dropped from what the step returns, where it has not
            done so itself. A message that is refused twice keeps the first error. A row that the step was not given is a
            StepError when it returns.
        stage: where the message failed, as `kafka-ingest dead-letters list` shows it.
        """
        self.dead_letters.extend(
            # The index holds message numbers; the stub says any Hashable.
            DeadLetter(number=int(number), stage=stage, error=str(error))  # type: ignore[call-overload]
            for number, error in errors.items()
        )


Step = Callable[[pd.DataFrame, StepContext], pd.DataFrame]
"""Takes the rows of one model (columns of the model plus the `_kafka_*` ones, index = message number in the slice) and
returns them changed.

Where the model explodes an array, a message has several rows, one behind the other in the order of their elements, and the index
is the row's number instead, unique as well; `_kafka_index` has the element's place. One that is rejected makes its whole message
a dead letter, one that is dropped leaves the others.

Text, and JSON as its text, come as pandas' `str` with NaN where it is missing, everything else as Python objects with None; a
column in which some value is no text (an integer in a text column) is objects as well.

It may change values, drop rows (they count as ignored) and `reject` rows (dead letters). It must keep the index of the rows it
keeps and must not add rows. It must not do I/O, and its result must depend on nothing but the rows: a range may be loaded again.
An exception fails the batch with StepError: a bug in a step must not turn a topic into dead letters."""
