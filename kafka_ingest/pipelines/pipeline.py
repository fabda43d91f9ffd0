"""Runs a stream's steps over a parsed slice, then validates: what comes out can be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from kafka_ingest.errors import SourceTruncated, StepError
from kafka_ingest.pipelines.casting import cast_columns
from kafka_ingest.pipelines.explode import of_messages
from kafka_ingest.pipelines.frames import with_columns
from kafka_ingest.pipelines.parsed_slice import ParsedSlice, RowOrigins
from kafka_ingest.pipelines.translate_dates import translate_dates
from kafka_ingest.pipelines.validate import validate
from kafka_ingest.slices import DeadLetter, Position, position_columns, ranges_text
from kafka_ingest.streams.model import INDEX_COLUMN
from kafka_ingest.streams.step import Step, StepContext
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable


def run_pipeline(parsed: ParsedSlice, stream: Stream) -> ParsedSlice:
    """A new slice whose frames fit their tables: casts, the stream's steps, validation. `parsed` is not changed.

    Raises StepError where a step raises or breaks its contract: the fault is the step's, not the messages'. Raises
    SourceTruncated where a message says that a table's source was truncated.
    """
    _refuse_truncates(parsed, stream)
    done = ParsedSlice(raw=parsed.raw, deletes=parsed.deletes, dead_letters=list(parsed.dead_letters))
    ignored = [parsed.ignored]
    for target, rows in parsed.rows.items():
        context = StepContext(stream.name, stream.model_of(target), target, stream.timezone)
        frame, uncast = cast_columns(rows, target)
        context.dead_letters.extend(uncast)
        if frame is rows:
            frame = rows.copy(deep=False)  # a step may assign columns in place; `parsed` keeps its own
        for step in stream.steps if stream.steps is not None else (translate_dates,):
            frame = _run_step(step, frame, context, parsed)
        origins = parsed.origins.get(target)
        if stream.steps is not None:  # our own step leaves positions alone
            frame = _in_position(frame, parsed, origins)
        frame, invalid = validate(frame, target, parsed.absent.get(target))
        letters = context.dead_letters + invalid
        numbers = rows.index.to_numpy(dtype=np.int64)
        if origins is not None:
            letters, numbers = of_messages(letters, origins, target), origins.messages
            frame = frame.set_axis(numbers[frame.index.to_numpy()])
            if letters:
                frame = frame[~frame.index.isin([letter.number for letter in letters])]
        is_dropped = np.zeros(len(parsed.raw), dtype=bool)
        is_dropped[numbers] = True
        is_dropped[frame.index.to_numpy()] = False
        is_dropped[[letter.number for letter in letters]] = False
        ignored.append(np.flatnonzero(is_dropped))
        done.dead_letters += _first_each(letters, stream, target)
        if len(frame):
            done.rows[target] = frame
    done.ignored = np.sort(np.concatenate(ignored))
    if stream.envelope is not None and stream.envelope.old:
        _keep_together(done)
    return done


def _keep_together(done: ParsedSlice) -> None:
    """A changed key is a delete and a row of one message: both are done, or neither is; the delete also where a step has
    dropped the row."""
    first: dict[int, DeadLetter] = {}
    for letter in done.dead_letters:
        first.setdefault(letter.number, letter)
    done.dead_letters = list(first.values())
    dead = list(first)
    done.rows = {t: kept for t, frame in done.rows.items() if len(kept := frame[~frame.index.isin(dead)])}
    done.deletes = {t: kept for t, frame in done.deletes.items() if len(kept := frame[~frame.index.isin(dead)])}
    for frame in done.deletes.values():
        done.ignored = done.ignored[~np.isin(done.ignored, frame.index.to_numpy())]


def _refuse_truncates(parsed: ParsedSlice, stream: Stream) -> None:
    """A table that kept the rows would differ from its source from then on, and nobody would know."""
    for number, target in sorted(parsed.truncates, key=lambda each: each[0]):
        raw = parsed.raw
        where = raw.ranges[raw.range_index[number]]
        position = Position(where.topic, where.partition, int(raw.offsets[number]))
        raise SourceTruncated(
            f"stream {stream.name}: at {position} the source's table was truncated or dropped, and table {target.label} still "
            "has its rows. Nothing of this slice was loaded. Declare on_truncate='ignore' to go on, and then delete the rows "
            "that were written before (docs/cdc.md, Truncate).",
            stream=stream.name,
            topic=position.topic,
            partition=position.partition,
            position=position.offset,
            table=target.label,
        )


def _in_position(frame: pd.DataFrame, parsed: ParsedSlice, origins: RowOrigins | None) -> pd.DataFrame:
    """The frame with the positions of its messages, whatever a step did to them: loading a range again, and the highest
    position of a key, depend on them; where messages are several rows, their order does, too."""
    numbers = frame.index.to_numpy(dtype=np.int64)
    frame = frame.set_axis(numbers)
    if origins is not None:
        frame = frame.sort_index()
        numbers = frame.index.to_numpy(dtype=np.int64)
    columns = position_columns(parsed.raw, numbers if origins is None else origins.messages[numbers])
    if origins is not None:
        columns = {n: c.set_axis(numbers) for n, c in columns.items()}
        columns[INDEX_COLUMN] = pd.Series(origins.places[numbers], numbers)
    return with_columns(frame, {n: c for n, c in columns.items() if n in frame.columns})  # a step must not drop any


def _run_step(step: Step, frame: pd.DataFrame, context: StepContext, parsed: ParsedSlice) -> pd.DataFrame:
    name = getattr(step, "__name__", type(step).__name__)
    model = context.model.__name__
    where = f"step {name} of stream {context.stream}, model {model}"
    failed = partial(StepError, stream=context.stream, step=name, model=model, ranges=parsed.raw.ranges)
    refused_before = len(context.dead_letters)
    try:
        result: object = step(frame, context)
    except Exception as error:
        raise failed(
            f"{where} raised {type(error).__name__}: {error}; in {ranges_text(parsed.raw.ranges)}. Nothing was loaded."
        ) from error
    if not isinstance(result, pd.DataFrame):
        raise failed(f"{where} returned {type(result).__name__}, not a DataFrame")
    is_known = result.index.is_(frame.index) or result.index.isin(frame.index).all()
    if not result.index.is_unique or not is_known:
        raise failed(f"{where} added rows or changed the index; a row is named by its index")
    refused = [d.number for d in context.dead_letters[refused_before:]]
    unknown = [n for n in refused if n not in frame.index]
    if unknown:
        raise failed(f"{where} rejected rows it was not given: {unknown[:5]}")
    return result.drop(index=[n for n in refused if n in result.index]) if refused else result


def _first_each(dead_letters: Sequence[DeadLetter], stream: Stream, target: TargetTable) -> list[DeadLetter]:
    """One dead letter per message, the first error found, with its route."""
    route = stream.route_of(target)
    first: dict[int, DeadLetter] = {}
    for letter in dead_letters:
        first.setdefault(letter.number, DeadLetter(letter.number, letter.stage, letter.error, letter.route or route))
    return list(first.values())
