"""The bug zoo: engines with a bug each, switched on from outside. A programme that does not catch them proves nothing.

    with BUGS["a gap in seq"]():
        play(seed)                 # has to be reported

Each is a mistake that somebody could really make: a wait that is left out, two transactions in place of one, a case
that is forgotten after a crash. They are patches of the runtime, so that any layer can play them in its own
process; those of the store fit the real one and the simulated.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeAlias
from unittest import mock

import msgspec

from tenuto.authoring.execution import Execution
from tenuto.authoring.undoing import Undoing
from tenuto.authoring.waits import Action
from tenuto.engine import advance
from tenuto.engine.model import SIGNAL, Arrived, CancelRequested, Listen, Wake
from tenuto.errors import NotFound, StorageFailed
from tenuto.runtime import acting, actions, feeding, memory, turn, worker
from tenuto.runtime.actions import Gate
from tenuto.runtime.emitting import Emitting
from tenuto.runtime.feeding import Feeding
from tenuto.runtime.jobs import Jobs
from tenuto.runtime.memory import Memory
from tenuto.runtime.settling import Settling
from tenuto.runtime.timers import LONGEST_SLEEP_SECONDS, Timers
from tenuto.runtime.turn import Turn
from tenuto.runtime.worker import Worker
from tenuto.storage import lock
from tenuto.storage.journal import DatabaseJournal, DatabaseReader
from tests.reliability.house.work import LIFE
from tests.reliability.simulation.disk import Disk, Reader, Store

Patch: TypeAlias = tuple[Any, str, Any]  # where, which name, what is put there

_STORES: Final[tuple[Any, ...]] = (DatabaseJournal, Store)
_EVERY: Final = 25
"""How often the bugs come up that need a counter: in every so many cases."""


@contextmanager
def _switched_on(patches: Callable[[], Sequence[Patch]]) -> Iterator[None]:
    with ExitStack() as stack:
        for owner, name, value in patches():
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


# ── the store, and the order of things ───────────────────────────────────────────────────


def acknowledged_before_the_commit() -> list[Patch]:
    """Whoever asks is told before the transaction is on disk."""

    async def flush(self: Any) -> None:
        await asyncio.sleep(0)

    return [(store, "flush", flush) for store in _STORES]


def commands_before_the_fsync() -> list[Patch]:
    """What a run wants is done while its entry is still being written."""

    def early(commit: Any) -> Any:
        def committed(self: Any, batch: Any, done: Callable[[], None]) -> None:
            commit(self, batch, lambda: None)
            asyncio.get_running_loop().call_soon(done)

        return committed

    return [(store, "commit", early(store.commit)) for store in _STORES]


def a_lost_wake_up() -> list[Patch]:
    """Now and then nobody is told that a transaction is on disk."""

    def lossy(commit: Any) -> Any:
        numbers = itertools.count(1)

        def committed(self: Any, batch: Any, done: Callable[[], None]) -> None:
            commit(self, batch, (lambda: None) if next(numbers) % _EVERY == 0 else done)

        return committed

    return [(store, "commit", lossy(store.commit)) for store in _STORES]


def a_full_disk_swallowed() -> list[Patch]:
    """A transaction that could not be written counts as written."""

    def swallowing(write: Any) -> Any:
        def written(self: Any, works: Any) -> Any:
            try:
                return write(self, works)
            except (StorageFailed, sqlite3.Error, OSError):
                return True

        return written

    return [(store, "_write", swallowing(store._write)) for store in _STORES]


def a_failed_store_that_tells_nobody() -> list[Patch]:
    """The store writes no more, and whoever waits for it waits for ever."""
    return [(store, "_take_failure", lambda self, error: None) for store in _STORES]


def who_asks_as_the_store_fails_is_not_told() -> list[Patch]:
    """Whoever waits is told of the failure; whoever begins to wait a moment later waits for ever."""
    end = Settling.end

    def ended(self: Settling, error: BaseException | None = None) -> None:
        end(self, error)
        self._ended, self._error = False, None

    return [(Settling, "end", ended)]


def the_worker_goes_on_after_the_store_failed() -> list[Patch]:
    """The worker does not listen to the failure."""
    return [(Worker, "fail", lambda self, error: None)]


def two_processes_on_one_database() -> list[Patch]:
    """The lock is not taken.

    In the simulation that is the lock of the simulated disk, so that what is caught there is what two processes do.
    The lock of a real database is tested where there is one: by the kills, and by the tests of the storage.
    """
    return [
        (Disk, "hold", lambda self, life: None),
        (lock, "_take", lambda descriptor, database: None),
    ]


def a_gap_in_seq() -> list[Patch]:
    """Now and then an entry's number is left out."""
    take, numbers = Turn.take, itertools.count(1)

    def skipping(self: Turn, hot: Any, event: Any, *rest: Any) -> Any:
        if next(numbers) % _EVERY == 0:
            hot.seq += 1
        return take(self, hot, event, *rest)

    return [(Turn, "take", skipping)]


