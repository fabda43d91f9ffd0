"""A smaller example that fails alike, for people to read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from kafka_ingest_tests.interleavings.example import Example
from kafka_ingest_tests.interleavings.log import Log, Message
from kafka_ingest_tests.interleavings.world import Violation, World


def shrink(world: World, violation: Violation, seconds: float) -> Violation:
    """The smallest found in this time. Each try is run once, so what fails only now and then may stay larger."""
    deadline = time.monotonic() + seconds
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for candidate in _smaller(violation.example):
            if time.monotonic() > deadline:
                return violation
            try:
                world.run(candidate)
            except Violation as found:
                if found.kinds & violation.kinds:
                    violation, is_smaller = found, True
                    break
    return violation


def _smaller(example: Example) -> Iterator[Example]:
    """Less at one place."""
    for n in range(len(example.faults)):
        yield replace(example, faults=example.faults[:n] + example.faults[n + 1 :])
    for w, script in enumerate(example.scripts):
        for t in range(len(script)):
            yield _with_script(example, w, (*script[:t], *script[t + 1 :]))
    for partition, messages in enumerate(example.log.messages):
        if messages and not (example.is_held and partition == 0 and len(messages) == 1):
            yield _with_messages(example, partition, messages[:-1])
        for offset, message in enumerate(messages):
            if message.kind != "broken" and not (example.is_held and (partition, offset) == (0, 0)):
                broken = Message("broken", message.stamp)
                yield _with_messages(example, partition, (*messages[:offset], broken, *messages[offset + 1 :]))
    for w, script in enumerate(example.scripts):
        for t, task in enumerate(script):
            if len(task.sizes) == 2:
                yield _with_script(example, w, (*script[:t], replace(task, sizes=task.sizes[:1]), *script[t + 1 :]))
            if len(task.partitions) == 2:
                for only in task.partitions:
                    yield _with_script(example, w, (*script[:t], replace(task, partitions=(only,)), *script[t + 1 :]))
    schedule = example.schedule
    if schedule and not any(schedule[len(schedule) // 2 :]):
        yield replace(example, schedule=schedule[: len(schedule) // 2])
    for size in (32, 8, 2, 1):
        for start in range(0, len(schedule), size):
            if any(schedule[start : start + size]):
                zeros = (0,) * len(schedule[start : start + size])
                yield replace(example, schedule=(*schedule[:start], *zeros, *schedule[start + size :]))


def _with_script(example: Example, writer: int, script: tuple[object, ...]) -> Example:
    scripts = (*example.scripts[:writer], script, *example.scripts[writer + 1 :])
    return replace(example, scripts=scripts)  # type: ignore[arg-type]


def _with_messages(example: Example, partition: int, messages: tuple[Message, ...]) -> Example:
    log = example.log
    changed = (*log.messages[:partition], messages, *log.messages[partition + 1 :])
    return replace(example, log=Log(changed, log.is_coded, is_partial=log.is_partial, is_turned=log.is_turned))
