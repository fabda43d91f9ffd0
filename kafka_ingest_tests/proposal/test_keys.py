"""What tells rows apart, and when a table is not keyed because rows would be lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kafka_ingest.testing.messages import Msg
from kafka_ingest_tests.support.proposing import columns, only_model, propose, times


def keys(proposal: Any) -> list[str]:
    return [column.name for column in only_model(proposal).columns if column.is_key]


def test_an_id_that_is_different_in_each_message_is_the_key_and_comes_first() -> None:
    proposal = propose(*times(120, {"name": "x"}, id=range(120)))
    assert keys(proposal) == ["id"] == list(columns(proposal))[:1]
    assert only_model(proposal).key.evidence == "id is different in each of 120 messages"


def test_an_id_that_goes_with_the_messages_key_is_the_key_though_it_comes_again() -> None:
    some = [Msg({"orderId": f"A{n % 40}", "amount": n}, f"A{n % 40}".encode()) for n in range(120)]
    proposal = propose(*some, name="orders")
    assert keys(proposal) == ["order_id"]
    assert only_model(proposal).key.evidence == "orderId goes with the message's key: 40 of each in 120 messages"
    assert proposal.outcomes.rows == {"orders": 120}


def test_the_user_of_a_click_is_no_key_of_clicks_though_messages_are_keyed_by_it() -> None:
    some = [Msg({"user_id": n % 40, "page": f"p{n}"}, str(n % 40).encode()) for n in range(120)]
    proposal = propose(*some, name="clicks")
    assert keys(proposal) == []
    assert only_model(proposal).key.evidence == "40 message keys in 120 messages, and no field that goes with them"
    assert "class Clicks(AppendModel):" in proposal.text


def test_an_id_that_comes_again_without_message_keys_is_none() -> None:
    assert keys(propose(*times(120, id=range(60)))) == []


def test_few_messages_do_not_show_that_some_other_field_is_different_in_each() -> None:
    assert keys(propose(*times(20, order_id=range(20)), name="clicks")) == []
    assert keys(propose(*times(200, order_id=range(200)), name="clicks")) == ["order_id"]
    assert keys(propose(*times(200, amount=range(200)), name="clicks")) == []


def test_messages_without_a_value_delete_the_row_of_their_key() -> None:
    some = [Msg({"id": f"a{n}", "n": n}, f"a{n}".encode()) for n in range(120)]
    proposal = propose(*some, Msg(None, b"a1"))
    assert "delete_on_tombstone = True" in proposal.text
    assert 'tombstone_key = "text"' in proposal.text
    assert (proposal.outcomes.deletes, proposal.outcomes.dead) == (1, 0)


def test_the_messages_own_key_is_one_where_it_deletes_and_no_field_says_it() -> None:
    some = [Msg({"n": n}, f"a{n % 50}".encode()) for n in range(120)]
    proposal = propose(*some, Msg(None, b"a1"))
    assert keys(proposal) == ["message_key"]
    assert "message_key: Mapped[str] = field(String(16), primary_key=True, source=Key())" in proposal.text
    assert (proposal.outcomes.deletes, proposal.outcomes.dead) == (1, 0)


def test_a_key_of_several_fields_is_one_of_several_columns() -> None:
    def line(n: int) -> dict[str, Any]:
        return {"note": "x", "orderId": n // 3, "line": n % 3}

    some = [Msg(line(n), json.dumps({"orderId": n // 3, "line": n % 3}).encode()) for n in range(120)]
    proposal = propose(*some, Msg(None, b'{"orderId": 1, "line": 2}'))
    assert keys(proposal) == ["order_id", "line"]
    assert "tombstone_key" not in proposal.text
    assert (proposal.outcomes.deletes, proposal.outcomes.dead) == (1, 0)


def test_a_few_messages_without_the_id_do_not_take_the_key_away_and_are_dead_letters() -> None:
    proposal = propose(*times(498, {"n": 1}, id=range(498)), {"n": 1}, {"n": 1})
    assert keys(proposal) == ["id"]
    assert proposal.outcomes.dead == 2


def test_a_text_key_is_no_longer_than_keys_may_be() -> None:
    proposal = propose(*times(120, id=["x" * 100 + str(n) for n in range(120)]))
    assert columns(proposal)["id"].type.type is not None
    assert "id: Mapped[str] = field(String(255), primary_key=True)" in proposal.text


@pytest.mark.parametrize(
    ("ids", "written"),
    [(range(120), str), ([f"a{n}" for n in range(120)], json.dumps), ([f"a{n}" for n in range(120)], str)],
)
def test_rows_are_deleted_by_keys_however_they_are_written(ids: Sequence[Any], written: Callable[[Any], str]) -> None:
    some = [Msg({"id": each, "n": 1}, written(each).encode()) for each in ids]
    proposal = propose(*some, Msg(None, written(ids[5]).encode()))
    assert keys(proposal) == ["id"]
    assert "delete_on_tombstone = True" in proposal.text
    assert (proposal.outcomes.deletes, proposal.outcomes.dead) == (1, 0)
