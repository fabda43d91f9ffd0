"""What has to stand in the database when all writers are done."""

from __future__ import annotations

from dataclasses import dataclass

from kafka_ingest_tests.interleavings.example import Example
from kafka_ingest_tests.interleavings.log import HELD, NO_TAG, NULL_CODE, Message, Place, Version

Position = tuple[int, int]
"""Partition and offset."""


@dataclass(frozen=True)
class Load:
    """An entry of the ledger."""

    partition: int
    start: int
    end: int
    kind: str
    accounted: int
    version: Version


@dataclass(frozen=True)
class Found:
    """What stands in the database. Rows are (partition, offset, number), those to upsert also the columns that are kept."""

    upserted: dict[str, tuple[int, int, int, str | None, int | None]]
    appended: dict[str, list[tuple[int, int, int]]]
    waiting: set[Position]
    """Dead letters."""
    loads: list[Load]
    """In the order of their commits, as far as they are of one partition."""
    next_offsets: list[int]


def violations(example: Example, found: Found) -> list[str]:
    """What is not as it should be; empty where all is."""
    return [*_ledger(example, found), *_places(example, found), *_winners(example, found)]


def _ledger(example: Example, found: Found) -> list[str]:
    """Every range is accounted for, and live ranges tile."""
    wrong = [f"ledger: {each} is not accounted for" for each in found.loads if each.accounted != each.end - each.start]
    reached = [0, 0]
    for each in found.loads:
        if each.kind == "live":
            if each.start != reached[each.partition]:
                wrong.append(f"ledger: {each} begins where the live range before does not end")
            reached[each.partition] = each.end
    if not reached == found.next_offsets == list(example.log.ends):
        wrong.append(f"ledger: live to {reached}, next {found.next_offsets}, the log ends at {example.log.ends}")
    return wrong


def _places(example: Example, found: Found) -> list[str]:
    """Every message is where its last load has brought it, and nowhere else."""
    wrong = []
    last = _last_versions(found)
    for partition, offset, message in example.log.in_order():
        place: Place | None = message.place(last[partition, offset]) if (partition, offset) in last else None
        at = f"{partition}@{offset} {message}"
        for table, rows in found.appended.items():
            there = rows.count((partition, offset, message.value))
            if there != (place == table):
                wrong.append(f"append: {at} stands {there} times in {table}, belongs to {place}")
        is_dead = (partition, offset) in found.waiting
        if is_dead != (place == "dead") and not _may_differ(example, found, message, (partition, offset), is_dead):
            wrong.append(f"letters: {at} is {'a' if is_dead else 'no'} dead letter, belongs to {place}")
    rows_there = sum(map(len, found.appended.values()))
    wanted = sum(m.kind == "event" and (p, o) not in found.waiting for p, o, m in example.log.in_order())
    if rows_there != wanted:
        wrong.append(f"append: {rows_there} rows for {wanted} messages")
    return wrong


def _kept(
    example: Example, message: Message, before: tuple[int, int, int, str | None, int | None] | None
) -> tuple[str | None, int | None]:
    """Code and tag of the row after the message."""
    if not example.log.is_partial:
        return None, None
    code, tag = (None, NO_TAG) if before is None else before[3:]
    if message.code is not None:
        code = None if message.code == NULL_CODE else message.code
    return code, tag if message.tag is None else message.tag


def _last_versions(found: Found) -> dict[Position, Version]:
    return {(each.partition, o): each.version for each in found.loads for o in range(each.start, each.end)}


def _may_differ(example: Example, found: Found, message: Message, at: Position, is_dead: bool) -> bool:
    """Whether it depends on what came before it if the database refuses this message."""
    if is_dead:
        return (example.log.is_coded and message.code is not None) or (message.kind == "gone" and message.key == HELD)
    # A row the database would refuse is not offered to it where a newer message for its key is there, or was there until code
    # that does not know it made a letter of it.
    if message.kind != "account":
        return False
    order = example.log.in_order()
    newer = order[[(p, o) for p, o, _ in order].index(at) + 1 :]
    return any(
        m.key == message.key
        and m.kind in ("account", "gone")
        and ((p, o) not in found.waiting or not _ever_places(found, m, (p, o)) <= {"dead"})
        for p, o, m in newer
    )


def _ever_places(found: Found, message: Message, at: Position) -> set[Place]:
    """Where each of its loads has brought it."""
    return {
        message.place(each.version)
        for each in found.loads
        if each.partition == at[0] and each.start <= at[1] < each.end
    }


def _winners(example: Example, found: Found) -> list[str]:
    """The row of a key is that of the last message for it that is no dead letter, its kept columns those of the last that carried
    them since the last tombstone; a message that was loaded once counts, even if an older version of the code has made a dead
    letter of it later."""
    last = _last_versions(found)
    wanted: dict[str, tuple[int, int, int, str | None, int | None]] = {}
    for partition, offset, message in example.log.in_order():
        places = _ever_places(found, message, (partition, offset))
        row = (partition, offset, message.value)
        if (partition, offset) in found.waiting:
            # Code that knew it may have loaded it before code that did not made a letter of it, or its code was taken then.
            was_dead = (partition, offset) in last and message.place(last[partition, offset]) == "dead"
            was_loaded = was_dead and found.upserted.get(message.key, ())[:3] == row
            may_be_refused = _may_differ(example, found, message, (partition, offset), True)
            if places == {"dead"} or (may_be_refused and not was_loaded):
                continue
        if "upsert" in places:
            wanted[message.key] = (*row, *_kept(example, message, wanted.get(message.key)))
        elif "delete" in places:
            wanted.pop(message.key, None)
    if wanted == found.upserted:
        return []
    keys = sorted(k for k in wanted.keys() | found.upserted.keys() if wanted.get(k) != found.upserted.get(k))
    return [
        f"upsert: the row of {k} is {found.upserted.get(k)}, should be {wanted[k]}"
        if k in wanted
        else f"deleted: the row of {k} is {found.upserted[k]}, should not be there"
        for k in keys
    ]
