"""Why a value is no message of JSON: each common cause in a sentence of its own, with what to do about it.

Only for messages that have failed already, so nothing here has to be quick. A cause is named where the bytes prove it: by a
signature, or by reading the value the other way to its end. Where nothing does, the parser's own words stand.
"""

from __future__ import annotations

import base64
import binascii
import decimal
import json
import re
from collections.abc import Callable

import msgspec

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""U+FEFF in UTF-8, which editors on Windows and some producers write before the text; it is skipped."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SHOWN = 40
_UTF_8 = "let the producer encode it as UTF-8"
_PLAIN = "let the producer send it as plain JSON"
_WIRE_HEADER_BYTES = 5  # magic byte 0 and a schema id of four bytes (Confluent: "Wire format")

# What a value begins with, where nothing else does so.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe\0\0", "is text in UTF-32"),
    (b"\0\0\xfe\xff", "is text in UTF-32"),
    (b"\xff\xfe", "is text in UTF-16"),
    (b"\xfe\xff", "is text in UTF-16"),
    (b"\x1f\x8b", "is compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd"),
    (b"\x04\x22\x4d\x18", "is compressed with lz4"),
    (b"\xff\x06\0\0sNaPpY", "is compressed with snappy"),
    (b"\x82SNAPPY\0", "is compressed with snappy"),
    (b"BZh", "is compressed with bzip2"),
    (b"\xfd7zXZ\0", "is compressed with xz"),
    (b"\x78\x01", "is compressed with zlib"),
    (b"\x78\x5e", "is compressed with zlib"),
    (b"\x78\x9c", "is compressed with zlib"),
    (b"\x78\xda", "is compressed with zlib"),
    (b"Obj\x01", "is an Avro file, with its schema in it"),
    (b"\xc3\x01", "is Avro in the single-object encoding"),
    (b"\xac\xed\0\x05", "is a serialized Java object"),
    (b"\x03\0", "was written with a serializer of AWS Glue's schema registry"),
    (b"\x03\x05", "was written with a serializer of AWS Glue's schema registry"),
)
_COMPRESSED = (
    "inside the message: Kafka's own compression (compression.type) is undone by the client, and this is another; let the "
    "producer use that one"
)
# Legacy encodings by name: the codec, and the first bytes of the characters that texts are mostly made of.
_ENCODINGS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("GBK", "gb18030", frozenset({*range(0xA1, 0xA4), *range(0xB0, 0xD8)})),
    ("Big5", "big5", frozenset(range(0xA1, 0xC7))),
    ("Shift_JIS", "cp932", frozenset(range(0x81, 0x90))),
    ("EUC-KR", "euc_kr", frozenset({0xA1, *range(0xB0, 0xC9)})),
)
_LEAST_SHARE = 0.3
_ESCAPED_SURROGATE = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_BARE_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_OBJECT_EXPECTED = re.compile(r"Expected `object \| null`, got `str` - at `\$\.(?P<path>[^`\[\]]+)`")
_NOT_A_NUMBER = re.compile(rb"[:\[,]\s*(-?(?:NaN|Infinity))\s*[,\]}]")


def explain(error: Exception, value: bytes | None) -> str:
    """What is wrong with a value that the decoder refused with `error`, in a sentence for the dead letter."""
    if not value or not value.strip():
        return "the value is empty; a message is one JSON object"
    if isinstance(error, msgspec.ValidationError):
        return _wrong_type(error, value)
    if isinstance(error, RecursionError):
        return "the JSON is nested too deep"
    if isinstance(error, decimal.InvalidOperation):
        return "a number has an exponent beyond any column"
    for cause in (
        _by_signature,
        _utf_16,
        _by_wire_format,
        lone_surrogate,
        foreign_text,
        _several_values,
        _other_notation,
    ):
        found = cause(value)
        if found is not None:
            return found
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: {error.reason} at byte {error.start} of a string"
    if str(error) == "Input data was truncated":
        return f"not JSON: it ends in the middle, after {len(value):,} bytes; the producer has cut it"
    return f"not JSON: {error}"


def lone_surrogate(value: bytes) -> str | None:
    """Half of a character that UTF-16 writes in two, which no text in UTF-8 can hold; None where there is none."""
    bare = _BARE_SURROGATE.search(value)
    if bare is not None and _has_only_surrogates(value):
        shown = "\\u" + format(ord(bare[0].decode("utf-8", "surrogatepass")), "04x")
        return (
            f"not UTF-8: a surrogate ({shown}) written as three bytes at byte {bare.start()}, as CESU-8 and Java's modified "
            "UTF-8 do; let the producer encode texts as UTF-8"
        )
    for found in _ESCAPED_SURROGATE.finditer(value):
        if found[1] is not None:
            return (
                f"a lone surrogate, {found[1].decode()}, at byte {found.start()}: half of a character, which is no text; the "
                "producer has cut a text in the middle of a character such as an emoji"
            )
    return None


def _has_only_surrogates(value: bytes) -> bool:
    """Whether surrogates are all that keeps the value from being UTF-8."""
    try:
        value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def foreign_text(value: bytes) -> str | None:
    """Text in another encoding than UTF-8, by name; None where it is UTF-8, or where no encoding is known that it is in."""
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        at, is_cut = error.start, error.end == len(value) and error.reason == "unexpected end of data"
    else:
        return None
    if is_cut:
        return f"not UTF-8: the value ends in the middle of a character, at byte {at}; the producer has cut it"
    best, share = ("Windows-1252 or Latin-1", "cp1252"), _LEAST_SHARE
    for name, codec, frequent in _ENCODINGS:
        found = _share(value, codec, frequent)
        if found > share:
            best, share = (name, codec), found
    try:
        text = value.decode(best[1])
    except UnicodeDecodeError:
        return None
    first = len(value[:at].decode("utf-8"))
    return (
        f"not UTF-8, from byte {at} on: read as {best[0]} it says {text[first : first + _SHOWN // 2]!r}; let the producer encode "
        "texts as UTF-8"
    )


