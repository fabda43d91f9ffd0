"""Models made at run time, and taken away again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.streams.model import AppendModel, Model, UpsertModel, field

# SQLAlchemy warns of two classes of one name.
_NUMBERS = itertools.count()


class Make(Protocol):
    """A model of this table name with a text column `id`, the business key of an UpsertModel, and what `more` adds."""

    def __call__(
        self,
        name: str,
        base: type[Model] = AppendModel,
        *,
        schema: str | None = None,
        constraints: tuple[Any, ...] = (),
        columns: dict[str, Any] | None = None,
        **more: Any,
    ) -> type[Model]: ...


@contextmanager
def making() -> Iterator[Make]:
    """The tables of the models made inside are forgotten at the end, so that another test may use their names."""
    found: list[type[Model]] = []

    def make(
        name: str,
        base: type[Model] = AppendModel,
        *,
        schema: str | None = None,
        constraints: tuple[Any, ...] = (),
        columns: dict[str, Any] | None = None,
        **more: Any,
    ) -> type[Model]:
        body: dict[str, Any] = {
            "__tablename__": name,
            "__table_args__": (*constraints, {"schema": schema, "comment": "made at run time"}),
            "__annotations__": {"id": Mapped[str]} | dict.fromkeys(columns or {}, Mapped[Any | None]),
            "id": field(sa.String(8), primary_key=base is UpsertModel),
        }
        found.append(type(f"Made{next(_NUMBERS)}", (base,), body | (columns or {}) | more))
        return found[-1]

    yield make
    for model in found:
        Model.metadata.remove(model.__table__)
