"""`kafka-ingest doctor`: is everything there that a run needs, and may this user use it?"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from kafka_ingest.cli.json_output import json_option, print_json
from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.findings import Finding, fail, findings_json, ok, redacted, warn
from kafka_ingest.redaction import environment_secrets
from kafka_ingest.settings import Settings
from kafka_ingest.streams.registry import declared_streams

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@json_option("Print one JSON object and nothing else.")
def doctor(is_json: bool) -> None:
    """Check settings, Kafka, the schema registry, the database and Dagster, one line each.

    Nothing is written, to a topic or to the database. The exit code is 1 where a check fails.
    """
    findings = redacted(examine(), environment_secrets())
    if is_json:
        report = findings_json(findings)
        print_json(json.dumps(report))
        failed = not report["ok"]
    else:
        failed = _show(findings)
    if failed:
        raise click.exceptions.Exit(1)


def _show(findings: Iterable[Finding]) -> bool:
    failed = 0
    for each in findings:
        failed += each.verdict == "fail"
        mark = click.style(f"{each.verdict:4}", fg=_COLOURS[each.verdict])
        click.echo(f"{mark}  {each.check}: {each.detail}")
        if each.fix:
            click.echo(f"      → {each.fix}")
    click.echo(f"{failed} check(s) failed" if failed else "No check failed")
    return bool(failed)


def examine() -> Iterator[Finding]:
    """Every check, in order of what depends on what."""
    try:
        settings = Settings.from_environment()
        where = f"Kafka {settings.bootstrap_servers}, group {settings.group_id}, database {settings.shown_database_url}"
    except KafkaIngestError as error:
        yield fail("settings", str(error), "Correct the environment variable.")
        return
    yield ok("settings", where)
    try:
        streams = tuple(declared_streams().values())
    except KafkaIngestError as error:
        yield fail("streams", str(error), "Correct the stream's declaration.")
        return
    yield ok("streams", f"{len(streams)} declared: {', '.join(s.name for s in streams)}")
    # Imported here: a wrong setting is said without waiting for the clients.
    from kafka_ingest.cli.doctor.database import check_database
    from kafka_ingest.cli.doctor.kafka import check_kafka
    from kafka_ingest.cli.doctor.schema_registry import check_registry

    yield from check_kafka(settings, streams)
    yield from check_registry(settings, streams)
    yield from check_database(settings, streams)
    yield from _dagster_home()


def _dagster_home() -> Iterator[Finding]:
    home = os.environ.get("DAGSTER_HOME")
    if not home:
        yield warn(
            "DAGSTER_HOME",
            "not set: history is lost when `dagster dev` ends, and `kafka-ingest ingest` leaves none",
            "export DAGSTER_HOME=/some/folder with a dagster.yaml in it.",
        )
    elif not Path(home).is_absolute() or not Path(home).is_dir():
        yield fail("DAGSTER_HOME", f"{home} is no folder with an absolute path", "Create it, or correct DAGSTER_HOME.")
    elif not os.access(home, os.W_OK):
        yield fail("DAGSTER_HOME", f"{home} cannot be written", "Check its owner and rights.")
    elif not (Path(home) / "dagster.yaml").is_file():
        yield warn(
            "DAGSTER_HOME", f"{home} has no dagster.yaml", "Copy the one in kafka_ingest/orchestration, or write one."
        )
    else:
        yield ok("DAGSTER_HOME", home)
