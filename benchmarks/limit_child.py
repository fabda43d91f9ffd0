"""`benchmarks.limit` as a process: `prepare FOLDER`, or `load FOLDER URL CONNECTIONS`, which prints the seconds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.limit import PreparedFile, load_files, prepare
from benchmarks.streams import STREAM
from kafka_ingest.settings import Settings


def main(what: str, folder: Path, url: str = "", connections: str = "1") -> None:
    index = folder / "index.json"
    if what == "prepare":
        prepared = prepare(STREAM, Settings.from_environment(), folder)
        index.write_text(json.dumps([[(table, str(path), rows) for table, path, rows in files] for files in prepared]))
    else:
        prepared = tuple(
            tuple(PreparedFile(table, Path(path), rows) for table, path, rows in files)
            for files in json.loads(index.read_text())
        )
        print(load_files(prepared, STREAM, url, int(connections)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
