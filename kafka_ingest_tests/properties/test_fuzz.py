"""A few seconds of what `make fuzz` does for minutes."""

from __future__ import annotations

import pytest

from kafka_ingest.dates.rule import DateRule
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest_tests.fuzz import stages
from kafka_ingest_tests.fuzz.guided import dates_of, put_together, take_apart
from kafka_ingest_tests.fuzz.mutate import Mutator
from kafka_ingest_tests.fuzz.stages import RULES, STREAMS, Broken, Messages, check_dates, check_these_dates

pytestmark = pytest.mark.slow


def test_thousands_of_mutated_messages_end_in_exactly_one_place_each() -> None:
    messages = Messages()
    for seed in range(3):
        messages.check(Mutator(seed), 7_000)
    assert sum(messages.outcomes.values()) == 21_000
    assert all(messages.outcomes.values()), f"one outcome never came: {messages.outcomes}"


@pytest.mark.parametrize("rule", RULES)
def test_mutated_dates_are_an_instant_missing_or_an_error(rule: DateRule) -> None:
    check_dates(Mutator(RULES.index(rule)), 4_000, rule)


def test_the_same_seed_gives_the_same_inputs() -> None:
    one, two = Mutator(5), Mutator(5)
    assert one.values(500) == two.values(500)
    assert one.keys(50) == two.keys(50)
    assert one.headers(50) == two.headers(50)


def test_any_bytes_are_messages_for_the_coverage_guided_fuzzer() -> None:
    lines = [(b'{"type":"e","id":"x"}', b"k1", b"account"), (b"", b"k1", b""), (b"\xff",), (b"",)]
    data = put_together(1, lines)
    headers: list[list[tuple[str, bytes | None]]] = [[("kind", b"account")], [("kind", b"")], [], []]
    expected = [(lines[0][0], b"k1", headers[0]), (None, b"k1", headers[1]), (b"\xff", None, []), (None, None, [])]
    assert take_apart(data) == (1, expected)
    assert take_apart(b"") == (0, [(None, None, [])])
    stages_of = Messages()
    for which in range(len(STREAMS)):
        stages_of.check_these(which, expected)
    assert sum(stages_of.outcomes.values()) == len(expected) * len(STREAMS)
    dates = dates_of(take_apart(b'\0"2024-05-01"\n1714550400\n2024-02-30\n\n[1]\n\xff')[1])
    assert dates == ["2024-05-01", 1714550400, "2024-02-30", None, [1], "\udcff"]
    for rule in RULES:
        check_these_dates(dates, rule)


@pytest.fixture
def _losing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline that loses one kind of row."""

    def losing(*arguments: object) -> object:
        parsed = run_pipeline(*arguments)  # type: ignore[arg-type]
        for target, frame in parsed.rows.items():
            if "title" in frame:
                parsed.rows[target] = frame[frame["title"].astype(str) != "NULL"]
        return parsed

    monkeypatch.setattr(stages, "run_pipeline", losing)


@pytest.mark.usefixtures("_losing")
def test_a_lost_message_is_found_and_told_apart_from_its_neighbours() -> None:
    with pytest.raises(Broken, match="exactly one place") as caught:
        Messages().check(Mutator(1), 5_000)
    assert len(caught.value.inputs) == 1
    assert b"NULL" in repr(caught.value.inputs).encode()
