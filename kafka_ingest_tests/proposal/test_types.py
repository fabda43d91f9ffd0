"""Types of columns, by the values of their fields: as narrow as is certain, with room."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_ingest_tests.support.proposing import columns, declared, kind, only_model, propose, times

TYPES: list[tuple[str, list[Any], str]] = [
    ("flag", [True, False], "Boolean"),
    ("count", [0, -5, 70_000], "Integer"),
    ("order_id", [1, 2], "BigInteger"),
    ("views", [3_000_000_000], "BigInteger"),
    ("big", [2**63 + 5], "Numeric(23, 0)"),
    ("price", [19.95, 3, 100], "Numeric(18, 4)"),
    ("exact", [1.5, 12345678901234.25], "Numeric(22, 4)"),
    ("ratio", [0.123456789012345, 0.5], "Float"),
    ("amount", ["19.95", "3.10"], "Numeric(18, 4)"),
    ("zip", ["01234", "00501"], "String(16)"),
    ("plain_number", ["15", "7"], "String(16)"),
    ("thousands", ["1,234.50"], "String(16)"),
    ("word", ["x" * 40], "String(128)"),
    ("body", ["x" * 3_000], "Text"),
    ("bodies", ["x" * 70_000], "Text(4_000_000)"),
    ("trace", ["6f0a1b2c-1111-4222-8333-123456789abc"], "Uuid"),
    ("upper", ["6F0A1B2C-1111-4222-8333-123456789ABC"], "String(128)"),
    ("either", ["a", 7], "String(16)"),
    ("tags", [["a"], []], "JSON"),
    ("anything", [1, "a", [1], {"x": 1}, True], "JSON"),
    ("switch", [True, "yes"], "JSON"),
    ("nothing", [{}], "JSON"),
]


@pytest.mark.parametrize(("name", "values", "expected"), TYPES)
def test_a_field_gets_the_type_that_its_values_need(name: str, values: list[Any], expected: str) -> None:
    proposal = propose(*times(120, **{name: values}))
    assert kind(proposal, name) == expected
    assert proposal.outcomes.dead_letters == ()
    assert proposal.outcomes.rows == {"things": 120}


def test_numbers_that_no_decimal_holds_are_text_and_mysqls_json_is_kept_from_changing_them() -> None:
    proposal = propose(
        *[
            b'{"huge": %d, "tiny": 1.0000000000000000000000001e-40, "list": [0.1000000000000000055511151231257827]}'
            % 10**70
        ]
        * 3
    )
    found = declared(proposal)
    assert found["huge"] == "field(String(255))"
    assert found["tiny"] == "field(String(255), cast=Cast(from_number=True))"
    assert 'JSON().with_variant(LONGTEXT(), "mysql")' in found["list"]
    assert proposal.outcomes.dead_letters == ()
    assert proposal.rows["things"][0]["huge"] == str(10**70)


def test_a_few_values_of_another_kind_do_not_change_the_column_and_are_said_to_be_dead_letters() -> None:
    proposal = propose(*times(499, score=[1, 2, 3]), {"score": "ninety"})
    assert kind(proposal, "score") == "Integer"
    assert columns(proposal)["score"].all_notes == ("1 of 500 values are text: dead letters",)
    assert [(reason.stage, reason.count) for reason in proposal.outcomes.dead_letters] == [("decode", 1)]
    assert "# 1 of 500 values are text: dead letters" in proposal.text


def test_many_values_of_another_kind_make_a_column_that_takes_both() -> None:
    proposal = propose(*times(90, score=[1, 2]), *times(30, score=["ninety"]), *times(30, score=[None]))
    assert kind(proposal, "score") == "String(16)"
    assert proposal.outcomes.dead_letters == ()


def test_a_column_may_be_null_unless_every_one_of_many_messages_has_it() -> None:
    always = columns(propose(*times(120, a=[1], b=[1, None])))
    assert (always["a"].is_nullable, always["b"].is_nullable) == (False, True)
    assert (always["b"].seen, always["b"].total) == (60, 120)
    assert columns(propose(*times(20, a=[1])))["a"].is_nullable, "twenty messages show nothing"


def test_a_field_that_is_always_null_is_left_out_and_said_to_be() -> None:
    proposal = propose(*times(3, a=[1], middle=[None]))
    assert [(each.name, each.reason.partition(":")[0]) for each in only_model(proposal).left_out] == [
        ("middle", "null in all messages")
    ]
    assert '# Not here: "middle", null in all messages' in proposal.text


def test_objects_are_taken_apart_but_for_those_whose_keys_are_data() -> None:
    message = {
        "customer": {"name": "Ada", "address": {"city": "X"}},
        "by_day": {"2024-05-01": 1},
        "by_number": {"17": 1},
        "lines": [{"sku": "a"}],
    }
    names = {f"key{n}": n for n in range(50)}
    some = [message | {"labels": {name: n}} for name, n in names.items()]
    found = {column.path: column.type for column in only_model(propose(*some)).columns}
    assert list(found) == [
        ("customer", "name"),
        ("customer", "address", "city"),
        ("by_day",),
        ("by_number",),
        ("lines",),
        ("labels",),
    ]


def test_more_fields_than_a_row_of_mysql_has_room_for_are_left_out_the_rarest_first() -> None:
    rare = {f"rare{n}": "text" * 10 for n in range(100)}
    often = {f"often{n}": "text" * 10 for n in range(200)}
    model = only_model(propose(*times(4, often), often | rare))
    assert len(model.columns) == 172
    assert all(column.name.startswith("often") for column in model.columns)
    assert len(model.left_out) == 128
    numbers = only_model(propose(*times(3, {f"n{n}": n for n in range(300)})))
    assert len(numbers.columns) == 300


def test_an_object_with_too_many_fields_for_a_row_is_kept_whole() -> None:
    model = only_model(propose(*times(3, {"id": "a", "wide": {f"f{n}": "text" * 10 for n in range(300)}})))
    assert [(column.name, column.type.python.text) for column in model.columns] == [("id", "str"), ("wide", "Any")]
    assert model.left_out == ()


def test_long_texts_that_are_too_long_together_become_text() -> None:
    model = only_model(propose(*times(3, {f"t{n}": "x" * 900 for n in range(20)})))
    kinds = {column.type.type.text for column in model.columns if column.type.type}
    assert kinds == {"String(2000)", "Text"}
