"""Five secrets, a real `dagster dev` that succeeds and fails with them, and a search through all it wrote."""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation, NewTopic, ResourceType

from kafka_ingest.cli.dagster_api import DagsterApi
from kafka_ingest_tests.e2e.check import ledger_total
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.streams import environment
from kafka_ingest_tests.security.leaks import everything, forms, leaks
from kafka_ingest_tests.security.secure_database import SecureDatabase
from kafka_ingest_tests.security.secure_kafka import SecureKafka

pytestmark = pytest.mark.services

SECRETS = {
    "sasl.password": "Sasl/p@ss:w%rd+é",
    "ssl.key.password": "Key&p@ss=w?rd#1",
    "database password": "Db:p@ss/w%rd&'2",
    "database key password": "DbKey+p@ss w/rd",
    "webhook": "tok-3f9ac17e55d0",
}
PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "INDEX", "CREATE TEMPORARY TABLES")
_TRIES = """query ($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events { __typename } } } }"""
_TICKS = """{ repositoriesOrError { ... on RepositoryConnection { nodes { sensors { sensorState {
    ticks(limit: 20) { skipReason error { message } } } } } } } }"""


@dataclass
class Secured:
    dagster: DagsterDev
    environ: dict[str, str]
    database: SecureDatabase
    kafka: SecureKafka
    user: str
    schema: str
    topic: str

    def command(self, *arguments: str) -> str:
        """All that a command prints."""
        command = [sys.executable, "-c", "from kafka_ingest.cli.main import cli; cli()", *arguments]
        home = {"DAGSTER_HOME": str(self.dagster.home)}
        environ = {**os.environ, **self.environ, **home}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def run(self) -> tuple[str, str, int]:
        """Status of a live run launched now, its failure's words, and how often a step was tried again."""
        api = DagsterApi(f"http://127.0.0.1:{self.dagster.port}")
        config = {"ops": {"information": {"ops": {"plan": {"config": {"kind": "live", "until_caught_up": True}}}}}}
        run_id = api.launch("ingest_information", config, {})
        status = api.follow(run_id, lambda _look: None).status
        events = self.dagster.graphql(_TRIES, run=run_id)["logsForRun"]["events"]
        tries = sum(e["__typename"] == "ExecutionStepUpForRetryEvent" for e in events)
        return status, "" if status == "SUCCESS" else api.failure(run_id), tries

    def crash(self) -> str:
        """The dump of a run's process that is told to abort while it waits for messages."""
        seen = len(self.dagster.log.read_text(errors="replace"))
        self.dagster.wait_for(lambda: not self._loading(set()), 60, "the run before to end")
        known = {run["runId"] for run in self.dagster.runs()}
        send(self.kafka.broker.bootstrap_servers, self.topic, 20)
        self.dagster.wait_for(lambda: self._loading(known), 60, "a run")
        time.sleep(1)
        os.kill(self._loading(known)[0], signal.SIGABRT)

        def dumped() -> str:
            return self.dagster.log.read_text(errors="replace")[seen:]

        self.dagster.wait_for(lambda: "Fatal Python error: Aborted" in dumped(), 20, "the dump")
        time.sleep(0.5)
        return dumped()

    def _loading(self, known: set[str]) -> list[int]:
        """Process ids of the runs under way that are not known."""
        new = [r for r in self.dagster.runs() if r["status"] == "STARTED" and r["runId"] not in known]
        processes = [r["tags"]["kafka_ingest/process"] for r in new if "kafka_ingest/process" in r["tags"]]
        return [int(each.rsplit(":", 2)[1]) for each in processes]

    def reasons(self) -> str:
        nodes = self.dagster.graphql(_TICKS)["repositoriesOrError"]["nodes"]
        return json.dumps([s["sensorState"]["ticks"] for node in nodes for s in node["sensors"]])


