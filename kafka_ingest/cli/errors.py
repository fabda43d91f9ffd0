"""How errors reach a person at a terminal: one paragraph, no traceback, no secret."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

import click

from kafka_ingest.errors import KafkaIngestError, RetryableError

# sysexits.h: EX_TEMPFAIL, "a temporary failure: try again later".
EXIT_RETRYABLE = 75
HIDDEN = "***"


class PresentedError(click.ClickException):
    """An error of ours, as click shows it and exits with it."""

    def __init__(self, error: KafkaIngestError) -> None:
        super().__init__(redact(str(error)))

    def show(self, file: Any = None) -> None:
        click.secho(f"Error: {self.message}", file=file, fg="red", err=file is None)


class PresentedRetryableError(PresentedError):
    """As above; a script may try again."""

    exit_code = EXIT_RETRYABLE


def presented(error: KafkaIngestError) -> PresentedError:
    """What to raise at the edge for an error of ours."""
    return PresentedRetryableError(error) if isinstance(error, RetryableError) else PresentedError(error)


class FailedCommand(click.ClickException):
    """A command that did its work and found something failed; its text is shown like an error's."""

    def show(self, file: Any = None) -> None:
        click.secho(redact(self.message), file=file, fg="red", err=file is None)


def redact(text: str, secrets: Iterable[str] | None = None) -> str:
    """The text with every secret of the environment's settings (or of `secrets`) replaced, as it stands or URL-encoded."""
    known = environment_secrets() if secrets is None else tuple(secrets)
    forms = {
        form
        for secret in known
        if secret
        for form in (secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1])
    }
    for form in sorted(forms, key=len, reverse=True):  # a secret may be a part of another
        text = text.replace(form, HIDDEN)
    return text


def environment_secrets() -> tuple[str, ...]:
    """What must never be printed. Where the settings do not parse: every value that could hold a secret, whole."""
    from kafka_ingest.settings import from_environment

    try:
        return (*from_environment().secrets(), os.environ.get("KAFKA_INGEST_ALERT_WEBHOOK", ""))
    except KafkaIngestError:
        names = ("PASSWORD", "SECRET", "TOKEN", "PEM", "JAAS", "OAUTHBEARER_CONFIG", "DATABASE_URL", "WEBHOOK")
        return tuple(v for k, v in os.environ.items() if k.startswith("KAFKA_") and any(n in k for n in names) and v)
