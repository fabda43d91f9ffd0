"""One alert when a state begins, one when it ends; nobody gets to see the webhook's URL."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from kafka_ingest.checks.alerting import Reading, over_limit, tell_changes
from kafka_ingest.checks.webhook import WebhookFailed, post
from kafka_ingest.errors import ConfigError
from kafka_ingest.settings import MonitoringSettings
from kafka_ingest_tests.support.hook import Hook


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook()
    yield found
    found.close()


def reading(bad: bool, name: str = "lag:s") -> Reading:
    return Reading(name, bad, "text", {"value": 1})


def tell(firing: set[str], *readings: Reading, fails: bool = False) -> tuple[list[Any], int]:
    sent: list[Any] = []

    def send(document: Mapping[str, object]) -> None:
        if fails:
            raise WebhookFailed("down")
        sent.append((document["alert"], document["state"]))

    done, _ = tell_changes(firing, readings, send)
    return sent, done


def test_a_state_is_told_when_it_begins_and_when_it_ends_and_not_in_between() -> None:
    firing: set[str] = set()
    assert tell(firing, reading(False)) == ([], 1)
    assert tell(firing, reading(True)) == ([("lag:s", "firing")], 1)
    assert tell(firing, reading(True)) == ([], 1)
    assert tell(firing, reading(False)) == ([("lag:s", "resolved")], 1)


def test_a_failure_and_a_success_within_one_look_are_both_told() -> None:
    assert tell(set(), reading(True), reading(False))[0] == [("lag:s", "firing"), ("lag:s", "resolved")]


def test_what_could_not_be_sent_is_sent_at_the_next_look() -> None:
    firing: set[str] = set()
    assert tell(firing, reading(False, "a"), reading(True), reading(True, "b"), fails=True) == ([], 1)
    assert firing == set()
    assert tell(firing, reading(True), reading(True, "b"))[0] == [("lag:s", "firing"), ("b", "firing")]


def test_a_limit_has_to_be_left_clearly_before_the_alert_ends() -> None:
    assert [over_limit(v, 100, was_over=False) for v in (100, 101)] == [False, True]
    assert [over_limit(v, 100, was_over=True) for v in (80, 81, 100)] == [False, True, True]
    assert [over_limit(v, 0, was_over=w) for v, w in ((0, True), (1, False))] == [False, True]


def test_a_document_reaches_the_webhook_as_json(hook: Hook) -> None:
    post(hook.url, reading(True).document())
    assert hook.got == [{"alert": "lag:s", "state": "firing", "text": "FIRING: text", "value": 1}]


def no_url(error: BaseException, hook_url: str) -> None:
    shown = "".join(traceback.format_exception(error))
    assert "s3cret" not in shown
    assert hook_url not in shown
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize(("code", "said"), [(500, "HTTP 500"), (404, "HTTP 404"), (302, "HTTP 302")])
def test_an_answer_that_is_no_success_fails_without_the_url_and_redirects_are_not_followed(
    hook: Hook, code: int, said: str
) -> None:
    hook.answers = [code]
    with pytest.raises(WebhookFailed, match=said) as caught:
        post(hook.url, {})
    no_url(caught.value, hook.url)
    assert hook.paths == ["/hook/s3cret-t0ken"]


def test_a_slow_webhook_is_given_up_after_its_deadline(hook: Hook) -> None:
    hook.delay_seconds = 1.0
    started = time.monotonic()
    with pytest.raises(WebhookFailed, match="TimeoutError") as caught:
        post(hook.url, {}, timeout_seconds=0.2)
    assert time.monotonic() - started < 0.9
    no_url(caught.value, hook.url)


def test_a_webhook_nobody_listens_at_fails_without_the_url(hook: Hook) -> None:
    url = "http://127.0.0.1:1/hook/s3cret-t0ken"
    with pytest.raises(WebhookFailed, match="ConnectionRefusedError") as caught:
        post(url, {})
    no_url(caught.value, url)


@pytest.mark.parametrize(
    "text", ["s3cret", "ftp://h/s3cret", "https:///s3cret", "http://h/s3 cret", "http://h:x/s3cret"]
)
def test_a_webhook_that_is_no_url_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MonitoringSettings.from_environment({"KAFKA_INGEST_ALERT_WEBHOOK": text})
    assert "s3" not in "".join(traceback.format_exception(caught.value)).replace("test_alerting", "")


def test_operations_are_read_from_the_environment_and_hide_the_webhook() -> None:
    assert MonitoringSettings.from_environment({}).retention_days == 14
    found = MonitoringSettings.from_environment(
        {
            "KAFKA_INGEST_ALERT_WEBHOOK": "https://h/s3cret",
            "KAFKA_INGEST_ALERT_LAG": "1000",
            "KAFKA_INGEST_ALERT_DEAD_LETTERS": "0",
            "KAFKA_INGEST_RETENTION_DAYS": "0",
            "KAFKA_INGEST_DAGSTER_URL": "http://ui:3000/",
        }
    )
    assert (found.alert_lag, found.alert_dead_letters, found.retention_days) == (1000, 0, 0)
    assert found.run_link("r") == "http://ui:3000/runs/r"
    assert "s3cret" not in repr(found)
    with pytest.raises(ConfigError, match="KAFKA_INGEST_ALERT_LAG='-1'"):
        MonitoringSettings.from_environment({"KAFKA_INGEST_ALERT_LAG": "-1"})
    for days in ("36501", "9" * 5_000):
        with pytest.raises(ConfigError, match=r"RETENTION_DAYS='[0-9]+' is not a whole number from 0 to 36500"):
            MonitoringSettings.from_environment({"KAFKA_INGEST_RETENTION_DAYS": days})
