"""The forms of feeds, of programming languages and of change-data capture, public bug reports among them."""

from __future__ import annotations

import pytest

from kafka_ingest.dates import DateRule
from kafka_ingest.errors import ConfigError
from kafka_ingest_tests.support.dates import EAST, HALF, MICRO, NOON, SECOND, read

MILLI = "2024-05-01T12:30:15.123000"

READ: list[tuple[object, str]] = [
    # RFC 822 and 850: alexdebril/feed-io 402, nextcloud/news-android 1461, kurtmckee/feedparser 114 and 33 (read there as the
    # years 22, 300 and 200)
    ("Thu, 02 Jun 22 07:46:24 +0000", "2022-06-02T07:46:24"),
    ("Mon, 19 Aug 24 17:42:08 +0200", "2024-08-19T15:42:08"),
    ("Fri, 22 Sep 17 22:05:03 +0300", "2017-09-22T19:05:03"),
    ("Thu, 03 Sep 15 00:01:01 +0200", "2015-09-02T22:01:01"),
    ("1 May 24 12:30 GMT", HALF),
    ("Wed, 01 May 24 07:30:15 EST", SECOND),
    ("Wed, 01 May 49 12:30:15 Z", "2049-05-01T12:30:15"),
    ("Thu, 01 May 69 12:30:15 Z", "1969-05-01T12:30:15"),
    ("Wednesday, 01-May-24 12:30:15 GMT", SECOND),
    ("Wed, 01-May-2024 12:30:15 GMT", SECOND),
    ("Wed, 01 May 2024 07:30:15 EST", SECOND),
    ("Wed, 01 May 2024 08:30:15 EDT", SECOND),
    ("Wed, 01 May 2024 05:30:15 MST", SECOND),
    ("Wed, 01 May 2024 06:30:15 mdt", SECOND),
    ("Wed, 01 May 2024 04:30:15 PST", SECOND),
    ("Wed, 01 May 2024 05:30:15 PDT", SECOND),
    # Ranchero-Software/NetNewsWire 2109, rometools/rome 395
    ("Mon, May 25 2020 04:45:26 +0000", "2020-05-25T04:45:26"),
    ("Tue, 18 Sept 2018 15:53:56 +0300", "2018-09-18T12:53:56"),
    # araddon/dateparse 158: the offset behind UTC was passed over
    ("Mon, 1 Dec 2008 14:48:22 GMT-07:00", "2008-12-01T21:48:22"),
    ("Mon, 1 Dec 2008 14:48:22 UTC-07:00", "2008-12-01T21:48:22"),
    # Twitter, asctime, date(1), systemd
    ("Wed Oct 10 20:19:24 +0000 2018", "2018-10-10T20:19:24"),
    ("Wed Oct 10 20:19:24 -0530 2018", "2018-10-11T01:49:24"),
    ("Wed May  1 12:30:15 2024", SECOND),
    ("May 1 12:30:15.123 2024", MILLI),
    ("Wed May  1 12:30:15 UTC 2024", SECOND),
    ("Wed May  1 12:30:15 PM UTC 2024", SECOND),
    ("Wed May  1 12:30:15 UT 2024", SECOND),
    ("Wed 2024-05-01 12:30:15 UTC", SECOND),
    # Java's Date, ZonedDateTime; log4j and SQL Server have a colon before the milliseconds
    ("Wed May 01 08:30:15 EDT 2024", SECOND),
    ("Wed May 01 20:30:15 GMT+08:00 2024", SECOND),
    ("2024-05-01T20:30:15+08:00[Asia/Shanghai]", SECOND),
    ("2024-05-01T12:30:15.123456789Z[UTC]", MICRO),
    ("2024-05-01T08:30:15-04:00[America/North_Dakota/New_Salem]", SECOND),
    ("2024-05-01T20:30+08:00[GMT+08:00]", HALF),
    ("2024-05-01 12:30:15:123", MILLI),
    ("2024/05/01 20:30:15:123 +0800", MILLI),
    ("05/01/2024 12:30:15:123 PM", MILLI),
    # JavaScript's Date, toLocaleString (date-fns/date-fns 3348: a narrow no-break space) and Temporal
    ("Wed May 01 2024 20:30:15 GMT+0800 (China Standard Time)", SECOND),
    ("Wed May 01 2024 20:30:15 GMT+0800 (中国标准时间)", SECOND),
    ("Wed May 01 2024 08:30:15 GMT-0400 (EDT)", SECOND),
    ("5/1/2024, 12:30:15\u202fPM", SECOND),
    ("2024-05-01T20:30:15+08:00[Asia/Shanghai][u-ca=iso8601]", SECOND),
    # ASP.NET: the offset says where it was written (moment/moment 2879, 3291)
    ("/Date(1714566615123)/", MILLI),
    ("/Date(1714566615123+0800)/", MILLI),
    ("/Date(1198908717056-0700)/", "2007-12-29T06:11:57.056000"),
    ("/Date(0)/", "1970-01-01T00:00:00"),
    ("/Date(-1)/", "1969-12-31T23:59:59.999000"),
    ("/Date(253402300799999)/", "9999-12-31T23:59:59.999000"),
    # Go: golang/go 17253, 11712 and 58510, araddon/dateparse 57 and 64
    ("2024-05-01 12:30:00 +0000 UTC", HALF),
    ("2016-09-27 16:53:03.13465009 +0000 UTC", "2016-09-27T16:53:03.134650"),
    ("2015-07-13 12:13:14 +0000 +0000", "2015-07-13T12:13:14"),
    ("2018-06-29 19:09:57.77297118 +0300 +03", "2018-06-29T16:09:57.772971"),
    ("2009-11-10 23:00:00 +0000 UTC m=+0.000000001", "2009-11-10T23:00:00"),
    ("2024-05-01 20:30:15 +0800 CST m=-12.5", SECOND),
    # GMT+8
    ("2024-05-01 20:30:15 GMT+8", SECOND),
    ("2024-05-01 20:30:15 UTC+08:00", SECOND),
    ("2024-05-01 20:30:15GMT+0800", SECOND),
    ("2024-05-01 18:00:15 UTC+530", SECOND),
    ("2024年5月1日 20:30:15 GMT+8", SECOND),
    # Debezium's isostring mode, and xs:date
    ("2024-05-01Z", NOON),
    ("2024-05-01+08:00", "2024-04-30T16:00:00"),
    # Chinese: scrapinghub/dateparser 808 and 232, moment/moment 3987 and 649
    ("2020/10/9 下午 02:26:26", "2020-10-09T14:26:26"),
    ("2016年9月14日晚8：00", "2016-09-14T20:00:00"),
    ("2015年8月3日星期一晚上6点06分", "2015-08-03T18:06:00"),
    ("2013-10-08 1:00下午", "2013-10-08T13:00:00"),
    ("2024-05-01上午9:30", "2024-05-01T09:30:00"),
    ("2024/5/1 凌晨12:05", "2024-05-01T00:05:00"),
    ("2024/5/1 凌晨3:05", "2024-05-01T03:05:00"),
    ("2024.05.01 早上8:30", "2024-05-01T08:30:00"),
    ("2024-05-01 中午12:30", HALF),
    ("2024-05-01 中午1点", "2024-05-01T13:00:00"),
    ("2024-05-01 傍晚6:30", "2024-05-01T18:30:00"),
    ("2024-05-01 晚11:59", "2024-05-01T23:59:00"),
    ("2024年 05月 01日 星期三 20:30:15 UTC+8", SECOND),
    ("2024年5月1日 周三 12:30:15", SECOND),
    ("星期三, 2024-05-01 12:30:15", SECOND),
    ("2024-05-01 12:30:15 週三", SECOND),
    ("2024-05-01(三)12:30:15", SECOND),
    ("2024-05-01 禮拜三", NOON),
    ("2024年5月1日星期日", NOON),
    # Japanese
    ("2024年5月1日（水）12:30", HALF),
    ("2024年5月1日(水曜日) 午後0時30分", HALF),
    ("2024/05/01(水) 12:30:15", SECOND),
    ("2024年5月1日水曜日 午前9:30", "2024-05-01T09:30:00"),
    ("2024年5月1日(日)", NOON),
    # no-break and full-width
    ("2024-05-01\u00a012:30:15", SECOND),
    ("２０２４／０５／０１\u3000１２：３０：１５", SECOND),
    ("１７１４５６６６１５", SECOND),
    # Jackson's LocalDate and LocalDateTime
    ([2024, 5, 1], NOON),
    ([2024, 5, 1, 12, 30], HALF),
    ([2024, 5, 1, 12, 30, 15], SECOND),
    ([2024, 5, 1, 12, 30, 15, 123456789], MICRO),
    ([2024, 5, 1, 12, 30, 15, 0], SECOND),
    ([2024, 5, 1, 12, 30, 15, 1000], "2024-05-01T12:30:15.000001"),
]


