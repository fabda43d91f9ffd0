"""Foreign text in the markdown we write: messages, and names that come from outside."""

from __future__ import annotations


def code(text: str, *, limit: int = 300) -> str:
    """The text as inline code on one line, also inside a table: nothing in it is markup, whatever it holds.

    A backtick would end the code and a bar the table's cell, even inside code; what cannot be printed would be invisible.
    """
    plain = text.replace("`", "'").replace("|", "¦")
    plain = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    return f"`{plain[:limit] or ' '}`"
