"""A slice into the database: rows, dead letters and ledger in one transaction, whoever else writes.

What is loaded is a `Proposal`: a live slice, a backfill, or dead letters that are replayed. All go the same way:

 1. STAGE         make staging ready, outside the transaction
 2. BEGIN
 3. LOCK          lock the ledger rows of the slice's partitions, in order
 4. ADMIT         compare the log's identity and the position with what is locked; what the proposal may load is decided here, as
                  what was read before the lock may have changed
 5. EMPTY         delete what append tables hold of the admitted ranges
 6. ROWS          rows of each table; where a row is refused, the others are found by bisection
 7. DELETES       deletes of each table
 8. AGAIN         what the database has refused once more, message by message in the total order: it may have come before
                  what it needs, or after what it replaces
 9. DEAD_LETTERS  what is still refused, and what was bad before
10. PROVE         refuse too many dead letters; prove the accounting
11. RECORD        append the ranges to the ledger, move the positions
12. COMMIT        if the run still has its lease; or ROLLBACK in a dry run
13. DONE

A crash before 12 leaves nothing, a crash after it leaves everything; the next run sees in 4 which it was.

Two transactions that write one business key from different partitions hold different ledger rows, so 3 does not keep them apart.
Steps 6 and 7 do (`sinks/mysql/merge.py`): each looks at the other's row under its lock, and the total order of
`sinks/latest_per_key.py` says which stays, so the outcome is the same whoever was first. Where two wait for each other in a
circle, the server ends one, which begins again at 1: that is no fault of any row.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from kafka_ingest.errors import AccountingError, TransactionConflict
from kafka_ingest.ledger.entries import append_entries, loaded_since
from kafka_ingest.ledger.leases import require_lease
from kafka_ingest.ledger.positions import Fence, advance_positions, ledger_fences, lock_fences
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.sinks.admission import AdmittedSlice, Proposal, RangeProposal
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.commit_order import GIVE_WAY_SECONDS, CommitTicket, WriteAheadRejected
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.table_writer import NOTHING_AHEAD, TableWriter, empty_ranges, write_ahead
from kafka_ingest.slices import BatchKind, DeadLetter, LoadResult, RangeCounts, TopicPartition, ranges_text
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import count_by_window

LOGGER = logging.getLogger(__name__)

# How often, and for how long, a transaction that the server has ended, because it and another waited for each other, is begun
# again here before the op is retried as after any trouble. A lock that was waited for in vain (50 s by default) is over the time.
CONFLICT_TRIES = 10
CONFLICT_SECONDS = 30.0
_CONFLICT_WAIT_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class LoadContext:
    """Who loads: written beside every row of the ledger."""

    stream: Stream
    run_id: str
    window_key: str | None = None
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.timezone.utc)
    at_step: Callable[[str], None] = lambda _step: None
    """Called before each `LoadStep`: where fault tests stop or kill the process."""
    has_lease: bool = False
    """Whether the run loads only while it has its lease (ledger/leases.py)."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What one transaction did, or would have done."""

    admitted: AdmittedSlice
    dead_letters: tuple[DeadLetter, ...]
    """Of the admitted messages, all that are none of a row, a delete and ignored."""
    result: LoadResult


def load(
    sink: Sink, parsed: ParsedSlice, kind: BatchKind, context: LoadContext, ticket: CommitTicket | None = None
) -> LoadResult:
    """Apply a slice of Kafka's exactly once. Safe to repeat with the same slice: what the ledger has is skipped.

    ticket: the slice's place among those loaded at the same time. While the slice before it is being loaded, this one's rows are
    written ahead: between 2 and 3 its ranges of append tables are emptied and filled, rows to upsert brought to their staging
    tables, and it waits there until the slice before is committed. Where 4 then does not admit the whole slice, or somebody
    has loaded from its ranges since they were emptied, all is rolled back and done again in the order above. The caller
    settles the ticket.

    Raises OffsetGap, DataLoss, DeadLetterLimit, AccountingError, LeaseLost, Abandoned, and what `Sink.classify_error` makes of
    the driver's errors.
    """
    ticket = ticket or CommitTicket()
    if not ticket.is_next():
        try:
            return _transaction(
                sink, RangeProposal(context.stream, parsed, kind), context, ticket, is_ahead=True
            ).result
        except (WriteAheadRejected, TransactionConflict) as reason:
            LOGGER.info("%s is loaded again, in commit order: %s", ranges_text(parsed.raw.ranges), reason)
        ticket.wait()
    return apply(sink, lambda: RangeProposal(context.stream, parsed, kind), context, ticket).result


def apply(
    sink: Sink,
    propose: Callable[[], Proposal],
    context: LoadContext,
    ticket: CommitTicket | None = None,
    *,
    is_dry_run: bool = False,
) -> Applied:
    """The whole sequence; from its beginning where the server ends it for another transaction's sake."""
    started, tries = time.monotonic(), 0
    while True:
        tries += 1
        try:
            return _transaction(sink, propose(), context, ticket or CommitTicket(), is_dry_run=is_dry_run)
        except TransactionConflict as conflict:
            if tries == CONFLICT_TRIES or time.monotonic() - started > CONFLICT_SECONDS:
                raise
            LOGGER.info("%s Begun again at once.", conflict)
            time.sleep(_CONFLICT_WAIT_SECONDS * tries)


