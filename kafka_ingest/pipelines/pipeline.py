"""Runs a stream's steps over a parsed slice, then validates: what comes out can be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from kafka_ingest.errors import StepError
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.translate_dates import translate_dates
from kafka_ingest.pipelines.validate import validate
from kafka_ingest.slices import DeadLetter, position_columns, ranges_text
from kafka_ingest.streams.model import PLACE_COLUMNS
from kafka_ingest.streams.step import Step, StepContext
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable


def run_pipeline(parsed: ParsedSlice, stream: Stream) -> ParsedSlice:
    """A new slice whose frames fit their tables. `parsed` is not changed.

    Raises StepError where a step raises or breaks its contract: the fault is the step's, not the messages'.
    """
    done = ParsedSlice(raw=parsed.raw, deletes=parsed.deletes, dead_letters=list(parsed.dead_letters))
    ignored = [parsed.ignored]
    for target, rows in parsed.rows.items():
        context = StepContext(stream.name, stream.model_of(target), target, stream.timezone)
        frame = rows.copy(deep=False)  # a step may assign columns in place; `parsed` keeps its own
        for step in stream.steps if stream.steps is not None else (translate_dates,):
            frame = _run_step(step, frame, context, parsed)
        refused = {d.number for d in context.dead_letters}
        dropped = rows.index.difference(frame.index)
        ignored.append(dropped[~dropped.isin(list(refused))].to_numpy(dtype=np.int64))
        frame, invalid = validate(_in_position(frame, parsed), target)
        done.dead_letters += _first_each(context.dead_letters + invalid, stream, target)
        if len(frame):
            done.rows[target] = frame
    done.ignored = np.sort(np.concatenate(ignored))
    return done


def _in_position(frame: pd.DataFrame, parsed: ParsedSlice) -> pd.DataFrame:
    """The frame with the positions of its messages, whatever a step did to them: loading a range again, and the highest
    position of a key, depend on them."""
    numbers = frame.index.to_numpy(dtype=np.int64)
    kept = [name for name in PLACE_COLUMNS if name in frame.columns]  # one a step dropped is an error of the step
    return frame.set_axis(numbers).assign(
        **{n: c for n, c in position_columns(parsed.raw, numbers).items() if n in kept}
    )


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
    if not result.index.is_unique or not result.index.isin(frame.index).all():
        raise failed(f"{where} added rows or changed the index; a row is one message, named by its index")
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