@pytest.mark.parametrize(("value", "instant"), READ, ids=[repr(value) for value, _ in READ])
def test_a_form_of_feeds_is_read(value: object, instant: str) -> None:
    assert read(value) == instant


@pytest.mark.parametrize(
    "text",
    [
        "Wed May 01 20:30:15 CST 2024",
        "Wed, 01 May 2024 20:30:15 CST",
        "Wed, 01 May 24 20:30:15 CST",
        "2024-05-01 20:30:15 CST",
        "2024-05-01T20:30:15cst",
        "2024/05/01 08:30:15 PM CST",
        "May 1, 2024 8:30:15 PM CST",
        "20240501 20:30:15 CST",
        "2024年 05月 01日 星期三 20:30:15 CST",  # date(1) in Chinese
        "Wed Sep 16 11:26:23 CST 2009",  # chinabugotech/hutool 570
    ],
)
def test_what_an_abbreviation_means_is_said_by_the_column_and_never_guessed(text: str) -> None:
    error = read(text)
    assert "has the zone CST, of which the column has to say what it means: zones={'CST': …}" in error
    china, chicago = (DateRule(zones=(("CST", place),)) for place in ("Asia/Shanghai", "America/Chicago"))
    as_china = read(text, china)
    if "2009" not in text:
        assert as_china == SECOND
        assert read(text, chicago) == "2024-05-02T02:30:15"
    assert read(text, DateRule(zones=(("cst", "+08:00"),), timezone="America/New_York")) == as_china


