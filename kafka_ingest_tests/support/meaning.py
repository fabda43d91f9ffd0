"""All that a stream says, to be compared: its models and tables are other objects each time they are declared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.dialects.mysql import mariadb
from sqlalchemy.schema import CreateIndex, CreateTable

import kafka_ingest.sinks.mysql.exact_text  # noqa: F401  how MySQL declares a text key
from kafka_ingest.sinks.postgresql.dialect import ExactDialect
from kafka_ingest.streams.json_schema import model_fields
from kafka_ingest.streams.model import Model
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable

DIALECTS: tuple[sa.Dialect, ...] = (mysql.dialect(), mariadb.MariaDBDialect(), ExactDialect(), sqlite.dialect())


def _ddl(model: type[Model]) -> Iterator[str]:
    for dialect in DIALECTS:
        yield str(CreateTable(model.__table__).compile(dialect=dialect))
        yield from sorted(str(CreateIndex(each).compile(dialect=dialect)) for each in model.__table__.indexes)


def meaning(stream: Stream) -> dict[str, Any]:
    """What each field of the stream says, and each table by its label, with its DDL for every database."""
    said = {each.name: getattr(stream, each.name) for each in dataclasses.fields(stream) if each.name != "routes"}
    said["routes"] = {name: str(stream.target_of(name)) for name in stream.routes}
    for target in stream.targets:
        model = stream.model_of(target)
        said[target.label] = _table_meaning(target) | {"ddl": list(_ddl(model)), "doc": model.__doc__}
    return said


def _table_meaning(target: TargetTable) -> dict[str, Any]:
    same = (
        "label",
        "name",
        "schema",
        "columns",
        "key",
        "is_upsert",
        "tombstone_key",
        "order_by",
        "explode",
        "model_name",
        "identifier",
    )
    return {each: getattr(target, each) for each in same} | {
        "bound": [(b.name, b.rule, repr(b.column.type), b.column.nullable, b.default) for b in target.bound],
        "tombstones": None if target.tombstones is None else repr(target.tombstones),
        "fields": model_fields(target),
    }