@pytest.fixture
def secured(secure_kafka: SecureKafka, secure_mysql: SecureDatabase, tmp_path: Path) -> Iterator[Secured]:
    topic = f"secret-{uuid.uuid4().hex[:8]}"
    secure_kafka.admin.create_topics([NewTopic(topic, 1)])[topic].result(30)
    secure_kafka.set_password("carol", "another")
    secure_kafka.allow("carol", ResourceType.TOPIC, topic, AclOperation.READ)
    secure_kafka.allow("carol", ResourceType.GROUP, "kafka_ingest", AclOperation.READ)
    own = secure_kafka.authority.issue("carol", password=SECRETS["ssl.key.password"])
    schema = secure_mysql.make_database()
    user = secure_mysql.make_user(SECRETS["database password"], schema, PRIVILEGES, require="X509")
    shown = secure_mysql.authority.issue("loader", password=SECRETS["database key password"])
    url = secure_mysql.url(
        user,
        SECRETS["database password"],
        schema,
        ssl_ca=secure_mysql.authority.certificate,
        ssl_cert=shown.certificate,
        ssl_key=shown.key,
        ssl_key_password=SECRETS["database key password"],
    )
    environ = {
        **environment(secure_kafka.broker.bootstrap_servers, url, topic),
        **secure_kafka.scram("carol", SECRETS["sasl.password"]),
        "KAFKA_SSL_CERTIFICATE_LOCATION": str(own.certificate),
        "KAFKA_SSL_KEY_LOCATION": str(own.key),
        "KAFKA_SSL_KEY_PASSWORD": SECRETS["ssl.key.password"],
        "KAFKA_INGEST_ALERT_WEBHOOK": f"http://127.0.0.1:1/{SECRETS['webhook']}",
        "KAFKA_INGEST_ALERT_LAG": "1",
        "PYTHONFAULTHANDLER": "1",
    }
    # As docs/security.md says: a core would hold the memory, and with it every secret.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with DagsterDev(tmp_path / "dagster", environ) as dagster:
        yield Secured(dagster, environ, secure_mysql, secure_kafka, user, schema, topic)


def send(servers: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": servers})
    for number in range(count):
        value = {"type": "information", "id": f"n{number}", "title": "t", "publishTime": "2026-11-22 10:00"}
        producer.produce(topic, json.dumps(value) if number % 5 else b"no json")
    producer.flush(30)


def test_no_secret_is_written_anywhere_by_runs_that_succeed_and_runs_that_fail(
    secured: Secured, tmp_path: Path
) -> None:
    dagster, servers = secured.dagster, secured.kafka.broker.bootstrap_servers
    said: list[tuple[str, bytes]] = []

    def keep(what: str, text: str) -> str:
        said.append((what, text.encode()))
        return text

    # The password is not (yet) the broker's.
    dagster.wait_for(lambda: "invalid credentials" in secured.reasons(), 60, "a tick that says so")
    keep("ticks", secured.reasons())
    status, words, tries = secured.run()
    assert (status, tries) == ("FAILURE", 0)
    assert "invalid credentials" in keep("kafka failure", words)
    assert "invalid credentials" in keep("doctor --json", secured.command("doctor", "--json"))
    assert "invalid credentials" in keep("status", secured.command("status"))

    # Now it is: the stream goes on by itself.
    send(servers, secured.topic, 40)
    secured.kafka.set_password("carol", SECRETS["sasl.password"])
    secured.database.server.create_database(secured.schema)  # the test may look
    admin_url = secured.database.server.url(secured.schema)
    dagster.wait_for(lambda: ledger_total(admin_url) >= 40, 120, "the rows")
    assert "No check failed" in keep("doctor", secured.command("doctor"))
    keep("command lines", "\n".join(" ".join(child.cmdline()) for child in dagster.children()))

    # A run crashes while it holds all of them: what Python dumps then is in the log.
    keep("crash dump", secured.crash())

    # The database's password is changed under us.
    secured.database.server.run_as_administrator(f"ALTER USER '{secured.user}'@'127.0.0.1' IDENTIFIED BY 'another'")
    status, words, tries = secured.run()
    assert (status, tries) == ("FAILURE", 0)
    assert "Access denied for user" in keep("database failure", words)
    assert "Access denied for user" in keep("status without database", secured.command("status"))
    secured.environ["KAFKA_SSL_KEY_PASSWORD"] += "x"
    assert "ssl.key.location" in keep("wrong key password", secured.command("ingest", "information"))

    places = [*said, *everything(tmp_path)]
    # The search finds what is there: names that are no secret, in plain storage and in packed cells.
    assert len([w for w, c in places if secured.topic.encode() in c]) > 5
    assert any(".db:" in where and b"Access denied for user" in content for where, content in places)
    assert {name: leaks(secret, places) for name, secret in SECRETS.items()} == {name: [] for name in SECRETS}


def test_the_search_finds_a_secret_in_every_form(tmp_path: Path) -> None:
    secret = SECRETS["sasl.password"]
    for form in forms(secret):
        (tmp_path / "log").write_bytes(b"x" + form + b"y")
        assert leaks(secret, list(everything(tmp_path))) == [str(tmp_path / "log")]
    for pad in range(6):
        hidden = base64.b64encode(b"u" * pad + secret.encode() + b"tail")
        assert leaks(secret, [("here", b"abc" + hidden)]) == ["here"]
