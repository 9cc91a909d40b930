"""The worker: it tells runs what happens, makes that durable, and only then does what they want.

    event ──▶ advance ──▶ journal.commit ──fsync──▶ carry out the commands ──▶ more events

A run is *hot* while it is in memory; one that only waits may be put aside and is folded again
from its snapshot and the rest of its journal when something happens to it. Folding runs ahead
of the disk; nothing else does: no command is carried out, nobody is told of an entry, before the
transaction that holds it is on disk. If the store fails, the worker stops for good: what was not
durable has not happened, and the next start goes on from the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from tenuto.engine.advance import accepts
from tenuto.engine.model import (
    Answered,
    Arrived,
    CancelRequested,
    Command,
    Drop,
    Emit,
    Entry,
    Evaluate,
    Event,
    Failed,
    Finish,
    Json,
    Listen,
    Note,
    Perform,
    Restarted,
    Resumed,
    Started,
    StartRun,
    Suspended,
    Wake,
)
from tenuto.engine.ports import (
    Chance,
    Clock,
    DocumentRow,
    Journal,
    RunRow,
)
from tenuto.engine.stuck import Stuck
from tenuto.errors import (
    CodeMissing,
    Conflict,
    NotFound,
    StorageFailed,
    TenutoError,
    configuration_fault,
    expression_fault,
    runtime_fault,
)
from tenuto.runtime.acting import Acting, Admit
from tenuto.runtime.actions import Gate
from tenuto.runtime.children import (
    NESTED_RUNS_MAX,
    child_of,
    nesting,
    no_longer_needed,
    rests,
    told_later,
)
from tenuto.runtime.emitting import Emitting
from tenuto.runtime.feeding import Feeding
from tenuto.runtime.hot import Definition, Hot, Step, find_start, is_other_code, new_row, retold, wanted
from tenuto.runtime.jobs import Jobs
from tenuto.runtime.listeners import Listeners
from tenuto.runtime.memory import HOT_RUNS, Memory
from tenuto.runtime.recording import fault_of, read_entry, reason_of, told_reason
from tenuto.runtime.settling import Offspring, Settling
from tenuto.runtime.timers import Timers
from tenuto.runtime.watching import Watchers


class Evaluator(Protocol):
    """Evaluates what could run long; see `runtime.evaluation`."""

    async def evaluate(self, expression: str, value: Json, variables: dict[str, Json], now: float) -> Json:
        """Return the first value; raises `TenutoError`."""


class Worker:
    """Drives runs; see the module's text. Implements `engine.ports.Runner`."""

    def __init__(
        self,
        journal: Journal,
        gate: Gate,
        evaluator: Evaluator,
        build: Callable[[DocumentRow], Definition],
        clock: Clock,
        chance: Chance,
        version: str,
        *,
        hot_runs: int = HOT_RUNS,
        records_only: bool = False,
        admit: Admit | None = None,
    ) -> None:
        """Drive runs with these.

        `admit` is asked when an action may begin. With `records_only`, runs hear and are told, but nothing
        that they want is done.
        """
        self._journal = journal
        self._evaluator = evaluator
        self._clock = clock
        self._chance = chance
        self._version = version
        self._records_only = records_only
        self._memory = Memory(journal, build, clock, hot_runs)
        self._hot = self._memory.runs
        self._starting: dict[str, asyncio.Lock] = {}
        self._timers = Timers(clock, self._fire)
        self._listeners = Listeners()
        self._watchers = Watchers()
        self._jobs = Jobs(self._look_if_idle)
        self._feeding = Feeding(
            journal,
            self._memory,
            self._listeners,
            self._jobs,
            clock,
            durable=self._durable,
            renew=self._renew,
            take_up=self._carry_on,
        )
        self._acting = Acting(
            journal,
            gate,
            self._jobs,
            clock,
            admit,
            spawn=self._spawn,
            answer=self._answer,
            tell=lambda hot, event: self._feeding.feed([(hot, event)]),
        )
        self._emitting = Emitting(
            self._hot, self._listeners, load=self._load, spawn=self._spawn, record=self._emit
        )
        self._late: dict[str, list[Event]] = {}  # for runs that are being folded anew
        self._offspring = Offspring()
        self._settling = Settling(self._settled)
        self._ending = Settling(lambda run: False)
        self._number: int | None = None
        self._stopped = False
        self._failure: BaseException | None = None

    # ── what operations ask for ───────────────────────────────────────────────────────

    async def start(self, definition: DocumentRow, data: Json, *, run: str | None = None) -> str:
        """Start a run; see `Runner.start`."""
        self._check()
        if self._journal.pressure:
            await self._journal.drained()
        if not self._memory.knows(definition.digest):
            await self._journal.put_documents([definition])
        if run is None:
            hot = await self._create(definition, self._chance.token(), data)
            await self._flushed()
            return hot.row.id
        lock = self._starting.setdefault(run, asyncio.Lock())
        try:
            async with lock:
                return await self._start_once(definition, data, run)
        finally:
            if not lock.locked():
                self._starting.pop(run, None)

    async def _start_once(self, definition: DocumentRow, data: Json, run: str) -> str:
        """Start a run of a given id, or find the one that is there; two at once would break the store."""
        if run in self._hot:
            await self._journal.flush()
        there = await self._journal.run(run)
        if there is not None:
            return await self._same_start(there, definition, data)
        await self._create(definition, run, data)
        await self._flushed()
        return run

    async def _same_start(self, row: RunRow, definition: DocumentRow, data: Json) -> str:
        first = await self._journal.history(row.number, limit=1)
        event = read_entry(first[0][1]).event
        same = row.definition == definition.digest
        if not same and definition.kind != "document":
            there = await self._journal.document(row.definition)
            same = there is not None and is_other_code(there, definition)
        if not same or not isinstance(event, Started) or event.input != data:
            raise Conflict(
                f"there is already a run {row.id!r}, of another document or with another input",
                hint="choose another --id",
            )
        return row.id

    async def tell(self, run: str, event: Event) -> None:
        """Give a run an event from outside; see `Runner.tell`."""
        self._check()
        if self._journal.pressure:
            await self._journal.drained()
        hot = await self._memory.load(run)
        if hot is None:
            row = await self._journal.run(run)
            if row is None:
                raise NotFound(f"there is no run {run!r}", hint="`tenuto runs` lists them")
            raise Conflict(f"the run {run} is over: {row.status}")
        children = await self._memory.load_children(hot) if isinstance(event, CancelRequested) else []
        if hot.run is not None and hot.definition.program.stale(hot.run.state):
            self._renew(hot)
        if hot.run is None:
            return await self.tell(run, event)
        accepted, status = accepts(hot.run, event), hot.run.status
        if accepted:
            self._feeding.feed([(hot, event)])
        await self._flushed()  # Nobody is told of an end either, say, that a crash could still take back.
        for each in (hot, *children):
            self._carry_on(each)
        if not accepted:
            raise Conflict(f"the run {run} is {status}: that does not go with what was asked")

    async def publish(self, event: dict[str, Json]) -> None:
        """Tell every run that listens of an event; see `Runner.publish`."""
        self._check()
        if self._journal.pressure:
            await self._journal.drained()
        await self._emitting.with_listeners(
            event["type"],
            lambda listeners: self._feeding.feed(
                [(hot, Arrived(self._clock.now(), event)) for hot in listeners]
            ),
        )
        await self._flushed()

    def _renew(self, hot: Hot) -> None:
        """Begin to fold a run from its journal again; what it has under way is begun again too."""
        for command, task in list(hot.active.items()):
            self._timers.remove(hot.row.id, command)
            if task is None:
                self._acting.release(hot.row.id, command)
            else:
                task.cancel()
        hot.active.clear()
        self._listeners.remove(hot.row.id)
        self._memory.renew(hot.row.id)
        self._jobs.start(self._take_up(hot.row.id))

    async def _take_up(self, run: str) -> None:
        await self._load(run)

    async def retry(self, run: str, task: str, *, replace: bool = False, data: Json = None) -> str:
        """Start a new run that shares another's history up to a task; see `Runner.retry`."""
        self._check()
        row = await self._journal.run(run)
        if row is None:
            raise NotFound(f"there is no run {run!r}", hint="`tenuto runs` lists them")
        if row.ended is None:
            raise Conflict(f"the run {run} is {row.status}", hint=f"`tenuto cancel {run}` ends it first")
        definition = await self._journal.document(row.definition)
        if definition is None:
            raise NotFound(f"the document of run {run} is not in the database")
        entries = [read_entry(entry) async for entry in self._memory.entries(row.number)]
        path, cut = find_start(entries, task)
        hot = await self._empty(definition, self._chance.token(), origin=run, origin_entries=cut)
        events = retold(entries[:cut], Restarted(self._clock.now(), hot.row.id, path, replace, data))
        told = [(hot, event) for event in events]
        try:
            self._feeding.feed(told, created=hot.row, history=[entry.notes for entry in entries[: cut - 1]])
        except Stuck as stuck:
            raise Conflict(stuck.message, hint=stuck.hint) from None
        hot.lie_idle()
        await self._flushed()
        self._carry_on(hot)
        return hot.row.id

    async def settle(self, run: str) -> RunRow:
        """Return when a run is over, suspended, or nothing here can move it; see `Runner.settle`."""
        await self.resume(run)
        row = await self._settling.wait(run)
        if detached := self._jobs.detached(run):
            await asyncio.wait(detached)
        for child in self._offspring.take(run):
            await self.settle(child)
        self._check()
        if row is None:
            await self._journal.flush()
            row = await self._journal.run(run)
        if row is None:
            raise NotFound(f"there is no run {run!r}", hint="`tenuto runs` lists them")
        return row

    async def ended(self, run: str) -> RunRow:
        """Return when a run is over; see `Runner.ended`."""
        await self.resume(run)
        hot = self._hot.get(run)
        if hot is not None and hot.run is not None and hot.run.status == "suspended":
            if (reason := await self._kept(hot)) is not None:
                raise _not_before_mended(reason)
            hot = self._hot.get(run)  # What a paused run hears may have ended it meanwhile.
        if hot is not None and hot.run is not None and not hot.run.over:
            row = await self._ending.wait(run)
            self._check()
            if row is not None:
                return row
        await self._journal.flush()
        row = await self._journal.run(run)
        if row is None:
            raise NotFound(f"there is no run {run!r}", hint="`tenuto runs` lists them")
        return row

    async def _kept(self, hot: Hot) -> str | None:
        """Return why a suspended run cannot go on; None if somebody has paused it."""
        await self._journal.flush()
        reason = None
        async for data in self._memory.entries(hot.row.number):
            entry = read_entry(data)
            reason = None if type(entry.event) is Resumed else reason_of(entry) or reason
        return reason

    async def query(self, run: str, name: str) -> Json:
        """Return what a run says of itself; see `Runner.query`."""
        await self._load(run)
        return await self._memory.query(run, name)

    def watch(self, watcher: Callable[[str, int, Entry], None]) -> Callable[[], None]:
        """Call `watcher` for each durable entry; see `Runner.watch`."""
        return self._watchers.add(watcher)

    async def resume(self, run: str) -> None:
        """Take up a run where its journal ends, with its children; does nothing if it is hot or over."""
        self._check()
        await self._load(run)

    async def recover(self) -> int:
        """Take up every run that is not over; return how many."""
        count = 0
        self._emitting.revive()
        try:
            async for loaded in self._memory.load_open(self._clock.now()):
                count += len(loaded)
                for hot in loaded:
                    self._carry_on(hot)
                self._memory.put_aside(self._is_needed)
        finally:
            self._revived()
        self._check()
        return count

    async def close(self) -> None:
        """Stop: actions under way are abandoned and start again when their runs are taken up."""
        self._stopped = self._feeding.stopped = True
        self._timers.stop()
        await asyncio.gather(*self._jobs.stop(), return_exceptions=True)
        if self._failure is None:
            await self._journal.flush()
        self._settling.end()
        self._ending.end()
        self._memory.forget_all()

    def fail(self, error: BaseException) -> None:
        """The store has failed: nothing more is done, everybody who waits is told."""
        self._failure = error
        self._stopped = self._feeding.stopped = self._feeding.failed = True
        self._timers.stop()
        self._jobs.stop()
        self._settling.end(self._failed())
        self._ending.end(self._failed())
        self._memory.forget_all()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failed()

    def _failed(self) -> TenutoError:
        if isinstance(self._failure, TenutoError):
            return self._failure
        return StorageFailed(f"the database failed: {self._failure}")

    # ── after the disk ────────────────────────────────────────────────────────────────

    def _durable(self, steps: list[Step]) -> None:
        for step in steps:
            hot = step.hot
            hot.unwritten -= 1
            self._watchers.tell(hot.row.id, step.seq, step.entry)
            again = type(step.entry.event) is Resumed
            for command in step.commands:
                if type(command) is not Note:
                    self._carry_out(hot, command, again=again)
            reason = reason_of(step.entry)
            if reason is not None:
                self._ending.fail(hot.row.id, _not_before_mended(reason))
            status = hot.run.status if hot.run else None
            if status == "suspended" or (status == "waiting" and hot.row.parent_command is not None):
                self._settling.look()
        self._look_if_idle()

    def _look_if_idle(self) -> None:
        """Nothing is under way any more: runs that only wait have settled."""
        if not self._feeding.uncommitted and len(self._settling) and not len(self._jobs):
            self._settling.look()

    def _carry_out(self, hot: Hot, command: Command, *, again: bool = False) -> None:
        """Do what a run wants, unless a later event has taken it back meanwhile."""
        run = hot.run
        if run is None or isinstance(command, Note) or self._stopped:
            return  # without a run: it is being folded anew, and wants this again then
        if isinstance(command, Drop):
            self._drop(hot, command.id)
            return
        if isinstance(command, Finish):
            self._retire(hot)
            return
        if command.id in hot.active or not wanted(run, command):
            return
        if self._records_only and not isinstance(command, Listen):
            return
        hot.active[command.id] = None
        match command:
            case Perform():
                self._acting.ask(hot, command)
            case Evaluate():
                self._spawn(hot, command.id, lambda: self._evaluate(hot, command))
            case Wake():
                self._timers.add(hot.row.id, command.id, command.at)
            case Listen():
                self._listeners.add(hot.row.id, command.types)
            case Emit():
                self._emitting.emit(hot, command)
            case StartRun():
                task = self._spawn(hot, command.id, lambda: self._start_child(hot, command, again))
                if again:
                    self._emitting.revive()
                    task.add_done_callback(self._revived)

    def _spawn(
        self,
        hot: Hot,
        command: int,
        work: Callable[[], Coroutine[Any, Any, None]],
        then: Callable[[], None] | None = None,
    ) -> asyncio.Task[None]:
        task = hot.active[command] = self._jobs.start(self._see_to(hot, command, work), then)
        return task

    async def _see_to(self, hot: Hot, command: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Work for a command; what goes wrong on the way is its fault, so that no run waits for ever."""
        try:
            await work()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if self._stopped or task is None or task.cancelling():
                raise
            self._answer(hot, Failed(self._clock.now(), command, fault_of(error)))
        except CodeMissing as missing:
            hot.active.pop(command, None)
            self._keep(hot, missing)
        except Exception as error:
            self._answer(hot, Failed(self._clock.now(), command, fault_of(error)))

    def _keep(self, hot: Hot, missing: CodeMissing) -> None:
        """The code of a run that this one waits for is not at hand: it goes on when somebody resumes it."""
        event = Suspended(self._clock.now(), f"{missing.message}\nhint: {missing.hint}")
        if accepts(hot.run, event):
            self._feeding.feed([(hot, event)])
        self._look_if_idle()

    def _answer(self, hot: Hot, event: Answered | Failed) -> None:
        hot.active.pop(event.id, None)
        if not accepts(hot.run, event):
            self._look_if_idle()
            return
        try:
            self._feeding.feed([(hot, event)])
        except Exception as error:
            if self._stopped:
                return
            if hot.run is None:
                # What follows from the answer cannot be recorded: it is not the action that has failed.
                self._tell_later(hot, Suspended(event.time, told_reason(error)))
            else:
                # What cannot be recorded itself, nested too deep for instance, has failed.
                self._feeding.feed([(hot, Failed(event.time, event.id, fault_of(error)))])

    def _tell_later(self, hot: Hot, event: Event) -> None:
        """Tell a run that is being folded anew, before anything that it wants is begun again."""
        self._late.setdefault(hot.row.id, []).append(event)

    # ── actions ───────────────────────────────────────────────────────────────────────

    async def _evaluate(self, hot: Hot, command: Evaluate) -> None:
        try:
            value = await self._evaluator.evaluate(
                command.expression, command.value, command.variables, command.now
            )
        except TenutoError as error:
            raise expression_fault(error.message) from None
        self._answer(hot, Answered(self._clock.now(), command.id, value))

    def _drop(self, hot: Hot, command: int) -> None:
        task = hot.active.pop(command, None)
        self._timers.remove(hot.row.id, command)
        if task is None:
            self._acting.release(hot.row.id, command)
        else:
            task.cancel()

    def _retire(self, hot: Hot) -> None:
        """A run is over: let go of everything but actions that nothing waits for."""
        detached = self._jobs.detached(hot.row.id)
        for command, task in list(hot.active.items()):
            self._timers.remove(hot.row.id, command)
            if task is None:
                self._acting.release(hot.row.id, command)
            elif task not in detached:
                task.cancel()
        self._listeners.remove(hot.row.id)
        self._hot.pop(hot.row.id, None)
        if hot.run is not None:
            hot.definition.program.forget(hot.run.state)
        if len(self._offspring):
            self._offspring.remove(hot.row.id)
        self._settling.settle(hot.row.id, hot.row)
        self._ending.settle(hot.row.id, hot.row)

    # ── timers, events, children ──────────────────────────────────────────────────────

    def _fire(self, run: str, command: int, now: float) -> None:
        # The time at which it was seen to be due: on a second look, the clock may have been set back.
        hot, fired = self._hot.get(run), Answered(now, command)
        if hot is not None:
            self._answer(hot, fired)
        else:
            self._jobs.start(self._fire_cold(run, fired))

    async def _fire_cold(self, run: str, fired: Answered) -> None:
        hot = await self._load(run)
        if hot is not None:
            self._answer(hot, fired)

    def _revived(self, _: object = None) -> None:
        """A part of what was on disk is taken up; if it was the last, runs may have settled."""
        if self._emitting.revived() and len(self._settling):
            self._settling.look()

    def _emit(self, hot: Hot, command: Emit, others: list[Hot]) -> None:
        """Record an event with everybody who listens, and that it was sent, in one transaction."""
        hot.active.pop(command.id, None)
        now = self._clock.now()
        told: list[tuple[Hot, Event]] = [(other, Arrived(now, command.event)) for other in others]
        try:
            self._feeding.feed([*told, (hot, Answered(now, command.id))])
        except Exception as error:
            failed = Failed(now, command.id, fault_of(error))
            if hot.run is None:
                self._tell_later(hot, failed)
            else:
                self._answer(hot, failed)

    async def _start_child(self, hot: Hot, command: StartRun, again: bool) -> None:
        run = child_of(hot.row.id, command.id)
        if again:
            try:
                child = await self._load(run)
            except Conflict as kept:
                raise CodeMissing(kept.message, hint=kept.hint) from None
            if child is not None and (child.run is None or not child.run.over):
                return
            there = child.row if child is not None else await self._journal.run(run)
            if there is not None:
                self._answer(hot, told_later(there, command, self._clock.now()))
                return
        if nesting(hot, self._hot) >= NESTED_RUNS_MAX:
            detail = f"runs that wait for each other nest deeper than NESTED_RUNS_MAX, {NESTED_RUNS_MAX}"
            raise runtime_fault(detail, title="Limit Exceeded")
        definition = await self._journal.find_document(command.namespace, command.name, command.version)
        if definition is None:
            detail = f"there is no workflow {command.namespace}/{command.name}:{command.version}"
            raise configuration_fault(f"{detail}; make it known with --with")
        await self._create(definition, run, command.input, hot, command)

    # ── runs in memory ────────────────────────────────────────────────────────────────

    async def _empty(
        self,
        definition: DocumentRow,
        run: str,
        parent: Hot | None = None,
        command: StartRun | None = None,
        *,
        origin: str | None = None,
        origin_entries: int | None = None,
    ) -> Hot:
        if self._number is None:
            number = await self._journal.last_number()
            self._number = max(number, self._number or 0)
        await self._memory.unread(run)
        if run in self._hot:
            raise Conflict(f"a run {run!r} is being started right now", hint="start it once")
        if (
            parent is not None
            and command is not None
            and (not parent.run or command.id not in parent.run.open)
        ):
            raise Conflict(f"the run {run} is not needed any more")
        self._number += 1
        now = self._clock.now()
        row = new_row(
            self._number,
            run,
            definition,
            now,
            parent=parent.row.id if parent else None,
            parent_command=command.id if command and command.wait else None,
            origin=origin,
            origin_entries=origin_entries,
        )
        hot = Hot(row, self._memory.define(definition))
        self._hot[run] = hot
        return hot

    async def _create(
        self,
        definition: DocumentRow,
        run: str,
        data: Json,
        parent: Hot | None = None,
        command: StartRun | None = None,
    ) -> Hot:
        hot = await self._empty(definition, run, parent, command)
        started = Started(
            hot.row.started,
            run,
            definition.digest,
            data,
            self._chance.token(),
            hot.definition.undo,
            self._version,
        )
        told: list[tuple[Hot, Event]] = [(hot, started)]
        if parent is not None and command is not None and not command.wait:
            parent.active.pop(command.id, None)
            self._offspring.add(parent.row.id, run)
            told.append((parent, Answered(hot.row.started, command.id)))
        self._feeding.feed(told, created=hot.row)
        self._memory.put_aside(self._is_needed)
        return hot

    async def _load(self, run: str) -> Hot | None:
        """Take up a run from memory or disk; None if it is over or not there."""
        hot = await self._memory.load(run)
        if hot is not None:
            self._carry_on(hot)
        return hot

    def _carry_on(self, hot: Hot) -> None:
        """Begin to work on a run from the disk, if nobody does yet."""
        if not hot.idle:
            return
        hot.idle, found, hot.found = False, hot.found, ()
        if hot.orphaned:
            self._feeding.feed([(hot, no_longer_needed(self._clock.now()))])
        for event in self._late.pop(hot.row.id, ()):
            if accepts(hot.run, event):
                self._feeding.feed([(hot, event)])
        self._emitting.revive()
        # What is asked for by entries that are not on the disk yet is done once they are, as ever.
        for command in [hot.run.open[id] for id in found if id in hot.run.open] if hot.run else ():
            self._carry_out(hot, command, again=True)
        self._revived()

    def _is_needed(self, run: str) -> bool:
        """Whether a run has to stay in memory although it only waits."""
        return run in self._settling or self._listeners.hears_lifecycle_events(run)

    async def _flushed(self) -> None:
        await self._journal.flush()
        self._check()

    def _settled(self, run: str) -> bool:
        """Whether a run is over, suspended, or waits for what nothing in this process can give."""
        hot = self._hot.get(run)
        if hot is None or hot.run is None or hot.run.over:
            return hot is None
        if hot.run.status == "suspended":
            return rests(hot, self._hot)
        busy = len(self._jobs) or self._feeding.uncommitted or len(self._timers)
        return not (busy or self._emitting.reviving or self._memory.loading)


def _not_before_mended(reason: str) -> Conflict:
    return Conflict(reason, hint="mend it, then `tenuto resume`")