def a_snapshot_one_entry_ahead() -> list[Patch]:
    """A snapshot says that it holds one entry more than it does."""

    def ahead(snapshot_of: Any) -> Any:
        def taken(*arguments: Any) -> Any:
            snapshot = snapshot_of(*arguments)
            return snapshot and msgspec.structs.replace(snapshot, seq=snapshot.seq + 1)

        return taken

    return [(module, "snapshot_of", ahead(module.snapshot_of)) for module in (turn, memory)]


# ── actions ──────────────────────────────────────────────────────────────────────────────


def another_key_for_each_attempt() -> list[Patch]:
    """The idempotency key of a step counts its attempts."""
    key = Action.idempotency_key

    def numbered(self: Action) -> str:
        return f"{key(self)}@{self.attempt}"

    return [(Action, "idempotency_key", numbered)]


def another_key_after_a_restart() -> list[Patch]:
    """Each process has idempotency keys of its own."""
    begin, perform = Gate.__init__, Gate.perform
    lives = itertools.count(int(os.environ.get(LIFE, "1")))
    life: dict[int, int] = {}

    def born(self: Gate, *arguments: Any) -> None:
        begin(self, *arguments)
        life[id(self)] = next(lives)

    async def performed(self: Gate, run: str, command: Any, *rest: Any) -> Any:
        number = life[id(self)]
        key = command.key if number == 1 else f"{command.key}@{number}"
        return await perform(self, run, msgspec.structs.replace(command, key=key), *rest)

    return [(Gate, "__init__", born), (Gate, "perform", performed)]


def answers_taken_twice() -> list[Patch]:
    """An answer counts although its command is answered or dropped."""

    def accepts(run: Any, event: Any) -> bool:
        return True

    return [(module, "accepts", accepts) for module in (worker, feeding, acting)]


def what_is_dropped_goes_on() -> list[Patch]:
    """The work for a command is not stopped when nobody wants it any more, nor when the run is over."""

    def retired(self: Any, hot: Any) -> None:
        hot.active.clear()
        retire(self, hot)

    def dropped(self: Any, hot: Any, command: int) -> None:
        self._timers.remove(hot.row.id, command)

    retire = Worker._retire
    return [(Worker, "_drop", dropped), (Worker, "_retire", retired)]


def a_pause_that_does_not_pause() -> list[Patch]:
    """What a paused run wants is done all the same."""

    def applied(status: Any, *rest: Any) -> Any:
        return apply("running" if status == "suspended" else status, *rest)

    apply = advance._apply
    return [(advance, "_apply", applied)]


def undo_forgotten_after_a_crash() -> list[Patch]:
    """What was done before a crash is not taken back after it."""
    remember = Undoing.remember

    def forgetful(self: Undoing, action: Action, output: Any) -> None:
        if action.execution._recorded is None:
            remember(self, action, output)

    return [(Undoing, "remember", forgetful)]


def a_secret_in_the_journal() -> list[Patch]:
    """What a call gives back is recorded as it is."""
    return [
        (actions, "redact", lambda value, used: value),
        (actions, "redact_cut", lambda text, used: text),
    ]


def replay_asks_for_the_time() -> list[Patch]:
    """When a timer is due depends on when the code is run."""
    open_timer, numbers = Execution.open_timer, itertools.count(1)

    def opened(self: Execution, sleep: Any, asker: Any) -> Any:
        self.time += next(numbers) / 1_000  # a clock that seeds can be played again with
        return open_timer(self, sleep, asker)

    return [(Execution, "open_timer", opened)]