@pytest.mark.parametrize("name", ["CST", "CDT", "IST", "BST", "AST", "CET", "EEST", "JST", "MSK", "XX", "AEST", "HKT"])
def test_every_abbreviation_that_is_not_known_is_named_in_the_error(name: str) -> None:
    for text in (f"2024-05-01 12:30:15 {name}", f"Wed May 01 12:30:15 {name.lower()} 2024", f"1 May 24 12:30 {name}"):
        assert f"has the zone {name}, of which" in read(text)
        assert read(text, DateRule(zones=((name, "+05:30"),))).startswith("2024-05-01T07:00")


def test_a_columns_own_meaning_comes_before_the_built_in_one() -> None:
    assert read("2024-05-01 20:30:15 PST", DateRule(zones=(("PST", "Asia/Manila"),))) == SECOND


@pytest.mark.parametrize(
    ("name", "place", "instant"),
    [
        ("CST", "Asia/Shanghai", "2024-05-01T04:30:15"),
        ("CST", "America/Chicago", "2024-05-01T18:30:15"),  # in summer too: it says standard time
        ("CDT", "America/Chicago", "2024-05-01T17:30:15"),
        ("CDT", "America/Havana", "2024-05-01T16:30:15"),
        ("IST", "Asia/Kolkata", "2024-05-01T07:00:15"),
        ("IST", "Europe/Dublin", "2024-05-01T11:30:15"),
        ("IST", "Asia/Jerusalem", "2024-05-01T10:30:15"),
        ("BST", "Europe/London", "2024-05-01T11:30:15"),
        ("EEST", "Europe/Kiev", "2024-05-01T09:30:15"),  # elastic/logstash 2097
        ("CET", "Europe/Paris", "2024-05-01T11:30:15"),  # elastic/logstash 2784
    ],
)
def test_a_zone_gives_the_offset_for_which_it_uses_the_name(name: str, place: str, instant: str) -> None:
    assert read(f"2024-05-01 12:30:15 {name}", DateRule(zones=((name, place),))) == instant


