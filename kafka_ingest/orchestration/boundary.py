"""Where our errors become Dagster's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from kafka_ingest.errors import PermanentError, RetryableError

MAX_RETRIES = 4


@contextmanager
def op_errors(context: dg.OpExecutionContext) -> Iterator[None]:
    """Our errors as Dagster's: retryable ones are tried again, then fail the run; permanent ones fail it at once."""
    try:
        yield
    except RetryableError as error:
        wait = min(2.0**context.retry_number, 30.0)
        context.log.warning(f"{error} Next try in {wait:.0f} s.")
        raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=wait) from error
    except PermanentError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