# ── timers ───────────────────────────────────────────────────────────────────────────────


def timers_that_trust_their_sleep() -> list[Patch]:
    """A timer fires when it has slept long enough, whatever the clock says by then."""

    def check(self: Timers) -> None:
        now = self._clock.now()
        if self._heap and self._slept < LONGEST_SLEEP_SECONDS:  # type: ignore[attr-defined]  # below
            now = max(now, self._heap[0][0])
        while self._heap and (self._heap[0][0] <= now or self._heap[0][1:] not in self._live):
            _, run, command = timer = heapq.heappop(self._heap)
            if timer[1:] in self._live:
                self._live.discard(timer[1:])
                self._fire(run, command, self._clock.now())
        self._arm()

    def armed(self: Timers) -> None:
        arm(self)
        delay = self._heap[0][0] - self._clock.now() if self._heap else 0.0
        self._slept = min(max(delay, 0.0), LONGEST_SLEEP_SECONDS)  # type: ignore[attr-defined]  # the bug's own

    arm = Timers._arm
    return [(Timers, "check", check), (Timers, "_arm", armed)]


def a_timer_that_waits_for_the_next_one() -> list[Patch]:
    """Who sleeps until a timer goes on sleeping when one is added that is due before it."""

    def added(self: Timers, run: str, command: int, at: float) -> None:
        if (run, command) not in self._live:
            self._live.add((run, command))
            heapq.heappush(self._heap, (at, run, command))
            if self._handle is None:
                self._arm()

    return [(Timers, "add", added)]


def timers_forgotten_on_restart() -> list[Patch]:
    """Timers, of retries for instance, are not set again when a run is taken up."""
    return [_not_again(Wake)]


def listeners_forgotten_on_restart() -> list[Patch]:
    """Who listened before a restart does not hear any more."""
    return [_not_again(Listen)]


def _not_again(kind: type[Any]) -> Patch:
    carry_out = Worker._carry_out

    def carried_out(self: Worker, hot: Any, command: Any, *, again: bool = False) -> None:
        if not (again and isinstance(command, kind)):
            carry_out(self, hot, command, again=again)

    return Worker, "_carry_out", carried_out


def recovery_stops_early() -> list[Patch]:
    """Only the first runs are taken up at the start."""

    def short(open_runs: Any) -> Any:
        async def opened(self: Any, after: int = 0, limit: int = 1_000) -> Any:
            return [] if after else await open_runs(self, after, limit)

        return opened

    return [(reader, "open_runs", short(reader.open_runs)) for reader in (DatabaseReader, Reader)]


# ── what runs and clients tell each other ────────────────────────────────────────────────


def a_child_ends_in_its_own_transaction() -> list[Patch]:
    """A child's end and its parent's answer are written one after the other."""

    def told(self: Feeding, hot: Any, finish: Any, time: float, work: Any) -> None:
        later: deque[Any] = deque()
        tell(self, hot, finish, time, later)
        if later:
            asyncio.get_running_loop().call_later(0.001, self.feed, later)

    tell = Feeding._tell_parent
    return [(Feeding, "_tell_parent", told)]


def an_event_in_two_transactions() -> list[Patch]:
    """That an event was sent is written after it was written for those who listen."""
    emit = Worker._emit

    def emitted(self: Worker, hot: Any, command: Any, others: list[Any]) -> None:
        if others:
            now = self._clock.now()
            self._feeding.feed([(other, Arrived(now, command.event)) for other in others])
        asyncio.get_running_loop().call_later(0.001, emit, self, hot, command, [])

    return [(Worker, "_emit", emitted)]


def events_not_held_back() -> list[Patch]:
    """An event goes out before all who listened were taken up again."""

    def begun(self: Emitting) -> None:
        """Count nothing."""

    def over(self: Emitting) -> bool:
        return False

    return [(Emitting, "revive", begun), (Emitting, "revived", over)]


