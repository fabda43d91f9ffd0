"""Finding the rows a database refuses, by bisection, so that the others load."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import sqlalchemy as sa

from kafka_ingest.sinks.base import RowsRejected


def write_isolating(
    connection: sa.Connection, rows: pd.DataFrame, write: Callable[[pd.DataFrame], None]
) -> dict[int, str]:
    """Write `rows`; the refused ones by message number with the database's words.

    One statement where all rows are good; about 2·k·log2(n) for k bad ones of n that the error does not name. Each try is a
    savepoint, so a refused part leaves nothing behind. Errors other than RowsRejected end the load.
    """
    refused: dict[int, str] = {}
    parts = [rows]
    while parts:
        part = parts.pop()
        try:
            with connection.begin_nested():
                write(part)
        except RowsRejected as error:
            is_named = part.index.isin(error.numbers)
            if is_named.any():
                refused.update((int(number), str(error)) for number in part.index[is_named])
                if not is_named.all():
                    parts.append(part[~is_named])
                continue
            if len(part) == 1:
                refused[int(part.index[0])] = str(error)
                continue
            middle = len(part) // 2
            # The first half is written first: last in, first out.
            parts += [part.iloc[middle:], part.iloc[:middle]]
    return refused
