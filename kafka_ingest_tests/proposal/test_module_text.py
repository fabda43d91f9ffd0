"""The module as text: what ruff and mypy say of it, and what a person reads."""

from __future__ import annotations

import itertools
from pathlib import Path

from kafka_ingest.cli.samples.messages import sample_messages
from kafka_ingest.proposal.code import text_literal
from kafka_ingest.proposal.propose import Proposal
from kafka_ingest.testing.messages import Msg
from kafka_ingest_tests.support.proposing import check_format, propose, ruff, times

WRITTEN = Path(__file__).with_name("written_module.py")
TRACE = "6f0a1b2c-1111-4222-8333-123456789abc"
ORDER = {
    "id": 7,
    "customer": {"name": "Ada", "address": {"postalCode": "01234", "city": "Köln"}},
    "select": 1,
    'it\'s "quoted"': "x",
    "with \\ and \t": 1,
    "placedAt": 1_714_550_400_000,
    "day": "2024-05-01",
    "lines": [{"price": 1.5}],
    "aVeryLongNameOfAFieldThatDoesNotFitIntoALine": {"withOneMoreVeryLongNameInsideOfIt": "x"},
    "标题": "你好",
    "nothing": None,
}


def test_ruff_would_write_a_module_as_it_is_at_any_line_length(tmp_path: Path) -> None:
    news = [Msg(m.value, m.key, m.headers) for m in itertools.islice(sample_messages(1, 0.03), 500)]
    for proposal in (propose(*times(120, ORDER)), propose(*news, name="news"), propose(b"a text")):
        assert check_format(proposal.text, tmp_path) == ""
        found = ruff(tmp_path, "check", "--isolated", "--select", "E4,E7,E9,F,I,UP", "module.py")
        assert found.returncode == 0, found.stdout


def written() -> Proposal:
    """Of two types of messages, with something of everything."""
    order = ORDER | {"type": "order", "amount": "19.95", "huge": 2**70, "unlike": None, "trace": TRACE}
    orders = times(
        100, order, id=range(100), placed_at=["2026-11-26 10:00:00"], mixed=[1, "a", [1.25]], flag=[True, None]
    )
    events = times(50, {"type": "event", "ratio": 0.12345678901, "when": 1_714_550_400, "dmy": "31-12-2024", "time": 5})
    return propose(*orders, *events, name="shop", topic="shop.orders")


def test_a_module_is_as_the_one_in_this_folder_which_mypy_and_a_person_have_read() -> None:
    """After a change: python -m kafka_ingest_tests.proposal.test_module_text"""
    assert written().text == WRITTEN.read_text(encoding="utf-8")


def test_nothing_of_a_message_gets_out_of_a_literal_or_a_comment() -> None:
    evil = 'x"""\nimport os  # \u202e'
    some = [{evil: None, "type": evil, "a": 1}, {evil: None, "type": "b", "c": {evil: 1}}] * 60
    proposal = propose(*some)
    assert "\nimport os" not in proposal.text
    assert proposal.outcomes.dead == 0


def test_literals_are_in_double_quotes_unless_those_would_be_escaped() -> None:
    assert [text_literal(text) for text in ("a", "it's", 'a "b"', "it's \"b\"", "\\", "\n")] == [
        '"a"',
        '"it\'s"',
        "'a \"b\"'",
        "'it\\'s \"b\"'",
        '"\\\\"',
        '"\\n"',
    ]  # fmt: skip


if __name__ == "__main__":
    WRITTEN.write_text(written().text, encoding="utf-8")