def a_signal_lost_on_a_run_put_aside() -> list[Patch]:
    """Who is not in memory is not told, and nobody hears of that."""
    tell = Worker.tell

    async def told(self: Worker, run: str, event: Any) -> None:
        if run in self._hot or not isinstance(event, Arrived):
            await tell(self, run, event)

    return [(Worker, "tell", told)]


def signals_in_another_order() -> list[Patch]:
    """Of signals that wait for the code, the last comes first."""
    arrive = Execution._arrive

    def arrived(self: Execution, event: dict[str, Any]) -> None:
        arrive(self, event)
        kept = self.signals.get(str(event.get("subject"))) if event.get("type") == SIGNAL else None
        if kept and kept[-1] is event:
            kept.rotate(1)

    return [(Execution, "_arrive", arrived)]


def a_cancellation_that_is_not_durable() -> list[Patch]:
    """Whoever cancels is told at once."""
    tell = Worker.tell

    async def told(self: Worker, run: str, event: Any) -> None:
        if isinstance(event, CancelRequested):
            self._jobs.start(_quietly(tell(self, run, event)))
        else:
            await tell(self, run, event)

    return [(Worker, "tell", told)]


async def _quietly(work: Any) -> None:
    with suppress(Exception):  # whoever asked is gone
        await work


def two_copies_of_a_run() -> list[Patch]:
    """Two who need a run at the same time each read it from the disk."""

    async def load(self: Memory, run: str) -> Any:
        if run not in self.runs:
            await self._load(run)
        return self.runs.get(run)

    return [(Memory, "load", load)]


def a_run_that_is_read_while_it_begins() -> list[Patch]:
    """Who asks for a run just when it begins reads a second copy of it from the disk."""

    async def unread(self: Memory, run: str) -> None:
        """Wait for nobody."""

    return [(Memory, "unread", unread)]


def work_that_begins_while_the_worker_stops() -> list[Patch]:
    """What is stopped makes room for what waited, and that begins."""
    stop = Jobs.stop

    def stopped(self: Jobs) -> Any:
        tasks = stop(self)
        self._stopped = False
        return tasks

    return [(Jobs, "stop", stopped)]


def what_newer_entries_ask_for_done_early() -> list[Patch]:
    """Who takes a run up from the disk also does what it wants ahead of the disk."""
    carry_on = Worker._carry_on

    def carried_on(self: Worker, hot: Any) -> None:
        if hot.idle and hot.run is not None:
            hot.found = tuple(hot.run.open)
        carry_on(self, hot)

    return [(Worker, "_carry_on", carried_on)]


def a_query_ahead_of_the_disk() -> list[Patch]:
    """A query shows what is not durable yet."""
    query = Worker.query

    async def asked(self: Worker, run: str, name: str) -> Any:
        hot = await self._load(run)
        if hot is None or hot.run is None:
            return await query(self, run, name)
        try:
            return hot.definition.program.query(hot.run.state, name)
        except KeyError:
            raise NotFound(f"the run {run} answers no query {name!r}") from None

    return [(Worker, "query", asked)]


_ALL: Final[tuple[Callable[[], Sequence[Patch]], ...]] = (
    acknowledged_before_the_commit,
    commands_before_the_fsync,
    a_lost_wake_up,
    a_full_disk_swallowed,
    a_failed_store_that_tells_nobody,
    who_asks_as_the_store_fails_is_not_told,
    the_worker_goes_on_after_the_store_failed,
    two_processes_on_one_database,
    a_gap_in_seq,
    a_snapshot_one_entry_ahead,
    another_key_for_each_attempt,
    another_key_after_a_restart,
    answers_taken_twice,
    what_is_dropped_goes_on,
    a_pause_that_does_not_pause,
    undo_forgotten_after_a_crash,
    a_secret_in_the_journal,
    replay_asks_for_the_time,
    timers_that_trust_their_sleep,
    a_timer_that_waits_for_the_next_one,
    timers_forgotten_on_restart,
    listeners_forgotten_on_restart,
    recovery_stops_early,
    a_child_ends_in_its_own_transaction,
    an_event_in_two_transactions,
    events_not_held_back,
    a_signal_lost_on_a_run_put_aside,
    signals_in_another_order,
    a_cancellation_that_is_not_durable,
    two_copies_of_a_run,
    a_run_that_is_read_while_it_begins,
    work_that_begins_while_the_worker_stops,
    what_newer_entries_ask_for_done_early,
    a_query_ahead_of_the_disk,
)

