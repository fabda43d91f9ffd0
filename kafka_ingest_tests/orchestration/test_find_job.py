"""The job that says what became of a message, and the dead letters on their asset's page."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from kafka_ingest.cli.ingest import failure_of
from kafka_ingest.orchestration import find_job as find_job_module
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.run_report import letters_metadata, newest_letters
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.testing.messages import Msg
from kafka_ingest.testing.models import MIXED
from kafka_ingest_tests.support.letters import run_replay
from kafka_ingest_tests.support.placed import NAMES
from kafka_ingest_tests.support.searched import Searched

# Dagster asks pydantic for fields in a way pydantic 2 finds old-fashioned; what we can do about it is nothing.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

NASTY = "`|<img src=x onerror=alert(1)>\n| \x1b"
STREAM = replace(MIXED, max_dead_letter_ratio=1.0)


@pytest.fixture
def topic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Searched:
    url = f"sqlite:///{tmp_path}/t.db"
    found = Searched(monkeypatch, STREAM, SQLiteSink(sa.make_url(url)))
    monkeypatch.setattr(find_job_module, "KafkaMetadata", lambda _settings: found.metadata)
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", url)
    monkeypatch.setenv("KAFKA_INGEST_DAGSTER_URL", "http://ui")
    found.send(
        Msg({"type": "account", "id": "k|1", "balance": 1}, b"k"),
        Msg({"type": "account", "id": "k|1", "balance": 2}, b"k"),
        Msg({"type": NASTY}, b"bad"),
    )
    found.load(run_id="first")
    return found


def run(instance: dg.DagsterInstance | None = None, **config: Any) -> dg.ExecuteInProcessResult:
    job = build_definitions([STREAM]).resolve_job_def("find_message_mixed")
    with dg.DagsterInstance.ephemeral() if instance is None else nullcontext(instance) as at:
        return job.execute_in_process(
            run_config={"ops": {"mixed_find_message": {"config": {"topic": "mixed", **config}}}},
            instance=at,
            raise_on_error=False,
        )


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (found,) = [e.step_output_data.metadata for e in result.all_events if e.event_type_value == "STEP_OUTPUT"]
    return {name: value.value for name, value in found.items()}


def test_the_job_says_what_became_of_each_message_in_a_table(topic: Searched) -> None:
    result = run(text="k")
    assert result.success
    found = metadata(result)
    assert found["found"].splitlines() == [
        "| position | became | table | business key | loaded by |",
        "|---|---|---|---|---|",
        "| `mixed[0]@0` | superseded: `superseded by mixed[0]@1, the later message of its key` | `t_account` | `id=k¦1` | "
        "[`first`](http://ui/runs/first) |",
        "| `mixed[0]@1` | row: `a row of table t_account` | `t_account` | `id=k¦1` | [`first`](http://ui/runs/first) |",
    ]
    assert (found["matched"], found["searched_messages"], found["searched"]) == (2, 3, "mixed[0]@[0,3)")
    assert [each["fate"] for each in found["details"]["found"]] == ["superseded", "row"]
    assert result.dagster_run.tags["kafka_ingest/kind"] == "find"
    assert NAMES.find_job(STREAM) == "find_message_mixed"


def test_what_stands_in_a_message_is_no_markup_in_the_table(topic: Searched) -> None:
    (line,) = metadata(run(text="bad", meant="key"))["found"].splitlines()[2:]
    assert line.count("|") == 6
    assert line.count("`") == 6
    assert line.isprintable()


def test_the_log_says_what_became_of_each_message_as_text(topic: Searched) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        found = run(instance, text="bad", meant="key")
        lines = [entry.user_message for entry in instance.all_logs(found.run_id) if " is " in entry.user_message]
    (line,) = lines
    assert line.startswith("mixed[0]@2 is `a dead letter: route: no route for type ")
    assert line.isprintable()


@pytest.mark.parametrize(("topics", "begins_with"), [(["mixed", "other"], "mixed"), ("^mix.*$", "")])
def test_the_launchpad_begins_with_the_topic_and_an_empty_text(topics: Any, begins_with: str) -> None:
    job = build_definitions([replace(STREAM, topics=topics)]).resolve_job_def("find_message_mixed")
    assert job.run_config == {"ops": {"mixed_find_message": {"config": {"topic": begins_with, "text": ""}}}}


def test_where_nothing_is_found_the_job_says_so_and_how_much_it_searched(topic: Searched) -> None:
    found = metadata(run(text="name=x", last=2, limit=1, time_to="2027-01-01"))
    assert (found["found"], found["searched"], found["searched_messages"]) == (
        "no message was found", "mixed[0]@[1,3)", 2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("config", "refusal"),
    [
        ({"topic": "other", "text": "k"}, "no stream reads a topic 'other'"),
        ({"text": ""}, "at least 1 character"),
        ({"text": "k", "limit": 0}, "greater than or equal to 1"),
        ({"text": "k", "last": 0}, "greater than or equal to 1"),
        ({"text": "k", "time_from": "soon"}, "time_from is 'soon'"),
        ({"text": "k" * 10_001}, "at most 10000 characters"),
    ],
)
def test_a_config_out_of_range_is_refused_with_field_and_bound(
    topic: Searched, config: dict[str, Any], refusal: str
) -> None:
    result = run(**config)
    assert not result.success
    assert refusal in failure_of(result)


def page(topic: Searched) -> list[str]:
    """The lines of the table, without its head."""
    found = letters_metadata(newest_letters(topic.target.sink, STREAM))
    table = found["newest_waiting"]
    assert isinstance(table, dg.MarkdownMetadataValue)
    head, rule, *lines = str(table.value).splitlines()
    assert (head, rule) == ("| position | stage | error |", "|---|---|---|")
    return lines


def positions(topic: Searched) -> list[str]:
    return [line.split("`")[1] for line in page(topic)]


def test_the_page_of_the_dead_letters_has_the_newest_that_wait_as_text(topic: Searched) -> None:
    (line,) = page(topic)
    assert line.startswith("| `mixed[0]@2` | route | `no route for type ")
    assert (line.count("|"), line.count("`"), line.isprintable()) == (4, 4, True)
    topic.send(*(Msg(f"{{{n}".encode()) for n in range(12)))
    topic.load()
    assert positions(topic) == [f"mixed[0]@{n}" for n in range(14, 5, -1)]


def test_the_page_has_as_many_as_it_shows_without_a_click(topic: Searched) -> None:
    topic.send(*(Msg({"type": "x" * 300}) for _ in range(12)))
    topic.load()
    shown = positions(topic)
    assert 1 < len(shown) < 10
    assert shown == [f"mixed[0]@{n}" for n in range(14, 14 - len(shown), -1)]
    assert len("\n".join(page(topic))) + 60 < 1_000


def test_letters_that_were_tried_in_vain_stand_there_and_those_that_were_replayed_do_not(topic: Searched) -> None:
    topic.send(Msg(b"{"), Msg({"type": "late", "name": "x"}))
    topic.load()
    run_replay(topic.target, replace(STREAM, routes={**STREAM.routes, "late": STREAM.routes["event"]}))
    assert positions(topic) == ["mixed[0]@3", "mixed[0]@2"]
    run_replay(topic.target, replace(STREAM, unrouted="ignore"), run_id="another")
    assert positions(topic) == ["mixed[0]@3"]


def test_where_none_waits_the_page_has_no_table(topic: Searched) -> None:
    run_replay(topic.target, replace(STREAM, unrouted="ignore"))
    assert letters_metadata(newest_letters(topic.target.sink, STREAM)) == {}
