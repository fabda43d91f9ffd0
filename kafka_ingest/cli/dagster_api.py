"""The running Dagster, asked over GraphQL: which job, launch, follow. Standard library only; every request has a deadline."""

from __future__ import annotations

import ipaddress
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kafka_ingest.errors import ConfigError, PermanentError, RetryableError

DEFAULT_URL = "http://127.0.0.1:3000"
REQUEST_SECONDS = 30.0
# While a run is followed, Dagster may be restarted.
AWAY_SECONDS = 60.0
_POLL_SECONDS = 0.5
ENDED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})

_JOBS = "{ repositoriesOrError { __typename ... on RepositoryConnection { nodes { name location { name } jobs { name } } } } }"
_LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on Error { message }
    ... on RunConfigValidationInvalid { errors { message } } } }"""
_FIRST_WINDOW = """query ($job: PipelineSelector!) { pipelineOrError(params: $job) { ... on Pipeline {
    partitionKeysOrError(limit: 1) { partitionKeys } } } }"""
_RUN = """query ($run: ID!) { runOrError(runId: $run) { __typename ... on Run { status startTime endTime
    tags { key value } } } }"""
_RESULT = """query ($run: ID!) { runOrError(runId: $run) { ... on Run { assetMaterializations {
    assetKey { path } partition metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }"""
_FAILURES = """query ($run: ID!, $cursor: String) { logsForRun(runId: $run, afterCursor: $cursor, limit: 1000) {
    ... on EventConnection { cursor hasMore events { __typename
    ... on ExecutionStepFailureEvent { stepKey error { message cause { message } }
        failureMetadata { description } }
    ... on RunFailureEvent { message error { message } } ... on RunCanceledEvent { message } } } } }"""


class DagsterUnavailable(RetryableError):
    """No Dagster answers at the URL."""


@dataclass(frozen=True, slots=True)
class RunLook:
    """One look at a run. Times are seconds since the epoch."""

    status: str
    tags: Mapping[str, str]
    started: float | None
    ended: float | None

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, in whatever way."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class RunNumbers:
    """A run's own numbers, by asset (its last name) and label, and the windows it has materialized."""

    numbers: Mapping[str, Mapping[str, int]]
    windows: tuple[str, ...]


class DagsterApi:
    """One Dagster. Raises DagsterUnavailable where none answers, ConfigError and PermanentError where it refuses."""

    def __init__(self, url: str, *, timeout_seconds: float = REQUEST_SECONDS) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(
                f"--url is {url!r}; it must begin with http:// or https://, such as {DEFAULT_URL}", setting="--url"
            )
        self._url = url.rstrip("/").removesuffix("/graphql")
        self._timeout = timeout_seconds
        # A proxy of the user's has no business with this machine.
        proxies = [urllib.request.ProxyHandler({})] if _is_this_machine(self._url) else []
        self._opener = urllib.request.build_opener(*proxies)

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """One request's `data`."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}/graphql", body, headers)  # noqa: S310  http or https, see above
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            # Dagster answers a query it does not understand with 400 and the reasons.
            with error:
                reason = _reason(error)
            raise PermanentError(f"{self._url} answered {error.code}: {reason}. Is it a Dagster?") from error
        except (urllib.error.URLError, OSError) as error:
            why = error.reason if isinstance(error, urllib.error.URLError) else error
            raise DagsterUnavailable(
                f"no Dagster answers at {self._url} ({why}). Start it with `dagster dev`, or name another with --url."
            ) from error
        except ValueError as error:
            raise PermanentError(f"{self._url} answered with something that is no JSON. Is it a Dagster?") from error
        if found.get("errors"):
            raise PermanentError(f"Dagster refused a request: {found['errors'][0].get('message')}")
        data: dict[str, Any] = found["data"]
        return data

    def first_window(self, job: str) -> str | None:
        """Key of the first window that a job may be launched for; None where it has none."""
        known = self._selector(job)
        selector = {"pipelineName": known.pop("jobName"), **known}
        keys = self.ask(_FIRST_WINDOW, job=selector)["pipelineOrError"]["partitionKeysOrError"]["partitionKeys"]
        return str(keys[0]) if keys else None

    def launch(self, job: str, config: Mapping[str, object], tags: Mapping[str, str]) -> str:
        """Launch a run of a job; its id."""
        params = {
            "selector": self._selector(job),
            "runConfigData": config,
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in tags.items()]},
        }
        answer = self.ask(_LAUNCH, params=params)["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            errors = "; ".join(e["message"] for e in answer.get("errors", ())) or answer.get("message")
            raise ConfigError(f"Dagster did not launch {job}: {errors or answer['__typename']}")
        return str(answer["run"]["runId"])

    def _selector(self, job: str) -> dict[str, str]:
        nodes = self.ask(_JOBS)["repositoriesOrError"].get("nodes", [])
        for node in nodes:
            if any(each["name"] == job for each in node["jobs"]):
                return {
                    "repositoryName": node["name"],
                    "repositoryLocationName": node["location"]["name"],
                    "jobName": job,
                }
        raise ConfigError(
            f"the Dagster at {self._url} has no job {job}. Is its code location loaded, and are KAFKA_INGEST_STREAMS the same "
            "there?"
        )

    def run(self, run_id: str) -> RunLook:
        """How a run stands."""
        found = self.ask(_RUN, run=run_id)["runOrError"]
        if found["__typename"] != "Run":
            raise PermanentError(f"the Dagster at {self._url} no longer knows run {run_id}")
        tags = {t["key"]: t["value"] for t in found["tags"]}
        return RunLook(found["status"], tags, found["startTime"], found["endTime"])

    def follow(self, run_id: str, on_look: Callable[[RunLook], None]) -> RunLook:
        """Look twice a second until the run is over. A Dagster that is away is waited for, a minute at most."""
        away_since: float | None = None
        while True:
            try:
                look = self.run(run_id)
                away_since = None
            except DagsterUnavailable:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > AWAY_SECONDS:
                    raise
            else:
                on_look(look)
                if look.is_over:
                    return look
            time.sleep(_POLL_SECONDS)

    def loaded(self, run_id: str) -> RunNumbers:
        """What the run said it did, in the last materialization of each asset."""
        found = self.ask(_RESULT, run=run_id)["runOrError"]["assetMaterializations"]
        numbers: dict[str, dict[str, int]] = {}
        for each in found:  # oldest first
            entries = {e["label"]: e["intValue"] for e in each["metadataEntries"] if e.get("intValue") is not None}
            numbers[each["assetKey"]["path"][-1]] = entries
        return RunNumbers(numbers, tuple(sorted({each["partition"] for each in found if each["partition"]})))

    def failure(self, run_id: str) -> str:
        """The first failed step's own words."""
        cursor, run_error = None, None
        while True:
            page = self.ask(_FAILURES, run=run_id, cursor=cursor)["logsForRun"]
            for event in page["events"]:
                if event["__typename"] == "ExecutionStepFailureEvent":
                    return _words(event)
                if event["__typename"] in ("RunFailureEvent", "RunCanceledEvent"):
                    run_error = (event.get("error") or {}).get("message") or event["message"]
            if not page["hasMore"]:
                return str(run_error or "no step says why; see the run in the UI").strip()
            cursor = page["cursor"]

    def link(self, run_id: str) -> str:
        """The run's page in the UI."""
        return f"{self._url}/runs/{run_id}"


def _is_this_machine(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _words(event: Mapping[str, Any]) -> str:
    described = (event.get("failureMetadata") or {}).get("description")
    if described:
        return str(described)
    error = event["error"] or {}
    deepest = error.get("cause") or error
    return f"{event['stepKey']}: {str(deepest.get('message')).strip()}"


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        body = json.loads(error.read(10_000))
        return str(body["errors"][0]["message"])
    except (ValueError, KeyError, IndexError, TypeError, OSError):
        return str(error.reason)