@pytest.mark.parametrize(
    ("name", "place", "why"),
    [
        ("CST", "Europe/Paris", "is not used there, but CET, CEST"),
        ("MSK", "Europe/Moscow", "has meant 2 offsets there: give the offset"),
        ("CST", "Asia/Beijing", "which is neither an offset such as .* nor a known IANA zone"),
    ],
)
def test_a_zone_that_does_not_say_the_offset_is_refused_when_the_rule_is_made(name: str, place: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        DateRule(zones=((name, place),))


def test_a_format_may_have_an_abbreviation() -> None:
    rule = DateRule(formats=("%d|%m|%Y %H:%M:%S %Z",), zones=(("CST", "+08:00"),))
    assert read("01|05|2024 20:30:15 CST", rule) == SECOND
    assert read("01|05|2024 08:30:15 EDT", rule) == SECOND
    assert "has the zone IST" in read("01|05|2024 20:30:15 IST", rule)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        # two readings
        ("12 Jul 14", "is not in a form that is read"),  # emacs-elfeed/elfeed 99: 2014, or the 14th of 2012
        ("12 Jul 14 10:00", "is not in a form that is read"),
        *((f"Wed, 01 May {year} 12:30:15 GMT", "has a year from 50 to 68") for year in (50, 55, 68)),
        ("2024-05-01 晚上12:00", "does not exist"),
        ("2024-05-01 晚1:00", "does not exist"),
        ("2024年5月1日 午後12時", "does not exist"),
        ("2024年5月1日 午前12:00", "does not exist"),
        ("2024-05-01 下午 1:30 下午", "does not exist"),
        ("2024-05-01 下午 1:30 PM", "does not exist"),
        ("2024-05-01 下午13:30", "does not exist"),
        ([2024, 5, 1, 12, 30, 15, 123], "say which with unit='ns' or unit='ms'"),
        ("2024-05-01T12:30:15[Asia/Shanghai]", "is not in a form that is read"),  # a zone we would have to pass over
        ("2024-05-01 12:30:15 (PST)", "is not in a form that is read"),
        ("2024-05-01 01:30:00 +0800 PM", "is not in a form that is read"),
        ("03/03/15 19:24:37:839 CET", "is not in a form that is read"),  # elastic/logstash 2784
        # no date
        ("/Date(abc)/", "is not in a form that is read"),
        ("/Data(1714566615123)/", "does not exist"),
        ("2024-05-01 12:30:15:1234", "is not in a form that is read"),
        ("2024-05-01 12:30:15 MST+8", "does not exist"),
        ("2024-05-01 12:30:15 GMT+24", "does not exist"),
        ("2024-05-01 12:30:15 A", "does not exist"),
        ("2009-11-10 23:00:00 +0000 UTC x=+0.1", "does not exist"),
        ("Foo May 01 12:30:15 2024", "does not exist"),
        *(
            ([2024, 13, 1], "does not exist"),
            ([2024, 5, 1, 24, 0], "does not exist"),
            ([2024, 2, 30], "does not exist"),
        ),
        ([2024, 5, 1, 12, 30, 60], "does not exist"),
        ([2024, 5, 1, 12, 30, 15, 10**9], "is neither text nor a number"),
        *((value, "is neither text nor a number") for value in ([], [2024], [2024, 5], [12, 30, 0, 0], [2024.0, 5, 1])),
        *(
            (value, "is neither text nor a number")
            for value in ([2024, 5, True], ["2024", 5, 1], [[2024, 5, 1]], [-1, 5, 1])
        ),
    ],
    ids=repr,
)
def test_what_can_be_read_in_two_ways_is_refused(value: object, why: str) -> None:
    assert why in read(value)


def test_the_seventh_number_of_an_array_is_nanoseconds_or_what_the_unit_says() -> None:
    parts = [2024, 5, 1, 12, 30, 15, 123]
    assert read(parts, DateRule(unit="ms")) == MILLI
    assert read(parts, DateRule(unit="ns")) == SECOND
    assert "does not exist" in read([2024, 5, 1, 12, 30, 15, 1000], DateRule(unit="ms"))


def test_an_array_is_a_wall_clock_in_the_columns_zone() -> None:
    assert read([2024, 5, 1, 12, 30, 15], DateRule(timezone="Asia/Shanghai")) == EAST
