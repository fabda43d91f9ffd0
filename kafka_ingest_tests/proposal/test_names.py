"""Names of columns, tables and classes."""

from __future__ import annotations

import pytest

from kafka_ingest.proposal.names import Names, class_name, snake_case, table_name
from kafka_ingest_tests.support.proposing import columns, declared, propose, times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("publishTime", "publish_time"),
        ("HTTPServerURL", "http_server_url"),
        ("user-id", "user_id"),
        ("__op", "op"),
        ("a.b c", "a_b_c"),
        ("标题", "标题"),
        ("ＩＤ", "id"),
        ("😀", ""),
        ("m²", "m2"),
        ("𠮷", ""),
    ],
)
def test_names_are_in_snake_case_with_letters_of_every_script(text: str, expected: str) -> None:
    assert snake_case(text) == expected


def test_fields_that_would_be_one_column_get_two_and_each_reads_its_own() -> None:
    message = {"userId": 1, "user_id": 2, "USER_ID": 3, "user": {"id": 4}, "a.b": 5, "a": {"b": 6}, "": 7, "_": 8}
    proposal = propose(*times(3, message))
    assert {name: column.path for name, column in columns(proposal).items()} == {
        "user_id": ("userId",),
        "user_id_2": ("user_id",),
        "user_id_3": ("USER_ID",),
        "user_id_4": ("user", "id"),
        "a_b": ("a.b",),
        "a_b_2": ("a", "b"),
        "field_": ("",),
        "field_2": ("_",),
    }
    assert proposal.rows["things"][0] == {name: number for number, name in enumerate(columns(proposal), start=1)}


@pytest.mark.parametrize(
    "name",
    [
        "select",
        "order",
        "desc",
        "user",
        "rank",
        "groups",
        "class",
        "from",
        "metadata",
        "registry",
        "order_by",
        "field",
        "dt",
        "str",
    ],
)
def test_words_that_sql_python_or_a_model_keeps_get_an_underscore(name: str) -> None:
    proposal = propose(*times(3, {name: "x"}))
    assert declared(proposal)[f"{name}_"].endswith(f'path="{name}")')
    assert proposal.outcomes.rows == {"things": 3}


def test_a_column_may_be_called_as_the_types_of_dates_are() -> None:
    proposal = propose(*times(120, {"date": "2024-05-01", "time": "2024-05-01T10:00:00Z", "datetime": "2024-05-01"}))
    assert list(columns(proposal)) == ["date", "time", "datetime"]


def test_long_names_are_cut_to_what_every_database_takes_and_still_differ() -> None:
    proposal = propose(*times(3, {"x" * 200: 1, "x" * 201: 2, "题" * 100: 3}))
    names = list(columns(proposal))
    assert len(set(names)) == 3
    assert all(len(name.encode()) <= 63 for name in names)


def test_a_name_begins_with_no_digit() -> None:
    assert Names().column(("3d",)) == "field_3d"
    assert class_name("3d", set()) == "Message3d"


def test_classes_do_not_hide_what_the_module_imports() -> None:
    taken: set[str] = set()
    assert [class_name(text, taken) for text in ("text", "order line", "Stream", "标题", "标题", "none")] == [
        "TextRow",
        "OrderLine",
        "StreamRow",
        "Message",
        "Message2",
        "NoneRow",
    ]


def test_tables_of_several_types_begin_with_the_streams_name() -> None:
    assert table_name("order", None, set()) == "order_"
    taken: set[str] = set()
    assert [table_name("shop", name, taken) for name in ("order", "Order", "shopLine", "shop", "资讯", "😀")] == [
        "shop_order",
        "shop_order_2",
        "shop_line",
        "shop",
        "shop_资讯",
        "shop_2",
    ]
