"""A few seconds of what `make fuzz` does for minutes."""

from __future__ import annotations

import pytest

from kafka_ingest.pipelines.dates.rule import DateRule
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest_tests.fuzz import stages
from kafka_ingest_tests.fuzz.mutate import Mutator
from kafka_ingest_tests.fuzz.stages import RULES, Broken, Messages, check_dates


def test_twenty_thousand_mutated_messages_end_in_exactly_one_place_each() -> None:
    messages = Messages()
    for seed in range(2):
        messages.check(Mutator(seed), 10_000)
    assert sum(messages.outcomes.values()) == 20_000
    assert all(messages.outcomes.values()), f"one outcome never came: {messages.outcomes}"


@pytest.mark.parametrize("rule", RULES)
def test_mutated_dates_are_an_instant_missing_or_an_error(rule: DateRule) -> None:
    check_dates(Mutator(RULES.index(rule)), 4_000, rule)


def test_the_same_seed_gives_the_same_inputs() -> None:
    one, two = Mutator(5), Mutator(5)
    assert one.values(500) == two.values(500)
    assert one.keys(50) == two.keys(50)


@pytest.fixture
def _losing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline that loses one kind of row."""

    def losing(*arguments: object) -> object:
        parsed = run_pipeline(*arguments)  # type: ignore[arg-type]
        for model, frame in parsed.rows.items():
            if "title" in frame:
                parsed.rows[model] = frame[frame["title"].astype(str) != "NULL"]
        return parsed

    monkeypatch.setattr(stages, "run_pipeline", losing)


@pytest.mark.usefixtures("_losing")
def test_a_lost_message_is_found_and_told_apart_from_its_neighbours() -> None:
    with pytest.raises(Broken, match="exactly one place") as caught:
        Messages().check(Mutator(1), 5_000)
    assert len(caught.value.inputs) == 1
    assert b"NULL" in repr(caught.value.inputs).encode()
