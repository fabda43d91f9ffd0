"""`dagster dev` with the benchmark's one stream (one_stream.py): started, warmed up, waited for."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import dagster as dg

from benchmarks.live import PARTITIONS, LiveTopic, until
from benchmarks.servers import Servers
from benchmarks.usage import has_run_process
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dataclass(frozen=True)
class Dagster:
    """A running one with its topic; the stream's tables are there, and no run is alive at first."""

    dev: DagsterDev
    instance: dg.DagsterInstance
    topic: LiveTopic

    def run_count(self) -> int:
        return self.instance.get_runs_count()

    def wait_idle(self) -> None:
        """Until every run has ended well, and its process is gone."""

        def ended() -> bool:
            statuses = [record.dagster_run.status for record in self.instance.get_run_records()]
            assert dg.DagsterRunStatus.FAILURE not in statuses, f"a run failed; {self.dev.tail()}"
            return all(status in _ENDED for status in statuses) and not has_run_process(self.dev)

        until(ended, 180, "the runs to end")

    def wait_runs(self, count: int) -> None:
        until(lambda: self.run_count() >= count, 60, f"{count} runs")
        self.wait_idle()


@contextmanager
def started(servers_: Servers, name: str, variables: dict[str, str]) -> Iterator[Dagster]:
    """With a home, a topic and a database of its own, warmed up by one message. At the end every message must be a row."""
    servers_.create_topics({name: PARTITIONS})
    environ = servers_.environment(name, "benchmarks.one_stream") | variables
    home = servers_.folder / f"dagster-{name}"
    with ExitStack() as stack:
        dev = stack.enter_context(DagsterDev(home, environ))
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(home)))
        url = environ["KAFKA_INGEST_DATABASE_URL"]
        topic = stack.enter_context(LiveTopic(servers_.bootstrap, url, name))
        dagster = Dagster(dev, instance, topic)
        topic.send(1)
        topic.wait_visible()
        dagster.wait_idle()
        yield dagster
        sent, rows = sum(topic.sent_counts().values()), topic.rows()
        assert rows == sent, f"{sent} messages became {rows} rows"
