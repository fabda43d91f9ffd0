"""How frames get from op to op: as files of their run, gone when the run has succeeded.

Dagster's own managers do not fit: the in-memory one forbids re-execution from failure, and the file one never cleans up.
A failed run's files stay for a day, for re-execution from failure. Of a slice the re-executed run gets the messages only, and
parses them again: the frames were made by the failed run's code, which may be an older version of the stream's.
"""

from __future__ import annotations

import pickle
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import dagster as dg

from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.slices import RawSlice

KEPT_SECONDS = 24 * 3600.0
_FOLDER = "kafka_ingest_handover"


class RunFiles(dg.IOManager):
    """Pickles under the instance's storage folder, readable by this user only (they hold messages)."""

    def __init__(self, root: Path, taker: str | None = None) -> None:
        """taker: the run whose ops take; a slice of another run comes without frames."""
        self._root = root
        self._taker = taker

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Keep an output for the ops after this one. What is written replaces what was there, whole or not at all."""
        path = self._path(context)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial")
        with temporary.open("wb") as file:
            pickler = pickle.Pickler(file, protocol=pickle.HIGHEST_PROTOCOL)
            if isinstance(obj, ParsedSlice):
                pickler.dump(obj.raw)  # not written a second time with the slice, but remembered
            pickler.dump(obj)
        temporary.replace(path)

    def load_input(self, context: dg.InputContext) -> object:
        """The output of an op before, of this run or of the one that it re-executes. Raises dg.Failure where it is gone."""
        assert context.upstream_output is not None  # noqa: S101  only op outputs come here
        path = self._path(context.upstream_output)
        if not path.exists():
            raise dg.Failure(
                f"The output of {context.upstream_output.step_key} is gone (kept for {KEPT_SECONDS / 3600:.0f} h after a "
                "failure). Re-execute the whole run: the ledger keeps it from loading anything twice.",
                allow_retries=False,
            )
        with path.open("rb") as file:
            unpickler = pickle.Unpickler(file)  # noqa: S301  written by this class, in a folder only this user can write
            found = unpickler.load()
            if not isinstance(found, RawSlice):
                return found
            if self._taker is not None and context.upstream_output.run_id != self._taker:
                # The frames are not even looked at: the classes they name may be gone.
                return ParsedSlice(raw=found)
            return unpickler.load()

    def _path(self, context: dg.OutputContext) -> Path:
        run_id, step, name = context.run_id, context.step_key, context.name
        # The number is that of the layout; files of another one are as good as gone.
        return self._root / str(run_id) / f"{step}.{name}.3.pickle"

    def forget(self, run_ids: Sequence[str]) -> None:
        """Delete the files of these runs, and those left behind by runs that failed long ago."""
        for run_id in run_ids:
            shutil.rmtree(self._root / run_id, ignore_errors=True)
        if self._root.exists():
            for old in self._root.iterdir():
                with suppress(FileNotFoundError):  # the run of another stream may be tidying up at the same moment
                    if old.stat().st_mtime < time.time() - KEPT_SECONDS:
                        shutil.rmtree(old, ignore_errors=True)


@dg.io_manager(description="Frames between the ops of a run.")
def run_files_io_manager(context: dg.InitResourceContext) -> RunFiles:
    """Those of the run's instance (`run_files_of`)."""
    assert context.instance is not None  # noqa: S101  Dagster gives one wherever resources are made
    return run_files_of(context.instance, None if context.run is None else context.run.run_id)


def run_files_of(instance: dg.DagsterInstance, taker: str | None = None) -> RunFiles:
    """The handover folder of an instance."""
    return RunFiles(Path(instance.storage_directory()) / _FOLDER, taker)
