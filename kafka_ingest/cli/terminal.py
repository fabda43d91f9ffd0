"""Text from messages on a terminal: nothing in it may act on the terminal or change how the rest reads."""

from __future__ import annotations

import unicodedata

# Control characters, format characters (bidirectional overrides among them), surrogates, private use, unassigned; line and
# paragraph separators.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BYTES_A_LINE = 16


def safe_text(text: str, *, keep: str = "") -> str:
    """The text with every character that prints nothing, or acts, written as `\\x1b`, `\\u202e`; those in `keep` stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or unicodedata.category(c) not in _ESCAPED else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shortened(text: str, length: int) -> str:
    """The text on one line, cut with an ellipsis where it is longer."""
    line = safe_text(" ".join(text.split()))
    return line if len(line) <= length else line[: length - 1] + "…"


def hexdump(data: bytes) -> str:
    """Offset, bytes and printable ASCII, sixteen bytes a line, as `hexdump -C` writes them."""
    lines = []
    for start in range(0, len(data), _BYTES_A_LINE):
        part = data[start : start + _BYTES_A_LINE]
        text = "".join(chr(b) if 0x20 <= b < 0x7F else "." for b in part)
        lines.append(f"{start:08x}  {part.hex(' '):<{3 * _BYTES_A_LINE - 1}}  |{text}|")
    return "\n".join(lines)
