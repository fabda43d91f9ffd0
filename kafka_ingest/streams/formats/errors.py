"""What makes a message a dead letter while its bytes are read."""

from __future__ import annotations


class BadMessage(ValueError):
    """The bytes are not what the stream's format says, or a field is not what its column takes. The text is the dead letter's."""
