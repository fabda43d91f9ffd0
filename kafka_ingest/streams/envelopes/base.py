"""MessageEnvelope: where a message holds its row, and whether the row was written or deleted. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.leaves import Path

Verdict = Literal["row", "update", "delete", "nothing", "truncate"]
"""What a message is.

row       a row stands in it, as it is now
update    the same, and `old` may hold another key that it had before: that row is gone
delete    a row is gone; as it was, it may stand in the message
nothing   neither, and no table is to change by it: counted as ignored
truncate  all rows of a table are gone
"""


class MessageEnvelope:
    """What a tool puts around the rows it sends.

    An envelope of your own is a frozen dataclass on top of this one, with the class attributes that differ and a `judge`.
    """

    row: ClassVar[Path] = ()
    """Where the row stands; empty where the message itself is the row. The paths of a model's columns begin there."""
    deleted: ClassVar[Path] = ()
    """Where the row that was deleted stands."""
    is_array: ClassVar[bool] = False
    """Whether an array of rows stands there. A model then explodes it."""
    old: ClassVar[Path] = ()
    """Where an update holds what it has changed, as it was, in the shape of the row; for those that `judge` calls an update."""
    has_whole_deletes: ClassVar[bool] = True
    """Whether a deleted row has all of its columns, or may have its key alone."""
    marks: ClassVar[tuple[Path, ...]] = ()
    """The fields that `judge` is given."""
    deletes: ClassVar[bool] = False
    """Whether `judge` says "delete" of some messages."""

    def judge(self, *marks: object) -> Verdict:
        """What a message with these values of `marks` is; None stands for null and for a field that is missing.

        Called once for the same values. Raises BadMessage, whose text is the dead letter's.
        """
        return "row"


def verdict_by_type(kind: object, verdicts: Mapping[object, Verdict], tool: str) -> Verdict:
    """The verdict on a message with this `type`. Raises BadMessage for one that is none of the tool's."""
    try:
        return verdicts[kind]
    except (KeyError, TypeError):
        raise BadMessage(f"type is {kind!r:.40}, none of {tool}'s: {', '.join(map(str, verdicts))}") from None
