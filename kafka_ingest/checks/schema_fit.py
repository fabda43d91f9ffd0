"""Do the schemas of a registry fit the models that read them? Asked before any message is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kafka_ingest.dates import parse_dates
from kafka_ingest.pipelines.casting import cast_values
from kafka_ingest.pipelines.columns import Column
from kafka_ingest.pipelines.validate import typed_column
from kafka_ingest.streams.casts import Cast
from kafka_ingest.streams.column_types import BINARIES
from kafka_ingest.streams.formats.base import Format
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.leaves import Leaf, Path, leaf_at
from kafka_ingest.streams.formats.schema_samples import Kind, SamplesAt, samples_of
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.streams.json_schema import column_type
from kafka_ingest.streams.model import BoundColumn
from kafka_ingest.streams.sources import Key
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.streams.tombstone_keys import key_schema


@dataclass(frozen=True, slots=True)
class Reads:
    """A column, and the field of a value or a key that it is read from."""

    bound: BoundColumn
    path: Path


@dataclass(frozen=True, slots=True)
class Fit:
    """How a schema and the columns that a model reads by it go together."""

    fed: tuple[str, ...]
    unfed: tuple[str, ...]
    """Columns that no field feeds, which are NULL or their default then."""
    unfed_required: tuple[str, ...]
    """Those of them that may be neither: every message becomes a dead letter."""
    refused: tuple[str, ...]
    """Why a column takes none of the values that its field has."""
    sometimes_refused: tuple[str, ...]
    """The same of fields of several kinds, where it takes values of another."""


def best_fit(
    schema: RegisteredSchema, format_: Format, stream: Stream, target: TargetTable, columns: Iterable[Reads]
) -> Fit:
    """Of the messages that the schema declares the one that feeds most of the columns.

    Raises BadMessage for a schema that cannot be read, or that is not of the format.
    """
    wanted = list(columns)
    fits = [_fit(at, stream, target, wanted) for at in samples_of(schema, format_)]
    return max(fits, key=lambda fit: (len(fit.fed), -len(fit.refused)))


def _fit(at: SamplesAt, stream: Stream, target: TargetTable, columns: Iterable[Reads]) -> Fit:
    fed: list[str] = []
    unfed: list[str] = []
    required: list[str] = []
    refused: list[str] = []
    sometimes: list[str] = []
    for each in columns:
        bound = each.bound
        leaf = leaf_at(each.path, column_type(target.model_name, bound))
        kinds = at(each.path, leaf)
        if kinds is None:
            may_lack = bound.column.nullable or bound.default is not None
            (unfed if may_lack else required).append(bound.name)
            continue
        fed.append(bound.name)
        why = [_refusal(kind, leaf, stream, bound) for kind in kinds]
        said = [f"{bound.name} ({kind.shown}): {error}" for kind, error in zip(kinds, why, strict=True) if error]
        (refused if kinds and len(said) == len(kinds) else sometimes).extend(said)
    return Fit(tuple(fed), tuple(unfed), tuple(required), tuple(refused), tuple(sometimes))


def _refusal(kind: Kind, leaf: Leaf, stream: Stream, bound: BoundColumn) -> str | None:
    """Why the column takes none of the samples; None where it takes one."""
    # What a function or a step of one's own makes of a value is not known.
    is_known = stream.steps is None and (bound.rule.cast is None or isinstance(bound.rule.cast, Cast))
    is_known &= bound.rule.dates is None or not bound.rule.dates.formats
    is_known &= not kind.is_text or (isinstance(bound.column.type, BINARIES) and bound.rule.cast is None)
    errors = [_error(sample, leaf, bound, is_known=is_known) for sample in kind.samples]
    return errors[0] if errors and all(error is not None for error in errors) else None


def _error(sample: object, leaf: Leaf, bound: BoundColumn, *, is_known: bool) -> str | None:
    """What becomes of one value, as the pipeline has it; behind the reader only where that is known."""
    try:
        value = leaf.read(sample)
    except BadMessage as error:
        return _without_name(str(error), bound)
    if not is_known:
        return None
    errors: dict[int, str] = {}
    numbers = np.zeros(1, dtype=np.int64)
    column = Column(bound)
    column.add([value])
    values = cast_values(column.series(pd.Index(numbers)), bound, numbers, errors)
    if bound.rule.dates is not None:
        parsed = parse_dates(values, bound.rule.dates)
        if bound.rule.on_error == "dead_letter":
            errors |= {int(str(number)): str(error) for number, error in parsed.errors.items()}
        values = parsed.instants
    if not errors:
        typed_column(values, bound, numbers, errors)
    return next((_without_name(error, bound) for error in errors.values()), None)


def _without_name(error: str, bound: BoundColumn) -> str:
    own = ".".join(bound.rule.path)
    before, separator, rest = error.partition(": ")
    return rest if separator and (before in (bound.name, own) or before.endswith(f".{own}")) else error


def read_of_values(target: TargetTable, row: Path = ()) -> Iterator[Reads]:
    """The columns that a table reads from messages' values; none of one whose messages are several rows, as nothing is said of
    the elements of arrays. row: where the row stands in a value (`Stream.row_paths`)."""
    for bound in target.read if target.explode is None else ():
        yield Reads(bound, (*row, *bound.rule.path))


def read_of_keys(target: TargetTable, key_format: Format) -> Iterator[Reads]:
    """The columns that a table reads from messages' keys: those of its tombstones, and those with `Key` as source."""
    seen = set()
    if target.tombstones is not None:
        keys = key_schema(target, key_format)
        if not keys.is_text:
            for bound, (path, _) in zip(keys.columns, keys.wanted, strict=True):
                seen.add(bound.name)
                yield Reads(bound, path)
    for bound in target.bound:
        is_of_key = isinstance(bound.rule.source, Key) and bound.rule.source.path is not None
        if is_of_key and bound.name not in seen:
            yield Reads(bound, bound.rule.path)
