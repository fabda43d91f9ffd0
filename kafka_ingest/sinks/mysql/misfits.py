"""What keeps an existing table of MySQL or MariaDB from holding a model's values as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import sqlalchemy as sa

from kafka_ingest.sinks.misfits import (
    Misfit,
    alter,
    is_key_beside,
    is_key_fit,
    key_problem,
    lacks,
    never_filled,
    plain,
    quoted,
    refuse_view,
)
from kafka_ingest.sinks.mysql.information_schema import ask
from kafka_ingest.sinks.mysql.types import ColumnType, change, parse_type
from kafka_ingest.sinks.mysql.unique_keys import UniqueKey, unique_keys
from kafka_ingest.streams.column_types import ExactUuid
from kafka_ingest.streams.model import filled_by_database
from kafka_ingest.type_names import SqlColumn, SqlRow

# MySQL names these columns in capitals unless told otherwise.
_COLUMNS = """SELECT %s AS number, t.table_type AS table_type, t.engine AS engine, c.column_name AS column_name,
  c.column_type AS column_type, c.is_nullable AS is_nullable, c.column_default AS column_default, c.extra AS extra,
  c.character_set_name AS charset, c.collation_name AS collation
FROM information_schema.tables AS t JOIN information_schema.columns AS c
WHERE t.table_schema = %s AND t.table_name = %s AND c.table_schema = %s AND c.table_name = %s"""
_GENERATED = re.compile(r"(VIRTUAL|STORED|PERSISTENT) GENERATED", re.IGNORECASE)
_TOPIC = "_kafka_topic"
# A topic's name is no longer (Kafka: org.apache.kafka.common.internals.Topic). The rest of what we declare is for the id put
# behind it when the topic was made anew, which is refused where it does not fit, not cut.
_TOPIC_CHARACTERS = 249


def mysql_misfits(connection: sa.Connection, tables: Sequence[sa.Table]) -> list[Misfit]:
    """See `Sink.misfits`. Two statements, whatever the number of tables. Raises ConfigError for a view of upserts."""
    columns = ask(connection, _COLUMNS, tables, names=2)
    keys = unique_keys(connection, tables)
    return [
        misfit
        for table, own, held in zip(tables, columns, keys, strict=True)
        if own
        for misfit in _Comparison(connection.dialect, table, own).misfits(held)
    ]


class _Comparison:
    """One table. `rows`: its columns as the server describes them."""

    def __init__(self, dialect: sa.Dialect, table: sa.Table, rows: Sequence[SqlRow]) -> None:
        self._dialect = dialect
        self._table = table
        self._alter = alter(dialect, table)
        self._is_mariadb = bool(getattr(dialect, "is_mariadb", False))
        self._rows = {str(row.column_name).lower(): row for row in rows}
        self._kind, self._engine = str(rows[0].table_type), rows[0].engine

    def misfits(self, keys: Sequence[UniqueKey]) -> Iterator[Misfit]:
        """In an order in which the statements can be run."""
        is_view = self._kind == "VIEW"
        for column in self._table.columns:
            row = self._rows.get(column.name.lower())
            if row is None:
                yield lacks(self._dialect, column)
            elif not is_view and not filled_by_database(column):
                yield from self._column(column, row)
        if is_view:
            refuse_view(self._table)
            return
        yield from self._key(keys)
        yield from self._others()
        if str(self._engine).lower() != "innodb":
            problem = f"its engine is {self._engine}: rows of a failed run would stay"
            yield Misfit(self._table, problem, f"{self._alter} ENGINE=InnoDB")

    def _column(self, column: SqlColumn, row: SqlRow) -> Iterator[Misfit]:
        declared, want = self._wanted(column)
        have = self._have(row)
        is_topic = column.name == _TOPIC
        needed = replace(want, length=_TOPIC_CHARACTERS) if is_topic else want
        changed = change(have, needed, is_mariadb=self._is_mariadb)
        is_equal_enough = not have.is_text or (
            str(have.collation).endswith("_bin")
            if is_topic
            else have.is_exact or not column.primary_key or want.name == "uuid"  # one text for each UUID
        )
        problems = []
        if changed is not None:
            problems.append(f"is {row.column_type}, and {declared} is wanted: {changed}")
        if not is_equal_enough:
            merged = "topics that differ by case" if is_topic else "'a', 'A' and 'a '"
            problems.append(f"has collation {have.collation}, which would take {merged} for one key")
        if column.nullable and row.is_nullable == "NO":
            problems.append("is NOT NULL, and may be missing in a message")
        if column.primary_key and row.is_nullable == "YES":
            problems.append("may be NULL, and is part of the key")
        if "auto_increment" in str(row.extra).lower():
            problems.append("is AUTO_INCREMENT: a 0 would become another number")
        generated = _GENERATED.search(str(row.extra))
        if generated is not None:
            problems.append("is generated, and cannot be written")
        if not problems:
            return
        text = self._type(declared, want) if changed is not None else str(row.column_type)
        if not is_equal_enough and want.collation is not None:
            text = text if changed is not None else f"{text} CHARACTER SET {want.charset} COLLATE {want.collation}"
        elif changed is None:
            text = _with_charset(text, have)
        is_nullable = not column.primary_key and (column.nullable or row.is_nullable == "YES")
        definition = f"{quoted(self._dialect, [column.name])} {text} {'NULL' if is_nullable else 'NOT NULL'}"
        # A virtual column cannot become a plain one (manual, "ALTER TABLE and Generated Columns").
        if generated is not None and generated[1].upper() == "VIRTUAL":
            statement = f"DROP COLUMN {quoted(self._dialect, [column.name])}, ADD COLUMN {definition}"
        else:
            statement = f"MODIFY COLUMN {definition}"
        yield Misfit(self._table, f"column {column.name} {'; it '.join(problems)}", f"{self._alter} {statement}")

    def _key(self, keys: Sequence[UniqueKey]) -> Iterator[Misfit]:
        wanted = [c.name for c in self._table.primary_key.columns]
        names = [name.lower() for name in wanted]
        primary = next((key for key in keys if key.is_primary), None)
        held = [] if primary is None else [part.lower() for part in primary.parts]
        if primary is not None and primary.is_exact and is_key_fit(names, held):
            return
        # Of a prefix no other key makes more rows.
        is_beside = is_key_beside(names, [part.partition("(")[0] for part in held])
        if is_beside and any(key.is_of(wanted) for key in keys):
            return
        columns = quoted(self._dialect, wanted)
        if primary is not None and is_beside:
            changes = [f"ADD UNIQUE KEY ({columns})"]
        else:
            changes = [*(["DROP PRIMARY KEY"] if held else []), f"ADD PRIMARY KEY ({columns})"]
            # Such a column has to be the first of some key.
            counted = [name for name, row in self._rows.items() if "auto_increment" in str(row.extra).lower()]
            if counted and counted[0] != names[0]:
                changes.append(f"ADD UNIQUE KEY ({quoted(self._dialect, counted)})")
        problem = key_problem(wanted, () if primary is None else primary.parts, is_beside=is_beside)
        yield Misfit(self._table, problem, f"{self._alter} {', '.join(changes)}")

    def _others(self) -> Iterator[Misfit]:
        """Columns that we do not write."""
        written = {c.name.lower() for c in self._table.columns if not filled_by_database(c)}
        known = {c.name.lower() for c in self._table.columns}
        for name, row in self._rows.items():
            is_filled = row.column_default is not None or "auto_increment" in str(row.extra).lower()
            if name in written or row.is_nullable == "YES" or is_filled or _GENERATED.search(str(row.extra)):
                continue
            text = _with_charset(str(row.column_type), self._have(row))
            yield Misfit(
                self._table,
                f"column {row.column_name} {never_filled(is_declared=name in known)}",
                f"{self._alter} MODIFY COLUMN {quoted(self._dialect, [str(row.column_name)])} {text} NULL",
            )

    def _have(self, row: SqlRow) -> ColumnType:
        return parse_type(str(row.column_type), row.charset, row.collation)

    def _wanted(self, column: SqlColumn) -> tuple[str, ColumnType]:
        """The declared type as DDL, and taken apart."""
        if isinstance(column.type, ExactUuid):  # more types than the one we declare hold it
            return plain(self._dialect, str(column.type.compile(dialect=self._dialect))), ColumnType("uuid")
        try:
            declared = plain(self._dialect, str(column.type.compile(dialect=self._dialect)))
        except sa.exc.CompileError:
            # Text without a length, for which there is no DDL: any text column will do, as longer text is refused.
            return "TEXT", ColumnType("varchar", 0, charset=self._charset())
        return declared, parse_type(declared, self._charset())

    def _charset(self) -> str:
        """Of the table, as it would be made."""
        options = self._table.dialect_kwargs
        names = [f"{self._dialect.name}_{option}" for option in ("charset", "default_charset")]
        return str(next((options[name] for name in names if name in options), "utf8mb4"))

    @staticmethod
    def _type(declared: str, want: ColumnType) -> str:
        if want.charset is None or "CHARACTER SET" in declared or "COLLATE" in declared:
            return declared
        return f"{declared} CHARACTER SET {want.charset}"


def _with_charset(text: str, have: ColumnType) -> str:
    return text if have.charset is None else f"{text} CHARACTER SET {have.charset} COLLATE {have.collation}"
