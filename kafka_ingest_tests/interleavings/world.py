"""A database, and the processes that write to it: examples are run here, one after the other."""

from __future__ import annotations

from kafka_ingest.sinks.load import LoadContext, load
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.testing.target import NOW
from kafka_ingest_tests.interleavings.example import Example, ranges_from
from kafka_ingest_tests.interleavings.harness import Process, Scheduler
from kafka_ingest_tests.interleavings.log import HELD, PARTITIONS, STREAMS, TOPIC, TOPIC_ID
from kafka_ingest_tests.interleavings.oracle import Found, Load, violations
from kafka_ingest_tests.interleavings.servers import connect
from kafka_ingest_tests.interleavings.writers import Writer

WRITERS = 4

PIN = (
    "INSERT INTO kafka_ingest_offsets "
    "(stream, topic, kafka_partition, next_offset, topic_id, kafka_order, loaded_to, run_id, updated_at) "
    f"VALUES ('interleaved', '{TOPIC}', {{p}}, 0, '{TOPIC_ID}', -1, 0, 'pin', '2026-01-01 08:00')"
)


class Violation(AssertionError):
    """An example after which something does not hold."""

    def __init__(self, example: Example, wrong: list[str], trace: list[str]) -> None:
        self.example = example
        self.wrong = wrong
        self.trace = trace
        self.kinds = {text.split(":")[0] for text in wrong}
        super().__init__("\n".join([*wrong, "", str(example), "", *trace]))


class World:
    """On one database of its own, which nobody else uses and no other database of the server is used beside. Close it.

    is_numbered: whether the tables to upsert have a primary key of their own, and the models' key beside it.
    """

    def __init__(self, url: str, *, is_numbered: bool = False) -> None:
        self._server = connect(url)
        self._processes = [Process(f"w{n}", open_sink(self._server.url)) for n in range(WRITERS)]
        sink = self._processes[0].sink
        self._server.drop_tables()
        streams = [stream for versions in STREAMS.values() for stream in versions.values()]
        for stream in streams:
            prepare_tables(sink, stream)
        if is_numbered:
            for table in STREAMS:
                self._server.number_rows(table)
            for stream in streams:
                prepare_tables(sink, stream)
        self._server.make_child()
        # What already holds rows is the database's own state (which version made it), not an example's.
        self._tables = [
            name for name in self._server.tables() if not self._server.rows(f"SELECT 1 FROM {name} LIMIT 1")
        ]
        for process in self._processes:
            process.watch(self._server)
        sink.engine.dispose()

    def close(self) -> None:
        for process in self._processes:
            process.sink.close()
        self._server.close()

    def run(self, example: Example) -> list[str]:
        """The trace. Raises Violation."""
        self._begin(example)
        scheduler = Scheduler(self._server, example.schedule, example.faults)
        actors = []
        for number, script in enumerate(example.scripts):
            if not script:
                continue
            process = self._processes[number]
            process.begin([f.at for f in example.faults if f.writer == number and f.kind == "lost commit"])
            writer = Writer(example.log, process, scheduler)
            actors.append(
                scheduler.start(
                    process.name,
                    process,
                    lambda actor, writer=writer, script=script: writer.run(actor, script),  # type: ignore[misc]
                )
            )
        try:
            scheduler.run()
        except AssertionError as error:
            self._forget_connections()
            raise Violation(example, [f"stuck: {error}"], scheduler.trace) from error
        wrong = [f"error: {a.name}: {type(a.error).__name__}: {a.error}" for a in actors if a.error is not None]
        if not wrong:
            last = self._processes[0]
            last.begin(())
            Writer(example.log, last, scheduler).load_what_is_left()
            wrong = violations(example, self._look(example))
        if wrong:
            raise Violation(example, wrong, scheduler.trace)
        return scheduler.trace

    def _begin(self, example: Example) -> None:
        self._server.run(
            "BEGIN",
            *(f"DELETE FROM {name}" for name in self._tables),
            # As `ledger.positions.pin_positions` writes them.
            *(PIN.format(p=tp.partition) for tp in PARTITIONS),
            "COMMIT",
        )
        process = self._processes[0]
        process.begin(())
        stream = example.log.streams["v1"]
        if example.is_held or example.is_begun:
            ranges = ranges_from(example.log, [0, 0], (0,), 1)
            load(
                process.sink, example.log.parsed(ranges, "v1"), "live", LoadContext(stream, "first v1", now=lambda: NOW)
            )
        if example.is_held:
            self._server.run(f"INSERT INTO i_child VALUES ('{HELD}')")

    def _forget_connections(self) -> None:
        """After an example whose threads may still hold some."""
        for process in self._processes:
            process.is_dead = True
            self._server.kill(process.connections)
            process.sink.engine.dispose()

    def _look(self, example: Example) -> Found:
        at = "_kafka_partition, _kafka_offset"
        upserted, first, second, waiting, loads, positions = self._server.all_rows(
            f"SELECT id, {at}, balance, {'code, tag' if example.log.is_partial else 'NULL, NULL'} FROM {example.log.table}",
            *(f"SELECT {at}, amount FROM {table}" for table in ("i_first", "i_second")),
            "SELECT kafka_partition, kafka_offset FROM kafka_ingest_dead_letters "
            "WHERE replay_outcome IS NULL OR replay_outcome = 'dead_letter'",
            "SELECT kafka_partition, start_offset, end_offset, kind, row_count + delete_count + dead_letter_count + "
            f"ignored_count + absent_count, {self._server.last_word('run_id')} FROM kafka_ingest_batches ORDER BY id",
            "SELECT next_offset FROM kafka_ingest_offsets ORDER BY kafka_partition",
        )
        return Found(
            {str(key): tuple(row) for key, *row in upserted},  # type: ignore[misc]
            {"i_first": list(first), "i_second": list(second)},  # type: ignore[arg-type]
            set(waiting),  # type: ignore[arg-type]
            [Load(*each) for each in loads],  # type: ignore[arg-type]
            [p for (p,) in positions],  # type: ignore[misc]
        )
