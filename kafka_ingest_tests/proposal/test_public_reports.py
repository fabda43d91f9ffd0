"""What people have reported of other tools that infer schemas, as samples: each comes out as it should have there."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_ingest.pipelines.decode import no_schemas
from kafka_ingest.proposal.trial import outcomes_of, run_sample
from kafka_ingest_tests.support.proposing import columns, declared, kind, propose, proposing, sample_of, times


def first_row(proposal: Any) -> dict[str, Any]:
    return dict(proposal.rows["things"][0])


@pytest.mark.parametrize(
    "digits", ["202101010000000003", "72057594038135102", "1344900117571260918", "111111111111111111"]
)
def test_long_numbers_in_texts_keep_every_digit(digits: str) -> None:
    """pandas-dev/pandas#44684, #33766, #40992, #24249: read through a float."""
    proposal = propose(*times(3, {"uuid": digits}))
    assert first_row(proposal) == {"uuid": digits}


def test_a_long_id_is_no_date_and_keeps_its_digits() -> None:
    """triggerdotdev/jsonhero-web#144, jeroen/jsonlite#405."""
    proposal = propose(*times(120, {"id": 1_610_521_604_143_693_812, "id2": 1_573_334_441_849_667_584}))
    assert first_row(proposal) == {"id": 1_610_521_604_143_693_812, "id2": 1_573_334_441_849_667_584}


@pytest.mark.parametrize("texts", [["02134", "00501"], ["000123", "123"], ["0", "007"]])
def test_leading_zeros_are_kept(texts: list[str]) -> None:
    """apache/spark#55884, databricks/spark-xml#239, wireservice/csvkit#977, nao1215/filesql#149."""
    proposal = propose(*times(120, code=texts))
    assert kind(proposal, "code").startswith("String(")
    assert first_row(proposal) == {"code": texts[0]}


@pytest.mark.parametrize(
    "bodies",
    [
        [b'{"a":0}', b'{"a":0.1}'],
        [b'{"a":0.1}', b'{"a":0}'],
        [b'{"a": 1.000}', b'{"a": 2.5}', b'{"a": 3.562}'],
        [b'{"a": 456}'] * 999 + [b'{"a": 456.2}'],
    ],
)
def test_the_first_rows_do_not_decide_whether_a_number_has_decimals(bodies: list[bytes]) -> None:
    """saulpw/visidata#2131, perspective-dev/perspective#13, frictionlessdata/tableschema-py#209, ClickHouse#53384,
    metabase/metabase#38958: integers first, or all but one."""
    proposal = propose(*bodies)
    assert kind(proposal, "a").startswith("Numeric(")
    assert proposal.outcomes.dead == 0


def test_a_text_that_comes_after_the_sample_is_a_dead_letter_and_not_another_number() -> None:
    """ClickHouse/ClickHouse#120634: "007", first seen behind the sample, was read as 7, and "" as 0."""
    with proposing(*times(120, {"a": 1})) as (proposal, stream):
        assert kind(proposal, "a") == "Integer"
        later = sample_of({"a": "007"}, {"a": ""}, {"a": 2})
        outcomes = outcomes_of(run_sample(stream, later.raw, no_schemas))
    assert (outcomes.rows, outcomes.dead) == ({"things": 1}, 2)


def test_a_name_alone_makes_no_date_and_a_column_has_one_reading() -> None:
    """airbytehq/PyAirbyte#1153, pandas-dev/pandas#39430: columns called date, …_at or …_time became timestamps, or not, by what
    a batch contained."""
    proposal = propose(*times(120, {"end_time": 3, "score_at": 0.5, "date": "none", "plain": 1_788_528_600_000}))
    assert {name: kind(proposal, name) for name in columns(proposal)} == {
        "end_time": "Integer",
        "score_at": "Numeric(16, 2)",
        "date": "String(16)",
        "plain": "BigInteger",
    }


def test_a_day_is_a_day_and_an_instant_an_instant() -> None:
    """databricks/spark-csv#421: a day as a timestamp; UrbanOS-Public/smartcitiesdata#976: a timestamp as a day;
    databricks/spark-csv#130: a timestamp as a text."""
    proposal = propose(*times(120, {"day": "2017-03-29", "at": "2015-08-20 12:30:15"}))
    assert declared(proposal) == {"day": "date_field(Date)", "at": "date_field()"}


def test_a_day_with_a_year_of_two_digits_is_not_guessed() -> None:
    """slothflowlabs/duckle#3: dd/mm/yy was read as yy/mm/dd."""
    unclear = propose(*times(120, day=["05/06/07", "06/07/08"]))
    assert kind(unclear, "day") == "String(16)"
    assert "formats=['%d/%m/%y'] or formats=['%m/%d/%y']" in columns(unclear)["day"].all_notes[0]
    clear = propose(*times(120, day=["31/12/99", "25/12/98"]))
    assert declared(clear)["day"] == 'date_field(Date, formats=["%d/%m/%y"])'


def test_names_that_differ_by_case_or_blanks_only_get_columns_of_their_own() -> None:
    """airbytehq/airbyte#9317, #70438 (one was always NULL), datamill-co/target-postgres#51."""
    message = {"User Id": 1, "user_id": 2, "User id": 3, "userId": 4, "Aa": 5, "aA": 6}
    proposal = propose(*times(120, message))
    assert sorted(first_row(proposal).values()) == [1, 2, 3, 4, 5, 6]
    names = [name.lower() for name in columns(proposal)]
    assert len(set(names)) == 6


def test_a_text_has_a_length_with_room() -> None:
    """meltano/sdk#368: no length, which MySQL refuses; cap-js/change-tracking#155: 255 for everything, which was too short."""
    proposal = propose(*times(120, short=["abc"], long_text=["x" * 300]))
    assert (kind(proposal, "short"), kind(proposal, "long_text")) == ("String(16)", "String(1000)")


def test_dates_before_1970_are_not_made_up() -> None:
    """pandas-dev/pandas#20737: milliseconds of 1900 and 2000, of which no digit says so."""
    proposal = propose(*times(120, Time=[-2_208_988_800_000, 946_684_800_000]))
    assert kind(proposal, "time") == "BigInteger"
