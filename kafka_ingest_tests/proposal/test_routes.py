"""Message types by a field."""

from __future__ import annotations

from kafka_ingest_tests.support.proposing import only_model, propose, times


def test_types_with_fields_of_their_own_get_a_model_each() -> None:
    clicks = times(60, {"eventType": "click", "x": 1, "y": 2})
    sales = times(40, {"eventType": "sale.made", "amount": 1.5, "sku": "a"})
    proposal = propose(*clicks, *sales, name="shop")
    assert [(m.class_name, m.table, m.types, m.messages) for m in proposal.plan.models] == [
        ("Click", "shop_click", ("click",), 60),
        ("SaleMade", "shop_sale_made", ("sale.made",), 40),
    ]
    assert 'route_by=RouteByField("eventType"),' in proposal.text
    assert [column.name for column in proposal.plan.models[0].columns] == ["x", "y"]
    assert proposal.outcomes.dead == 0


def test_types_with_the_same_fields_are_a_column() -> None:
    proposal = propose(*times(100, {"name": "x"}, type=["business", "private"]))
    assert only_model(proposal).types == ()
    assert "route_by=RouteByTopic()" in proposal.text
    assert [column.name for column in only_model(proposal).columns] == ["name", "type"]


def test_types_of_the_same_fields_share_a_model_beside_one_of_others() -> None:
    some = times(100, {"name": "x", "at": 1}, type=["created", "updated"])
    other = times(50, {"type": "deleted", "reason": "x"})
    proposal = propose(*some, *other)
    assert [model.types for model in proposal.plan.models] == [("created", "updated"), ("deleted",)]
    assert "type" in [column.name for column in proposal.plan.models[0].columns], "it says which"
    assert "type" not in [column.name for column in proposal.plan.models[1].columns]


def test_one_type_alone_is_a_route_so_that_another_is_no_row_of_it() -> None:
    proposal = propose(*times(5, {"type": "order", "id": 1}))
    assert 'routes={"order": Things}' in proposal.text
    assert proposal.plan.models[0].table == "things"


def test_a_type_may_stand_in_an_object() -> None:
    some = [{"meta": {"type": "a"}, "x": 1}, {"meta": {"type": "b"}, "y": 1}] * 50
    assert 'route_by=RouteByField("meta.type")' in propose(*some).text


def test_a_type_that_most_messages_lack_or_that_is_different_in_each_is_none() -> None:
    for some in (times(100, type=["a", None]), times(100, type=[f"t{n}" for n in range(100)]), times(100, type=[1, 2])):
        assert "RouteByTopic()" in propose(*some).text


def test_texts_that_hardly_occur_are_no_types_and_said_to_be_dead_letters() -> None:
    some = [*times(3_000, {"type": "a", "x": 1}), *times(2_000, {"type": "b", "y": 1}), {"type": "A", "x": 1}]
    proposal = propose(*some)
    assert [model.types for model in proposal.plan.models] == [("a",), ("b",)]
    assert proposal.plan.notes == ("no route for types that hardly occur, whose messages are dead letters: 'A' (1)",)
    assert [(reason.stage, reason.count) for reason in proposal.outcomes.dead_letters] == [("route", 1)]
