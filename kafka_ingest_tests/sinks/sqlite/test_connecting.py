"""Two that come to a new SQLite file at once."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from kafka_ingest.sinks.registry import open_sink


def test_who_comes_while_another_writes_to_a_new_file_waits_for_it(tmp_path: Path) -> None:
    file = tmp_path / "new.db"
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE theirs (a)")
        timer = threading.Timer(0.2, other.execute, ["COMMIT"])
        timer.start()
        with closing(open_sink(sa.make_url(f"sqlite:///{file}"))) as sink, sink.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
            assert connection.exec_driver_sql("SELECT count(*) FROM theirs").scalar_one() == 0
        timer.join()
