"""How frames get from op to op: as files of their run, gone when the run has succeeded.

Dagster's own managers do not fit: the in-memory one forbids re-execution from failure, and the file one never cleans up. The
files lie in the instance's storage folder; where executors put the ops of one run on hosts that share no disk, in the folder or
bucket that KAFKA_INGEST_HANDOVER names, by fsspec's URLs. A failed run's stay for a day, for re-execution from failure. Of a
slice the re-executed run gets the messages only, and parses them again: the frames were made by the failed run's code, which may
be an older version of the stream's.
"""

from __future__ import annotations

import pickle
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import dagster as dg
from upath import UPath
from upath.implementations.local import FilePath

from kafka_ingest.orchestration.handover import HANDOVER, handover_place
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.slices import RawSlice

KEPT_SECONDS = 24 * 3600.0
_FOLDER = "kafka_ingest_handover"


class RunFiles(dg.IOManager):
    """Pickles under a folder, readable by this user only (they hold messages) where it is on a disk."""

    def __init__(self, root: str | Path | UPath, taker: str | None = None) -> None:
        """taker: the run whose ops take; a slice of another run comes without frames."""
        found = UPath(root)
        self._root = Path(found.path) if isinstance(found, FilePath) else found
        self._taker = taker

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Keep an output for the ops after this one. What is written replaces what was there, whole or not at all."""
        path = self._path(context)
        if not isinstance(path, Path):  # an object is there when it is written, whole
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, obj)
            return
        path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the mode is that of the last folder made
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".partial")
        _write(temporary, obj)
        temporary.replace(path)

    def load_input(self, context: dg.InputContext) -> object:
        """The output of an op before, of this run or of the one that it re-executes. Raises dg.Failure where it is gone."""
        assert context.upstream_output is not None  # noqa: S101  only op outputs come here
        path = self._path(context.upstream_output)
        if not path.exists():
            raise dg.Failure(
                f"The output of {context.upstream_output.step_key} is gone (kept for {KEPT_SECONDS / 3600:.0f} h after a "
                "failure), or it is on another host: where an executor gives ops hosts that share no disk, set "
                f"{HANDOVER} for all of them. Re-execute the whole run: the ledger keeps it from loading anything twice.",
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

    def _path(self, context: dg.OutputContext) -> Path | UPath:
        run_id, step, name = context.run_id, context.step_key, context.name
        graph, _, op = step.partition(".")
        # The number is that of the layout; files of another one are as good as gone.
        return self._root / str(run_id) / graph / f"{op}.{name}.4.pickle"

    def forget(self, run_ids: Sequence[str], graph: str) -> None:
        """Delete the files that one graph of ops has in these runs, and those left behind by runs that failed long ago."""
        for run_id in run_ids:
            _delete(self._root / run_id / graph)
            if isinstance(self._root, Path):
                with suppress(OSError):  # a run of several streams has other files there
                    (self._root / run_id).rmdir()
        if self._root.exists():
            for old in self._root.iterdir():
                with suppress(FileNotFoundError):  # the run of another stream may be tidying up at the same moment
                    if _written_at(old) < time.time() - KEPT_SECONDS:
                        _delete(old)


def _delete(folder: Path | UPath) -> None:
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        folder.fs.rm(folder.path, recursive=True)


def _written_at(folder: Path | UPath) -> float:
    """When something in it was written last, in seconds since the epoch; now where that is not known."""
    if isinstance(folder, Path):
        return folder.stat().st_mtime
    try:
        written = [folder.fs.modified(name).timestamp() for name in folder.fs.find(folder.path)]
    except NotImplementedError:
        written = []
    return max(written, default=time.time())


def _write(path: Path | UPath, obj: object) -> None:
    with path.open("wb") as file:
        pickler = pickle.Pickler(file, protocol=pickle.HIGHEST_PROTOCOL)
        if isinstance(obj, ParsedSlice):
            pickler.dump(obj.raw)  # not written a second time with the slice, but remembered
        pickler.dump(obj)


@dg.io_manager(description="Frames between the ops of a run.")
def run_files_io_manager(context: dg.InitResourceContext) -> RunFiles:
    """Those of the run's instance (`run_files_of`)."""
    assert context.instance is not None  # noqa: S101  Dagster gives one wherever resources are made
    return run_files_of(context.instance, None if context.run is None else context.run.run_id)


def run_files_of(instance: dg.DagsterInstance, taker: str | None = None) -> RunFiles:
    """The handover folder of an instance, or the place that the environment names. Raises as `handover_place`."""
    return RunFiles(handover_place() or Path(instance.storage_directory()) / _FOLDER, taker)