BUGS: Final[Mapping[str, Callable[[], AbstractContextManager[None]]]] = {
    patches.__name__.replace("_", " "): partial(_switched_on, patches) for patches in _ALL
}
"""Every bug by name; the simulation has to catch them all."""


def _nothing() -> list[Patch]:
    """Put everything that a bug replaces where it is already."""
    return [(owner, name, getattr(owner, name)) for patches in _ALL for owner, name, _ in patches()]


nothing: Final = partial(_switched_on, _nothing)
"""The negative control: whoever switches bugs on sees nothing with this one."""

CAUGHT_BY: Final[Mapping[str, frozenset[str]]] = {
    "acknowledged before the commit": frozenset({"I1", "I4", "I7", "promise"}),
    "commands before the fsync": frozenset({"I4", "promise"}),
    "a lost wake up": frozenset({"I1"}),
    "a full disk swallowed": frozenset({"I1", "I3", "I7", "promise"}),
    "a failed store that tells nobody": frozenset({"I1", "promise"}),
    "who asks as the store fails is not told": frozenset({"promise"}),
    "the worker goes on after the store failed": frozenset({"I4", "promise"}),
    "two processes on one database": frozenset({"I3", "I4"}),
    "a gap in seq": frozenset({"I3"}),
    "a snapshot one entry ahead": frozenset({"I3", "I4", "I10"}),
    "another key for each attempt": frozenset({"I4"}),
    "another key after a restart": frozenset({"I4"}),
    "answers taken twice": frozenset({"I4", "I10"}),
    "what is dropped goes on": frozenset({"I4", "I5"}),
    "a pause that does not pause": frozenset(
        {"I1"}
    ),  # it goes on as running: nobody resumes what the pause held up
    "undo forgotten after a crash": frozenset({"I10"}),
    "a secret in the journal": frozenset({"I11"}),
    "replay asks for the time": frozenset({"I6", "I10"}),
    "timers that trust their sleep": frozenset({"I6"}),
    "a timer that waits for the next one": frozenset({"I6"}),
    "timers forgotten on restart": frozenset({"I1"}),
    "listeners forgotten on restart": frozenset({"I1", "I7"}),
    "recovery stops early": frozenset({"I1", "I7"}),
    "a child ends in its own transaction": frozenset({"I4"}),
    "an event in two transactions": frozenset({"I7"}),
    "events not held back": frozenset({"I7"}),
    "a signal lost on a run put aside": frozenset({"I1", "I7"}),
    "signals in another order": frozenset({"I7"}),
    "a cancellation that is not durable": frozenset({"promise"}),
    "two copies of a run": frozenset({"I3", "I4"}),
    "a run that is read while it begins": frozenset({"I3", "I4"}),
    "work that begins while the worker stops": frozenset({"I4", "I5", "promise"}),  # the loop complains of it
    "what newer entries ask for done early": frozenset({"I4"}),
    "a query ahead of the disk": frozenset({"promise"}),
}
"""The invariants that each bug breaks: what else is violated while it is on does not count as noticing it."""

TOLD: Final[Mapping[str, str]] = {
    patches.__name__.replace("_", " "): (patches.__doc__ or "").strip() for patches in _ALL
}
"""What each bug is, in a sentence."""

ELSEWHERE: Final[Mapping[str, str]] = {
    "synchronous=NORMAL, synchronous=OFF": "the simulated disk has no such setting: the layer of power loss plays them",
    "fsync does nothing": "as above; and `strace` counts the calls",
}
"""Weaknesses that another layer has to see."""

NOT_YET: Final[Mapping[str, str]] = {
    "no epoch check": "there are no epochs: one process has the database, by a lock that the kernel gives back;"
    " in its place the zoo has two processes on one database",
    "approval checked before, used after": "approvals come with governance",
    "audit leaf outside the transaction": "the audit log comes with governance",
    "a tick that starts two runs": "schedules run with the server",
}
"""Bugs of section 2.5 of the reliability notes that nothing here can have yet, and why."""
