"""Frames between the ops of a run: kept for a re-execution, gone after success, readable by nobody else."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from upath import UPath

from kafka_ingest.orchestration.io_manager import KEPT_SECONDS, RunFiles, run_files_of
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import one, outcomes, piped, rows_of
from kafka_ingest.testing.models import EVERYTHING, Event, Everything


def output(run_id: str, step: str = "s.plan") -> dg.OutputContext:
    return dg.build_output_context(run_id=run_id, step_key=step, name="result")


def given(handover: RunFiles, run_id: str, what: Any) -> None:
    handover.handle_output(output(run_id), what)


def taken(handover: RunFiles, run_id: str) -> Any:
    return handover.load_input(dg.build_input_context(upstream_output=output(run_id)))


def test_what_one_op_gives_the_next_one_takes_as_often_as_it_likes(tmp_path: Path) -> None:
    handover = RunFiles(tmp_path / "handover")
    given(handover, "r1", {"a": 1})
    assert [taken(handover, "r1") for _ in range(2)] == [{"a": 1}] * 2
    given(handover, "r1", {"a": 2})
    assert taken(handover, "r1") == {"a": 2}
    assert [p.suffix for p in (tmp_path / "handover" / "r1" / "s").iterdir()] == [".pickle"]


def test_a_parsed_slice_survives_with_everything_in_it(tmp_path: Path) -> None:
    handover = RunFiles(tmp_path)
    parsed = piped(
        EVERYTHING, one({"type": "e", "id": "x", "data": [1, {"a": None}], "price": "1.5"}, b"bad", topic="everything")
    )
    given(handover, "r1", parsed)
    again: ParsedSlice = taken(handover, "r1")
    assert rows_of(again, Everything) == rows_of(parsed, Everything)
    assert (outcomes(again), again.raw.ranges, again.raw.values) == ([0, 1], parsed.raw.ranges, parsed.raw.values)


def test_a_decoded_slice_survives_too_raw_json_included(tmp_path: Path) -> None:
    from kafka_ingest.pipelines.decode import StreamDecoder
    from kafka_ingest.pipelines.pipeline import run_pipeline

    handover = RunFiles(tmp_path)
    given(
        handover,
        "r1",
        StreamDecoder(EVERYTHING).decode(one({"type": "e", "id": "x", "data": [1, 2]}, topic="everything")),
    )
    again = run_pipeline(taken(handover, "r1"), EVERYTHING)
    assert [r["data"] for r in rows_of(again, Everything)] == ["[1, 2]"]


def test_a_slice_of_another_run_comes_as_messages_whatever_became_of_the_classes_its_frames_name(
    tmp_path: Path,
) -> None:
    parsed = piped(EVERYTHING, one({"type": "e", "id": "x"}, b"bad", topic="everything"))

    class Gone(dict[str, int]):
        """Cannot be read again: no module has it."""

    Gone.__qualname__ = "Gone"
    globals()["Gone"] = Gone
    parsed.rows[TargetTable.of(Event)] = Gone()  # type: ignore[assignment]  # what frames were once
    given(RunFiles(tmp_path), "r1", parsed)
    del globals()["Gone"]
    again: ParsedSlice = taken(RunFiles(tmp_path, taker="r2"), "r1")
    assert (again.rows, again.dead_letters, again.parsed_by) == ({}, [], None)
    assert (again.raw.ranges, again.raw.values, again.raw.logs) == (
        parsed.raw.ranges,
        parsed.raw.values,
        parsed.raw.logs,
    )
    with pytest.raises(AttributeError, match="Gone"):
        taken(RunFiles(tmp_path, taker="r1"), "r1")


def test_the_folder_of_a_run_is_for_this_user_only(tmp_path: Path) -> None:
    handover = RunFiles(tmp_path / "handover")
    given(handover, "r1", 1)
    assert stat.S_IMODE((tmp_path / "handover" / "r1").stat().st_mode) == 0o700


def test_a_successful_run_and_those_it_re_executed_are_forgotten_and_others_are_kept(tmp_path: Path) -> None:
    handover = RunFiles(tmp_path)
    for run_id in ("r1", "r2", "r3"):
        given(handover, run_id, run_id)
    handover.forget(["r1", "r2", "never-was"], "s")
    assert [p.name for p in tmp_path.iterdir()] == ["r3"]
    assert taken(handover, "r3") == "r3"


def test_files_of_a_failed_run_are_pruned_after_a_day(tmp_path: Path) -> None:
    handover = RunFiles(tmp_path)
    for run_id, age in (("old", KEPT_SECONDS + 60), ("young", KEPT_SECONDS - 60)):
        given(handover, run_id, 1)
        os.utime(tmp_path / run_id, (time.time() - age,) * 2)
    handover.forget(["r1"], "s")
    assert [p.name for p in tmp_path.iterdir()] == ["young"]


def test_a_run_of_another_stream_may_tidy_up_at_the_same_moment(tmp_path: Path) -> None:
    handover = RunFiles(tmp_path)
    given(handover, "r2", 1)
    (tmp_path / "r0").symlink_to(tmp_path / "gone-just-now")  # listed, and not there when looked at
    handover.forget(["r1"], "s")
    assert taken(handover, "r2") == 1


def test_nothing_handed_over_yet_is_nothing_to_forget(tmp_path: Path) -> None:
    RunFiles(tmp_path / "never-made").forget(["r1"], "s")
    assert not (tmp_path / "never-made").exists()


def test_a_file_that_is_gone_is_a_failure_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        dg.Failure, match="Re-execute the whole run: the ledger keeps it from loading anything twice"
    ) as caught:
        taken(RunFiles(tmp_path), "r1")
    assert caught.value.allow_retries is False


def test_the_folder_stands_in_the_instances_storage() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_files_of(instance)._root.parent == Path(instance.storage_directory())


def test_the_files_of_another_stream_in_one_run_stay(tmp_path: Path) -> None:
    handover = RunFiles(tmp_path)
    given(handover, "r1", 1)
    handover.handle_output(output("r1", "other.plan"), 2)
    handover.forget(["r1"], "other")
    assert taken(handover, "r1") == 1


# --- hosts that share no disk


@pytest.fixture
def bucket() -> Iterator[UPath]:
    """As an object store has it: no folders, and objects that are there whole."""
    found = UPath("memory://bucket/handover")
    yield found
    if found.exists():
        found.fs.rm(found.path, recursive=True)


def test_a_bucket_hands_over_as_a_folder_does(bucket: UPath) -> None:
    parsed = piped(EVERYTHING, one({"type": "e", "id": "x"}, b"bad", topic="everything"))
    given(RunFiles(bucket), "r1", parsed)
    again: ParsedSlice = taken(RunFiles(bucket), "r1")
    assert (outcomes(again), again.raw.values) == ([0, 1], parsed.raw.values)
    given(RunFiles(bucket), "r1", {"a": 2})
    assert taken(RunFiles(bucket), "r1") == {"a": 2}


def test_of_a_bucket_the_files_of_a_run_and_those_of_long_ago_are_deleted(
    bucket: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run_id in ("r1", "r2", "failed"):
        given(RunFiles(bucket), run_id, {"a": 1})
    RunFiles(bucket).forget(["r1"], "s")
    assert {path.split("/")[-3] for path in bucket.fs.find(bucket.path)} == {"r2", "failed"}
    RunFiles(bucket).forget(["r1"], "s")
    later = time.time() + KEPT_SECONDS + 60
    monkeypatch.setattr(time, "time", lambda: later)
    RunFiles(bucket).forget(["r1"], "s")
    assert bucket.fs.find(bucket.path) == []


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_the_environment_names_the_folder(prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_INGEST_HANDOVER", f"{prefix}{tmp_path}/shared")
    folder = tmp_path / "shared"
    with dg.DagsterInstance.ephemeral() as instance:
        given(run_files_of(instance), "r1", {"a": 1})
        assert [path.name for path in folder.rglob("*.pickle")] == ["plan.result.4.pickle"]
        assert stat.S_IMODE((folder / "r1").stat().st_mode) == 0o700
        run_files_of(instance).forget(["r1"], "s")
    assert list(folder.iterdir()) == []


def test_what_is_gone_may_be_on_another_host(bucket: UPath) -> None:
    with pytest.raises(dg.Failure, match="share no disk, set KAFKA_INGEST_HANDOVER"):
        taken(RunFiles(bucket), "r9")
