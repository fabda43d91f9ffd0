"""The text of a .proto file → its descriptor: what reading messages needs of it, so no options, defaults or services.

Registries keep Protobuf's schemas as this text. protoc, which reads it elsewhere, is a program of its own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from kafka_ingest.streams.formats.errors import BadMessage

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"""|(?P<word>\.?[A-Za-z_][\w.]*)|(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|[0-9][\w.+-]*))|(?P<sign>[^\s])""",
    re.DOTALL,
)
_SCALARS = {
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "fixed64": FieldDescriptorProto.TYPE_FIXED64,
    "fixed32": FieldDescriptorProto.TYPE_FIXED32,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "sfixed32": FieldDescriptorProto.TYPE_SFIXED32,
    "sfixed64": FieldDescriptorProto.TYPE_SFIXED64,
    "sint32": FieldDescriptorProto.TYPE_SINT32,
    "sint64": FieldDescriptorProto.TYPE_SINT64,
}
_LABELS = {
    "optional": FieldDescriptorProto.LABEL_OPTIONAL,
    "required": FieldDescriptorProto.LABEL_REQUIRED,
    "repeated": FieldDescriptorProto.LABEL_REPEATED,
}


def parse_proto(name: str, text: str) -> FileDescriptorProto:
    """The descriptor of a file of this name. Raises BadMessage where it is no proto2 or proto3 file."""
    try:
        return _Parser(name, text).file()
    except (StopIteration, ValueError, SyntaxError) as error:
        raise BadMessage(f"{name} is no .proto file: {error or 'it ends in the middle'}") from None


def _tokens(text: str) -> Iterator[str]:
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "skip":
            yield match[0]


class _Parser:
    """Reads declaration by declaration; `_next` is the token in hand, "" at the end."""

    def __init__(self, name: str, text: str) -> None:
        self._tokens = _tokens(text)
        self._found = FileDescriptorProto(name=name, syntax="proto2")
        self._next = ""
        self._take()

    def file(self) -> FileDescriptorProto:
        while self._next:
            what = self._take()
            if what == "syntax":
                self._expect("=")
                self._found.syntax = _unquoted(self._take())
                self._expect(";")
            elif what == "edition":
                raise ValueError("it is written in an edition, and proto2 and proto3 are read")
            elif what == "import":
                if self._next in ("public", "weak"):
                    self._take()
                self._found.dependency.append(_unquoted(self._take()))
                self._expect(";")
            elif what == "package":
                self._found.package = self._take()
                self._expect(";")
            elif what == "message":
                self._message(self._found.message_type.add())
            elif what == "enum":
                self._enum(self._found.enum_type.add())
            elif what in ("option", "service", "extend", ";"):
                self._skip(what)
            else:
                raise ValueError(f"{what!r} begins no declaration")
        return self._found

    def _message(self, found: DescriptorProto) -> None:
        found.name = self._take()
        self._expect("{")
        while self._next != "}":
            what = self._take()
            if what == "message" and self._next != "=":
                self._message(found.nested_type.add())
            elif what == "enum":
                self._enum(found.enum_type.add())
            elif what == "oneof":
                self._oneof(found)
            elif what in ("option", "extend", "reserved", "extensions", ";"):
                self._skip(what)
            else:
                self._field(found, what)
        self._take()
        for field in found.field:  # each optional field of proto3 is a oneof of its own, behind the others
            if field.proto3_optional:
                field.oneof_index = len(found.oneof_decl)
                found.oneof_decl.add(name=f"_{field.name}")

    def _oneof(self, found: DescriptorProto) -> None:
        place = len(found.oneof_decl)
        found.oneof_decl.add(name=self._take())
        self._expect("{")
        while self._next != "}":
            what = self._take()
            if what in ("option", ";"):
                self._skip(what)
            else:
                self._field(found, what).oneof_index = place
        self._take()

    def _field(self, found: DescriptorProto, what: str) -> FieldDescriptorProto:
        field = found.field.add(label=_LABELS.get(what, FieldDescriptorProto.LABEL_OPTIONAL))
        if what in _LABELS:
            field.proto3_optional = what == "optional" and self._found.syntax == "proto3"
            what = self._take()
        if what == "group":
            raise ValueError("it has a group")
        if what == "map" and self._next == "<":
            self._map(found, field)
        else:
            _give_type(field, what)
            field.name = self._take()
        self._expect("=")
        field.number = int(self._take(), 0)
        if self._next == "[":
            self._skip_brackets()
        self._expect(";")
        return field

    def _map(self, found: DescriptorProto, field: FieldDescriptorProto) -> None:
        self._expect("<")
        key = self._take()
        self._expect(",")
        value = self._take()
        self._expect(">")
        field.name = self._take()
        entry = found.nested_type.add(name="".join(p[:1].upper() + p[1:] for p in field.name.split("_")) + "Entry")
        entry.options.map_entry = True
        for number, (name, kind) in enumerate((("key", key), ("value", value)), 1):
            _give_type(entry.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL), kind)
        field.label = FieldDescriptorProto.LABEL_REPEATED
        field.type_name = entry.name
        field.type = FieldDescriptorProto.TYPE_MESSAGE

    def _enum(self, found: EnumDescriptorProto) -> None:
        found.name = self._take()
        self._expect("{")
        while self._next != "}":
            what = self._take()
            if what == "option" and self._next != "=":
                if self._next == "allow_alias":
                    found.options.allow_alias = True
                self._skip(what)
            elif what in ("reserved", ";"):
                self._skip(what)
            else:
                self._expect("=")
                found.value.add(name=what, number=int(self._take(), 0))
                if self._next == "[":
                    self._skip_brackets()
                self._expect(";")
        self._take()

    def _take(self) -> str:
        taken, self._next = self._next, next(self._tokens, "")
        if not taken and not self._next:
            raise StopIteration
        return taken

    def _expect(self, sign: str) -> None:
        taken = self._take()
        if taken != sign:
            raise ValueError(f"{taken!r} stands where {sign!r} has to")

    def _skip(self, what: str) -> None:
        """To the end of a declaration: a semicolon, or a block of its own."""
        if what == ";":
            return
        depth = 0
        while True:
            sign = self._take()
            depth += (sign == "{") - (sign == "}")
            if depth == 0 and (sign == ";" or (sign == "}" and what in ("service", "extend"))):
                return

    def _skip_brackets(self) -> None:
        depth = 0
        while True:
            sign = self._take()
            depth += (sign == "[") - (sign == "]")
            if depth == 0:
                return


def _give_type(field: FieldDescriptorProto, name: str) -> None:
    if name in _SCALARS:
        field.type = _SCALARS[name]
    else:
        field.type_name = name  # a message or an enum: the pool finds out which


def _unquoted(text: str) -> str:
    found = ast.literal_eval(text)
    if not isinstance(found, str):
        raise ValueError(f"{text!r} is no text in quotes")
    return found
