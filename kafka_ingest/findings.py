"""What `kafka-ingest doctor` finds, line by line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from kafka_ingest.redaction import redact

_ADVICE = re.compile(r"\. It is retried.*|; (see )?`kafka-ingest doctor`.*", re.DOTALL)

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was checked, how it is, and how to fix it where it is not ok."""

    check: str
    verdict: Verdict
    detail: str
    fix: str | None = None


def ok(check: str, detail: str) -> Finding:
    """A check that found nothing wrong."""
    return Finding(check, "ok", detail)


def warn(check: str, detail: str, fix: str) -> Finding:
    """A check that found something a run can do without."""
    return Finding(check, "warn", detail, fix)


def fail(check: str, detail: str, fix: str) -> Finding:
    """A check that found what a run fails on."""
    # Errors of ours end with what a run does about them, and with the advice to ask the doctor.
    return Finding(check, "fail", _ADVICE.sub(".", detail), fix)


def redacted(findings: Iterable[Finding], secrets: Iterable[str]) -> Iterator[Finding]:
    """The same without secrets."""
    known = tuple(secrets)
    for each in findings:
        fix = None if each.fix is None else redact(each.fix, known)
        yield replace(each, detail=redact(each.detail, known), fix=fix)


def findings_json(findings: Iterable[Finding]) -> dict[str, object]:
    """What `doctor --json` prints: {"ok": nothing failed, "checks": [{"check", "status", "detail", "fix"}]}.

    status is ok, warn or fail; fix is null where it is ok. Names and meanings stay; new ones may be added.
    """
    checks = [{"check": f.check, "status": f.verdict, "detail": f.detail, "fix": f.fix} for f in findings]
    return {"ok": all(c["status"] != "fail" for c in checks), "checks": checks}
