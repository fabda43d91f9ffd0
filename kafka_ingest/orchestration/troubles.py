"""What a group's run says of its streams that fail, for the sensor and for the runs after it: in tags, which outlive a run that
was killed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from kafka_ingest.engine.backoff import Trouble
from kafka_ingest.orchestration.names import FAILED_TAG, LIVE_TAG, TROUBLES_TAG

# The newest may be queued, and say nothing yet.
_LOOKED_AT = 10


def troubles_tag(troubles: Mapping[str, Trouble]) -> dict[str, str]:
    """Each stream's, small."""
    return {TROUBLES_TAG: json.dumps({name: [each.failures, round(each.at)] for name, each in troubles.items()})}


def failed_tag(streams: Iterable[str]) -> dict[str, str]:
    """The streams for which a run ends failed."""
    return {FAILED_TAG: ",".join(sorted(streams))}


def last_troubles(instance: dg.DagsterInstance, live_tag: str) -> dict[str, Trouble]:
    """By stream, as the newest of the group's runs that has said so says; none where none has."""
    return troubles_in(instance.get_run_records(dg.RunsFilter(tags={LIVE_TAG: live_tag}), limit=_LOOKED_AT))


def troubles_in(records: Sequence[dg.RunRecord]) -> dict[str, Trouble]:
    """The same of runs that were read, newest first. What a person wrote there and cannot be read says nothing."""
    said = next((text for r in records if (text := r.dagster_run.tags.get(TROUBLES_TAG)) is not None), "{}")
    try:
        return {str(name): Trouble(int(failures), float(at)) for name, (failures, at) in json.loads(said).items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def fails_for_others(run: dg.DagsterRun, stream: str) -> bool:
    """Whether a failed run of a group ended so for other streams of it than this one."""
    failed = run.tags.get(FAILED_TAG)
    return failed is not None and stream not in failed.split(",")
