"""Where our errors become Dagster's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from kafka_ingest.errors import KafkaIngestError, PermanentError, RetryableError

MAX_RETRIES = 4
# A stream may have thousands of partitions, and a table as many columns.
_SHOWN_LINES = 50


@contextmanager
def op_errors(context: dg.OpExecutionContext) -> Iterator[None]:
    """Our errors as Dagster's: retryable ones are tried again, then fail the run; permanent ones fail it at once. The failed
    step shows the error's values as metadata."""
    try:
        yield
    except RetryableError as error:
        wait = min(2.0**context.retry_number, 30.0)
        context.log.warning(f"{error} Next try in {wait:.0f} s.")
        # When no try is left, Dagster shows description and metadata of the cause where that is a Failure.
        failure = _failure(error)
        failure.__cause__ = error
        raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=wait) from failure
    except PermanentError as error:
        raise _failure(error) from error


def _failure(error: KafkaIngestError) -> dg.Failure:
    """The failure of a step: the error's text, and its values as metadata entries of the same names."""
    metadata = {name: _entry(value) for name, value in error.values().items()}
    return dg.Failure(description=str(error), metadata=metadata, allow_retries=False)


def _entry(value: Any) -> dg.MetadataValue:
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(value)
    if isinstance(value, Mapping):
        return dg.MetadataValue.json(dict(value))
    if not isinstance(value, tuple):
        return dg.MetadataValue.text(str(value))
    lines = [str(each) for each in value[:_SHOWN_LINES]]
    more = len(value) - len(lines)
    return dg.MetadataValue.text("\n".join([*lines, f"and {more} more"] if more else lines))
