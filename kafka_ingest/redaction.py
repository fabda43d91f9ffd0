"""Takes secrets out of what people are shown: errors, findings, alerts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from kafka_ingest.errors import KafkaIngestError

HIDDEN = "***"

_remembered: set[str] = set()


def remember_secrets(secrets: Iterable[str]) -> None:
    """Secrets that came by another way than the environment's settings, as a Dagster resource's do: from here on they are hidden
    too, for as long as the process lives."""
    _remembered.update(secrets)


def redact(text: str, secrets: Iterable[str] | None = None) -> str:
    """The text with every secret of the environment's settings (or of `secrets`), and every remembered one, replaced, as it
    stands or URL-encoded."""
    known = (*(environment_secrets() if secrets is None else secrets), *_remembered)
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
    # Not at the top: it brings SQLAlchemy, and the command line answers --help without.
    from kafka_ingest.settings import Settings

    try:
        return (*Settings.from_environment().secrets(), os.environ.get("KAFKA_INGEST_ALERT_WEBHOOK", ""))
    except KafkaIngestError:
        names = (
            "PASSWORD",
            "SECRET",
            "TOKEN",
            "PEM",
            "JAAS",
            "OAUTHBEARER_CONFIG",
            "DATABASE_URL",
            "WEBHOOK",
            "USER_INFO",
        )
        ours = ("KAFKA_", "SCHEMA_REGISTRY_")
        return tuple(v for k, v in os.environ.items() if k.startswith(ours) and any(n in k for n in names) and v)
