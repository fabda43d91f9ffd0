"""How errors reach a person at a terminal, and a program that asked for JSON: one paragraph, no traceback, no secret."""

from __future__ import annotations

import json
from typing import IO

import click

from kafka_ingest.cli.json_output import error_json, is_json_awaited
from kafka_ingest.errors import KafkaIngestError, RetryableError
from kafka_ingest.redaction import redact

# sysexits.h: EX_TEMPFAIL, "a temporary failure: try again later".
EXIT_RETRYABLE = 75


class PresentedError(click.ClickException):
    """An error of ours, as click shows it and exits with it. A command that was asked for JSON and has printed none prints the
    error's, on standard output."""

    def __init__(self, error: KafkaIngestError) -> None:
        super().__init__(redact(str(error)))
        # Asked here: the command's context is gone when click shows the error.
        self._json = json.dumps(error_json(error)) if is_json_awaited() else None

    def show(self, file: IO[str] | None = None) -> None:
        if self._json is not None:
            click.echo(self._json)
        click.secho(f"Error: {self.message}", file=file, fg="red", err=file is None)


class PresentedRetryableError(PresentedError):
    """As above; a script may try again."""

    exit_code = EXIT_RETRYABLE


def presented(error: KafkaIngestError) -> PresentedError:
    """What to raise at the edge for an error of ours."""
    return PresentedRetryableError(error) if isinstance(error, RetryableError) else PresentedError(error)


class FailedCommand(click.ClickException):
    """A command that did its work and found something failed; its text is shown like an error's."""

    def show(self, file: IO[str] | None = None) -> None:
        click.secho(redact(self.message), file=file, fg="red", err=file is None)
