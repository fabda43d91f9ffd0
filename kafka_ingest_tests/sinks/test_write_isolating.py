"""Refused rows are found by bisection, and at once where the database says which they are."""

from __future__ import annotations

import pandas as pd
import pytest
import sqlalchemy as sa

from kafka_ingest.sinks.base import RowsRejected
from kafka_ingest.sinks.table_writer import write_isolating

BAD = {3, 4, 40}


@pytest.mark.parametrize(("is_named", "most_tries"), [(True, 2), (False, 40)])
def test_the_refused_rows_are_found_and_the_others_written(is_named: bool, most_tries: int) -> None:
    written: list[int] = []
    tries = 0

    def write(part: pd.DataFrame) -> None:
        nonlocal tries
        tries += 1
        bad = BAD.intersection(part.index)
        if bad:
            raise RowsRejected("no such row", bad if is_named else ())
        written.extend(part.index)

    with sa.create_engine("sqlite://").begin() as connection:
        refused = write_isolating(connection, pd.DataFrame(index=range(50)), write)
    assert refused == dict.fromkeys(BAD, "no such row")
    assert sorted(written) == sorted(set(range(50)) - BAD)
    assert tries <= most_tries


def test_rows_that_are_all_named_leave_nothing_to_write() -> None:
    def write(part: pd.DataFrame) -> None:
        raise RowsRejected("no such row", list(part.index))

    with sa.create_engine("sqlite://").begin() as connection:
        assert len(write_isolating(connection, pd.DataFrame(index=range(3)), write)) == 3