def _transaction(
    sink: Sink,
    proposal: Proposal,
    context: LoadContext,
    ticket: CommitTicket,
    *,
    is_ahead: bool = False,
    is_dry_run: bool = False,
) -> Applied:
    stream = context.stream
    started = time.perf_counter()
    doing = f"loading {ranges_text(proposal.parsed.raw.ranges)} of stream {stream.name}"
    with sink.errors(doing), sink.engine.connect() as connection:
        context.at_step(LoadStep.STAGE)
        targets = proposal.targets()
        sink.prepare_staging(connection, targets)
        context.at_step(LoadStep.BEGIN)
        with connection.begin() as transaction:
            seen: dict[TopicPartition, Fence] = {}
            ahead = NOTHING_AHEAD
            if is_ahead:
                context.at_step(LoadStep.AHEAD)
                seen = ledger_fences(connection, stream.name, proposal.partitions)
                empty_ranges(connection, proposal.targets_to_empty(seen), proposal.parsed.raw.ranges)
                ticket.let_next_begin()
                ahead = write_ahead(connection, sink, targets, proposal.parsed)
                ticket.wait(GIVE_WAY_SECONDS)
            context.at_step(LoadStep.LOCK)
            locked = _lock(connection, sink, proposal, is_ahead=is_ahead)
            context.at_step(LoadStep.ADMIT)
            proposed = proposal.parsed
            admitted = proposal.admit(connection, locked)
            if is_ahead:
                _stay(connection, stream, proposed, admitted, seen, locked)
            else:
                context.at_step(LoadStep.EMPTY)
                empty_ranges(connection, proposal.targets_to_empty(locked), admitted.ranges)
                ticket.let_next_begin()
            letters = TableWriter(connection, sink, targets, context.at_step, ahead).write(stream, admitted)
            context.at_step(LoadStep.DEAD_LETTERS)
            now = context.now()
            proposal.write_dead_letters(connection, admitted, letters, run_id=context.run_id, now=now)
            context.at_step(LoadStep.PROVE)
            counts = admitted.counts(letters)
            proposal.judge(connection, counts, letters)
            prove_accounting(counts, stream)
            context.at_step(LoadStep.RECORD)
            moves = proposal.advances(admitted, locked)
            append_entries(
                connection,
                stream.name,
                counts,
                window_key=context.window_key,
                run_id=context.run_id,
                now=now,
                revisions={tp: move.fence.revision + 1 for tp, move in moves.items()},
            )
            advance_positions(connection, stream.name, moves, run_id=context.run_id, now=now)
            context.at_step(LoadStep.COMMIT)
            if context.has_lease:
                require_lease(connection, stream.name, context.run_id)
            if is_dry_run:
                transaction.rollback()
        context.at_step(LoadStep.DONE)
    p50, p95 = admitted.latency_seconds(context.now())
    rows_by_table = {t.label: 0 for t in targets}
    for each in counts:
        for label, rows in each.rows_by_table.items():
            rows_by_table[label] = rows_by_table.get(label, 0) + rows
    return Applied(
        admitted,
        tuple(letters),
        LoadResult(
            counts=tuple(counts),
            rows_by_table=rows_by_table,
            next_offsets={tp: fence.next_offset for tp, fence in locked.items()}
            | {tp: move.next_offset for tp, move in moves.items()},
            messages_by_window=count_by_window(stream, admitted.timestamps_ms(), now=now),
            skipped=sum(r.size for r in proposed.raw.ranges) - sum(r.size for r in admitted.ranges),
            load_seconds=time.perf_counter() - started,
            latency_p50_seconds=p50,
            latency_p95_seconds=p95,
        ),
    )


def _lock(connection: sa.Connection, sink: Sink, proposal: Proposal, *, is_ahead: bool) -> dict[TopicPartition, Fence]:
    """Rows written ahead do not wait for another run that has the lock: it may be about to write the same ones, and wait for
    them. Raises WriteAheadRejected then."""
    try:
        return lock_fences(connection, proposal.stream.name, proposal.partitions, waits=not is_ahead)
    except sa.exc.DBAPIError as error:
        if is_ahead and sink.is_locked(error):
            raise WriteAheadRejected("another run is loading these partitions") from error
        raise


def _stay(
    connection: sa.Connection,
    stream: Stream,
    proposed: ParsedSlice,
    admitted: AdmittedSlice,
    seen: dict[TopicPartition, Fence],
    locked: dict[TopicPartition, Fence],
) -> None:
    """Whether rows written ahead may stay. They may where all that was proposed is admitted, as it was, and nobody has loaded
    from these ranges since they were emptied. Raises WriteAheadRejected."""
    if admitted.parsed is not proposed or not admitted.is_whole:
        raise WriteAheadRejected("another run has loaded from these ranges")
    if seen.keys() != locked.keys():
        raise WriteAheadRejected("the ledger has got positions of these partitions meanwhile")
    revisions = {tp: fence.revision for tp, fence in seen.items()}
    if loaded_since(connection, stream.name, admitted.ranges, revisions):
        raise WriteAheadRejected("another run has loaded these ranges again")


def prove_accounting(counts: Iterable[RangeCounts], stream: Stream) -> None:
    """Raises AccountingError where a range does not add up."""
    for each in counts:
        if each.accounted != each.range.size:
            raise AccountingError(
                f"stream {stream.name}: {each.range} has {each.range.size} offsets, but {each.rows} rows + "
                f"{each.deletes} deletes + {each.dead_letters} dead letters + {each.ignored} ignored + "
                f"{each.absent} absent = {each.accounted}. "
                "Nothing was committed. This is a bug in kafka_ingest or in a pipeline step; please report it.",
                stream=stream.name,
                range=each.range,
                counts={
                    "rows": each.rows,
                    "deletes": each.deletes,
                    "dead_letters": each.dead_letters,
                    "ignored": each.ignored,
                    "absent": each.absent,
                },
            )
