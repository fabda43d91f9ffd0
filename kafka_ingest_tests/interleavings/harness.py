"""Writers that go on one at a time, in the order an example says.

Each actor is a thread. It stops at every step (`Actor.pause`) until the scheduler lets it go on; the scheduler then waits until
it stands at its next step, has ended, or waits in the database for a lock that another one holds. The last is seen in the
server's own count of lock waits, which is compared with the number of actors that are under way: where as many wait as are
under way, no one moves until somebody else goes on.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.commit_order import CommitTicket
from kafka_ingest.testing.target import Crash
from kafka_ingest_tests.interleavings.example import Fault
from kafka_ingest_tests.interleavings.servers import Server

# An actor under way for so long, and not in the server's count, waits for something that is not counted (GET_LOCK, a
# metadata lock). Far longer than any statement takes, as others would go on while this one still runs.
UNSEEN_SECONDS = 1.5
FIRST_LOOK_SECONDS = 0.01
# Nobody moves for so long: longer than the servers' lock timeout, which the tests set to 5 s.
STUCK_SECONDS = 20.0

# Statements on tables to upsert, or on those of their tombstones or keys; temporary ones are nobody else's.
_UPSERTING = re.compile(
    r"\s*(INSERT|UPDATE|DELETE|REPLACE|SELECT|WITH)\b.*\bi_(account|coded|partial|turned)", re.DOTALL
)

_current = threading.local()


def current() -> Actor:
    """The actor of this thread."""
    found: Actor = _current.actor
    return found


class Stuck(AssertionError):
    """No actor can go on."""


@dataclass
class Process:
    """A writer's process: what dies together."""

    name: str
    sink: Sink
    is_dead: bool = False
    went_on: int = 0
    commits: int = 0
    lost_commits: Collection[int] = ()
    """Which COMMITs are executed and not answered, counted from 1."""
    connections: set[int] = field(default_factory=set)

    def begin(self, lost_commits: Collection[int]) -> None:
        """As new, for the next example."""
        self.is_dead, self.went_on, self.commits, self.lost_commits = False, 0, 0, lost_commits

    def watch(self, server: Server) -> None:
        """Note every connection, lose the answers to COMMIT that are to be lost, and stop before each statement that looks at or
        changes rows of a table to upsert: what is decided by one statement may no longer hold in the next. Once."""

        @sa.event.listens_for(self.sink.engine, "before_cursor_execute")
        def before(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
            actor: Actor | None = getattr(_current, "actor", None)
            if actor is not None and _UPSERTING.match(statement):
                actor.pause(" ".join(statement.split())[:60])

        @sa.event.listens_for(self.sink.engine, "connect")
        def connected(driver: Any, _record: object) -> None:
            self.connections.add(server.number(driver))
            commit = driver.commit

            def commit_and_lose() -> None:
                commit()
                self.commits += 1
                if self.commits in self.lost_commits:
                    server.lose(driver)

            driver.commit = commit_and_lose


class Actor:
    """A thread of a process."""

    def __init__(self, scheduler: Scheduler, name: str, process: Process) -> None:
        self.name = name
        self.process = process
        self.state: Literal["ready", "under way", "waits", "ended"] = "under way"
        """`waits`: in the database, for a lock."""
        self.is_unseen = False
        """It waits for something the server does not count."""
        self.point: object = "start"
        self.error: BaseException | None = None
        self._scheduler = scheduler
        self._until: Callable[[], bool] | None = None
        self._gives_up = False
        self._gave_up = False
        self._dies = True
        self._go = threading.Semaphore(0)

    def pause(
        self, point: object, until: Callable[[], bool] | None = None, *, gives_up: bool = False, dies: bool = True
    ) -> bool:
        """Stop until the scheduler says go on, which it does not before `until` is true; with `gives_up` also where nobody
        could go on otherwise: False then. Raises Crash where the process has been killed."""
        self.point, self._until, self._gives_up, self._gave_up, self._dies = point, until, gives_up, False, dies
        self._scheduler.arrived(self, "ready")
        self._go.acquire()
        if dies and self.process.is_dead:
            raise Crash(str(point))
        return not self._gave_up

    @property
    def can_go_on(self) -> bool:
        return self.state == "ready" and (self._until is None or self._until() or (self._dies and self.process.is_dead))

    @property
    def can_give_up(self) -> bool:
        return self.state == "ready" and self._gives_up

    def go_on(self, *, gives_up: bool = False) -> None:
        self._gave_up = gives_up
        self.state = "under way"
        self._go.release()


class Scheduler:
    """Lets one actor go on at a time. For one example."""

    def __init__(self, server: Server, schedule: Sequence[int], faults: Sequence[Fault]) -> None:
        self.trace: list[str] = []
        self._server = server
        self._schedule = iter(schedule)
        self._faults = faults
        self._actors: list[Actor] = []
        self._last: Actor | None = None
        self._changed = threading.Condition()

    def start(self, name: str, process: Process, run: Callable[[Actor], None]) -> Actor:
        """A new actor, which stands at its start."""
        actor = Actor(self, name, process)

        def body() -> None:
            _current.actor = actor
            try:
                actor.pause("start", dies=False)
                run(actor)
            except BaseException as error:  # noqa: BLE001  the one who started it asks for it
                actor.error = error
            self.arrived(actor, "ended")

        with self._changed:
            self._actors.append(actor)
        threading.Thread(target=body, name=name, daemon=True).start()
        return actor

    def arrived(self, actor: Actor, state: Literal["ready", "ended"]) -> None:
        with self._changed:
            actor.state, actor.is_unseen = state, False
            self._changed.notify_all()

    def note(self, text: str) -> None:
        self.trace.append(text)

    def run(self) -> None:
        """Until all have ended. Raises Stuck, and the first error of an actor that no other one has asked for."""
        self._settle()
        while any(actor.state != "ended" for actor in self._actors):
            ready = [actor for actor in self._actors if actor.can_go_on]
            if ready:
                actor = self._choose(ready)
                self.note(f"{actor.name} goes on from {actor.point}")
                self._strike(actor.process)
                actor.go_on()
                self._last = actor
            elif givers := [actor for actor in self._actors if actor.can_give_up]:
                self.note(f"{givers[0].name} gives up waiting at {givers[0].point}")
                givers[0].go_on(gives_up=True)
            elif not self._wait_for_anyone():
                raise Stuck("; ".join(f"{a.name} {a.state} {a.point}" for a in self._actors if a.state != "ended"))
            self._settle()

    def _choose(self, ready: list[Actor]) -> Actor:
        wanted = next(self._schedule, 0)
        if wanted == 0 and self._last in ready:
            return self._last
        return ready[(wanted - 1) % len(ready)]

    def _strike(self, process: Process) -> None:
        """The faults that come now."""
        process.went_on += 1
        for fault in self._faults:
            if process.name == f"w{fault.writer}" and fault.at == process.went_on and not process.is_dead:
                if fault.kind == "kill":
                    process.is_dead = True
                if fault.kind != "lost commit":
                    self.note(f"{process.name}: {fault.kind}")
                    self._server.kill(process.connections)

    def _settle(self) -> None:
        """Until everybody stands at a step, has ended, or waits for a lock."""
        begun = time.monotonic()
        seen = 0
        while True:
            # Most statements are done long before the first look at the server.
            seconds = 0.004 if seen or time.monotonic() - begun > FIRST_LOOK_SECONDS else FIRST_LOOK_SECONDS
            with self._changed:
                self._changed.wait_for(lambda: not self._with_state("under way"), timeout=seconds)
            moving = self._with_state("under way", "waits")
            if not moving:
                return
            counted = [actor for actor in moving if not actor.is_unseen]
            # Twice in a row where somebody was let go on just now: a lock may have been granted to one that is not awake yet.
            seen = seen + 1 if self._server.lock_waits() >= len(counted) else 0
            if seen > len(self._with_state("under way")):
                break
            if time.monotonic() - begun > UNSEEN_SECONDS:
                for actor in counted:
                    actor.is_unseen = True
                break
        with self._changed:
            for actor in self._with_state("under way"):
                actor.state = "waits"
                self.note(f"{actor.name} waits for a lock after {actor.point}{' (unseen)' if actor.is_unseen else ''}")

    def _with_state(self, *states: str) -> list[Actor]:
        return [actor for actor in self._actors if actor.state in states]

    def _wait_for_anyone(self) -> bool:
        """Whether somebody comes who waits for a lock: the database may take its own time, up to its timeout."""
        with self._changed:
            return self._changed.wait_for(
                lambda: any(actor.can_go_on for actor in self._actors) or not self._with_state("waits"), STUCK_SECONDS
            )


class WatchedTicket(CommitTicket):
    """Waiting for the slice before is a step, too, and what comes between emptying a slice's ranges and filling them."""

    def let_next_begin(self) -> None:
        super().let_next_begin()
        current().pause("ranges emptied")

    def is_next(self) -> bool:
        if self._previous is not None:
            current().pause("waits to follow", self._previous._may_follow.is_set)
        return super().is_next()

    def wait(self, seconds: float | None = None) -> None:
        if self._previous is None:
            return
        came = current().pause("waits for its turn", self._previous._is_settled.is_set, gives_up=seconds is not None)
        super().wait(None if came else 0)