def _share(value: bytes, codec: str, frequent: frozenset[int]) -> float:
    """Which part of the characters beyond ASCII are frequent ones; 0 where the value cannot be read so. 0 too where
    each ends with a letter of ASCII: they may as well be accented letters, each before another."""
    try:
        encoded = [each.encode(codec) for each in value.decode(codec) if not each.isascii()]
    except UnicodeError:
        return 0.0
    hits = [each for each in encoded if len(each) == 2 and each[0] in frequent]
    return len(hits) / len(encoded) if any(each[1] > 0x7F for each in hits) else 0.0


def _wrong_type(error: msgspec.ValidationError, value: bytes) -> str:
    """A message that is JSON: of another type than an object, or with a field of another type than its column takes."""
    text = str(error)
    if "$" in text:
        at = _OBJECT_EXPECTED.fullmatch(text)
        if at is not None and _starts_object(value, at["path"].split(".")):
            return f"{text}: it is JSON in a JSON string (encoded twice); let the producer write the object itself"
        return text
    if text.startswith("Expected `array`") and value.lstrip().startswith(b"{"):
        return f"the value is a JSON object, and the model explodes messages that are arrays ({text})"
    if not value.lstrip().startswith(b'"'):
        kind = "array" if value.lstrip().startswith(b"[") else "number, true, false or null"
        return f"the value is a JSON {kind}; a message is one JSON object ({text})"
    try:
        inner = msgspec.json.decode(value)
    except _UNREADABLE as unreadable:  # the type was refused before the end was read
        return explain(unreadable, value)
    if isinstance(inner, str) and inner.lstrip().startswith(("{", "[")):
        return "the value is JSON in a JSON string (encoded twice); let the producer serialize the object once"
    try:
        is_base64 = base64.b64decode(inner, validate=True).lstrip()[:1] in (b"{", b"[")
    except (binascii.Error, ValueError):
        is_base64 = False
    if is_base64:
        return f"the value is JSON as base64 in a JSON string, as a converter of bytes writes it; {_PLAIN}"
    return f"the value is a JSON string; a message is one JSON object ({text})"


def _starts_object(value: bytes, path: list[str]) -> bool:
    """Whether the field is a text that begins as a JSON object."""
    try:
        found = msgspec.json.decode(value)
    except _UNREADABLE:  # the type was refused before the end was read
        return False
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return isinstance(found, str) and found.lstrip().startswith("{")


def _by_signature(value: bytes) -> str | None:
    what = next((what for signature, what in _SIGNATURES if value.startswith(signature)), None)
    if what is None:
        return None
    if "compressed" in what:
        return f"the value {what} {_COMPRESSED}"
    return f"the value {what}; {_UTF_8 if 'text' in what else _PLAIN}"


def _by_wire_format(value: bytes) -> str | None:
    if value[0] != 0 or len(value) < _WIRE_HEADER_BYTES:
        return None
    schema = int.from_bytes(value[1:_WIRE_HEADER_BYTES], "big")
    is_json = value[_WIRE_HEADER_BYTES:].lstrip().startswith((b"{", b"["))
    which = "value_format=JsonSchema()" if is_json else "value_format=Avro() or Protobuf()"
    return (
        f"the value begins with the Confluent wire format's magic byte 0 and schema id {schema}: it was written with a schema "
        f"registry's serializer; declare the stream with {which}"
    )


def _utf_16(value: bytes) -> str | None:
    """Without a mark of its byte order: every other byte of ASCII is 0."""
    head = value[:8]
    texts = (head[1::2], head[::2]) if len(head) == 8 else ()
    if any(not any(zeros) for zeros in texts) and any(byte in head for byte in b'{["'):
        width = "UTF-32" if head.count(0) == 6 else "UTF-16"
        return f"the value is text in {width}; {_UTF_8}"
    return None


def _several_values(value: bytes) -> str | None:
    """More behind the first JSON value."""
    try:
        text = value.decode("utf-8", "surrogateescape").lstrip()
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    rest = text[end:]
    behind = rest.lstrip(" \t\r\n,\x1e")
    if behind.startswith(("{", "[")):
        form = "a line each (NDJSON)" if "\n" in rest[: len(rest) - len(behind)] else "one behind the other"
        return f"several JSON values in one message, {form}; a message is one JSON object: let the producer send each by itself"
    if behind and not behind.strip("\0"):
        return "the JSON is followed by a NUL byte: the producer sends the end of a C string too"
    return None


def _other_notation(value: bytes) -> str | None:
    head = value.lstrip()
    checks: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: head.startswith(b"<"), f"the value is XML; {_PLAIN}"),
        (lambda: head.startswith(b"{'"), "the value is a Python dict as its text, with single quotes; use json.dumps"),
        (lambda: head.startswith(b"Struct{"), "the value is the text of a Kafka Connect Struct; use JsonConverter"),
        (lambda: head.startswith(b"[object "), "the value is the text of a JavaScript object; use JSON.stringify"),
    )
    for is_so, sentence in checks:
        if is_so():
            return sentence
    number = _NOT_A_NUMBER.search(value)
    if number is not None:
        return f"{number[1].decode()} is no JSON (RFC 8259); let the producer write null or a text for it"
    return None
