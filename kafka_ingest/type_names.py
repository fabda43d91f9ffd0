"""Names for types of libraries whose parameters say nothing here: a column of any SQL type, Arrow values of any type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from typing_extensions import Unpack

# As text: pyarrow's classes take no parameters at runtime, and SQLAlchemy 2.1 takes others than 2.0.
SqlType: TypeAlias = "sa.types.TypeEngine[Any]"
SqlColumn: TypeAlias = "sa.Column[Any]"
SqlExpression: TypeAlias = "sa.ColumnElement[Any]"
SqlSelect: TypeAlias = "sa.Select[Unpack[tuple[Any, ...]]]"
SqlUnion: TypeAlias = "sa.CompoundSelect[Unpack[tuple[Any, ...]]]"
SqlRow: TypeAlias = "sa.Row[Unpack[tuple[Any, ...]]]"
"""Of a query whose columns are read by name."""

ArrowArray: TypeAlias = "pa.Array[Any]"
ArrowChunks: TypeAlias = "pa.ChunkedArray[Any]"
ArrowScalar: TypeAlias = "pa.Scalar[Any]"
LargeStrings: TypeAlias = "pa.Array[pa.Scalar[pa.lib.LargeStringType]]"
