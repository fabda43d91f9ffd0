"""Where the ops of a run hand over to each other when they share no disk (KAFKA_INGEST_HANDOVER), and what cannot work."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from fsspec import get_filesystem_class

from kafka_ingest.errors import ConfigError

HANDOVER = "KAFKA_INGEST_HANDOVER"

# By their names in dagster-celery, dagster-celery-docker, dagster-celery-k8s, dagster-docker, dagster-k8s and dagster-dask.
ELSEWHERE = frozenset({"celery", "celery-docker", "celery-k8s", "docker", "k8s", "dask"})
"""Executors that give each op a host or a container of its own."""


def handover_place(environ: Mapping[str, str] = os.environ) -> str | None:
    """The folder or URL that the environment names; None where it names none.

    Raises ConfigError for one that cannot work: an unknown kind, a package that is not installed, the memory of a process; or one
    with a secret in it, as Dagster's logs would show it.
    """
    place = environ.get(HANDOVER)
    if not place:
        return None
    parts = urlsplit(place)
    if "://" not in place:
        return place
    shown = f"{HANDOVER}={parts.scheme}://…"
    if "@" in parts.netloc or parts.query:
        raise ConfigError(
            f"{shown} has credentials or options in it: give the bucket and the path only. The package for {parts.scheme} "
            "takes credentials from its own environment.",
            setting=HANDOVER,
        )
    if parts.scheme == "memory":
        raise ConfigError(f"{shown} is the memory of one process: name a bucket or a shared folder.", setting=HANDOVER)
    try:
        get_filesystem_class(parts.scheme)
    except ImportError as error:
        raise ConfigError(f"{shown} needs a package that is not installed here: {error}.", setting=HANDOVER) from error
    except ValueError as error:
        raise ConfigError(
            f"{shown} is of no kind that fsspec knows: s3, gs, abfs, or a folder that all hosts share.",
            setting=HANDOVER,
        ) from error
    return place


def check_executor(executor: str, launcher: Callable[[], str], environ: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError where a run with this executor, launched by this class of launcher, cannot work: its ops have hosts of
    their own and no place is named that all of them reach, or a task of Celery's would have to wait for others.

    launcher: its class's name; asked only where it matters, as its package need not be installed where runs are.
    """
    if executor == "celery" and launcher() == "CeleryRunLauncher":
        raise ConfigError(
            "This run is a task of Celery's, by CeleryRunLauncher, and its executor makes tasks of its ops, which Celery does "
            "not let a task wait for (Never call result.get() within a task!). Choose one: dg.in_process_executor as the "
            "executor of the code location, or another run launcher. Nothing was loaded.",
            setting="executor",
        )
    if executor in ELSEWHERE and handover_place(environ) is None:
        raise ConfigError(
            f"This run goes by the executor {executor!r}, which puts each op on a host of its own, and they have no place to "
            f"hand over: set {HANDOVER} for all of them, to a bucket (s3://bucket/path) or to a folder that they share. Or run "
            "it in one process: dg.in_process_executor as the executor of the code location. Nothing was loaded.",
            setting=HANDOVER,
        )
