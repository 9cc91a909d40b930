"""One run of a workflow's code: its coroutine, driven by the events of its journal.

    take(Started)      the code runs to where all of it waits    -> commands: Perform 1, Perform 2
    take(Answered 2)   what waited for 2 goes on                 -> commands: Wake 3

Everything here follows from the events, in their order: tasks that can go on do so first come, first
served. When events are folded again, the notes recorded with them are compared with those that the
code gives now, one by one: code that asks for something else is stopped before it does harm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from tenuto.authoring import waits
from tenuto.authoring.asking import (
    NOWHERE,
    Ask,
    Asker,
    EventWait,
    FunctionCall,
    Sleep,
    StepCall,
    Wait,
    close_generators_left,
    context_of,
    gone,
    restore_generator_hooks,
)
from tenuto.authoring.failures import (
    Cancelled,
    ContinueAsNew,
    Nondeterministic,
    fault_of_exception,
    told,
)
from tenuto.authoring.fresh import Fresh
from tenuto.authoring.notes import LOGGED, MAY_BE_GONE, PATCHED, STARTED, past
from tenuto.authoring.tasks import Guard, Task, ended, is_new, place_of
from tenuto.authoring.undoing import ANYTHING, Undo, Undoing
from tenuto.engine.model import (
    CONTINUED,
    SIGNAL,
    STUCK,
    Answered,
    Arrived,
    CancelRequested,
    Command,
    Drop,
    Event,
    Failed,
    Finish,
    Json,
    Note,
    Progressed,
    Restarted,
    Started,
)
from tenuto.engine.stuck import HistoryMismatch, Stuck
from tenuto.errors import Invalid, InvalidInput

if TYPE_CHECKING:
    from tenuto.authoring.data import Codec
    from tenuto.authoring.declare import Step, Workflow

T = TypeVar("T")


RESUMED_AT_ONCE_MAX: Final = 500_000
"""How often a run's code and its branches are resumed with what is there already, for one event."""

BEGUN_AT_ONCE_MAX: Final = 10_000
"""How often a run begins anew for one event."""


# How code ends that has forgotten an `await`: well, or by using what a call is instead of its result.
_FORGETFUL: Final = (type(None), ContinueAsNew, TypeError, AttributeError)


class Execution:
    """The code of one run, and everything it waits for. Mutable: `program` says how that goes with folds."""

    def __init__(
        self,
        workflow: Workflow[..., Any],
        run: str,
        nonce: str,
        know: Callable[[Step[..., Any]], None],
        guard: Guard | None,
    ) -> None:
        self.workflow = workflow
        self.run = run
        self.nonce = nonce
        self.time = 0.0
        self.ready: deque[tuple[Task, Any, BaseException | None]] = deque()
        self.waiting: dict[int, Wait] = {}
        self.unbegun: dict[int, Ask[Any]] = {}
        self.listening: dict[int, waits.EventWaiting] = {}
        self.signals: dict[str, deque[dict[str, Json]]] = {}
        self.published: dict[str, Json] = {}
        self.patches: dict[str, bool] = {}
        self.undoing = Undoing()
        self.know = know
        self.epoch = 0
        self.last_id = 0
        self.position = 0
        self.dead = False
        self.over = False
        self.context = context_of(self)
        self.replaced: tuple[str, Json] | None = None
        self._guard = guard
        self._tasks: dict[Coroutine[Any, Any, Any], Task] = {}
        self._names: dict[str, int] = {}
        self.out: list[Any] = []  # commands; while `quiet`, actions in place of theirs
        self._recorded: Sequence[Note] | None = None
        self._checked = 0
        self._main: Task | None = None
        self._driving: Task | None = None
        self._cancelled = False
        self._unwinding = False
        self._ended: tuple[Any, BaseException | None] | None = None
        self._random: Random | None = None
        self._uuids = 0
        self.fresh: Fresh | None = None
        self._fresh_from = self._fresh_checked = 0
        self.quiet = False

    # ── events in, commands out ───────────────────────────────────────────────────────

    def expect(self, recorded: Sequence[Note] | None) -> None:
        """Begin an entry of the journal: one that was recorded with these notes, or a new one (None)."""
        self.out = []
        self._recorded = recorded
        self._checked = 0
        self.quiet = False

    def was_stuck(self, recorded: Sequence[Note]) -> bool:
        """Whether an entry that was recorded with these notes says that the code could not go on."""
        place = past(recorded, self._checked, MAY_BE_GONE)
        return place < len(recorded) and recorded[place].what == STUCK

    def take(self, event: Event) -> None:
        """Take an event and go on as far as possible; raises `Stuck`, and is then dead."""
        self.fresh = None
        self.time = event.time
        said = len(self.out)
        try:
            self.context.run(self._take, event)
        except InvalidInput as refusal:
            del self.out[said:]
            raise self.refused(refusal) from None
        except BaseException:
            if self._recorded is None:
                del self.out[said:]
            self.discard()
            raise

    def _take(self, event: Event) -> None:
        hooks = close_generators_left()
        try:
            self._dispatch(event)
            self._drain()
        finally:
            restore_generator_hooks(hooks)

    def refused(self, refusal: InvalidInput) -> Stuck:
        """Return why the code cannot go on that gave something what it does not take; it is dead then."""
        stuck = Stuck(f"{self.place()}: {refusal.message}", refusal.hint or "mend the call")
        self.discard()
        return stuck

    def is_late(self, event: Event) -> bool:
        """Whether an event that the code could not take when it came means nothing any more."""
        return self.over or (isinstance(event, Answered | Failed) and event.id not in self.waiting)

    def take_again(self, event: Event, recorded: Sequence[Note]) -> list[Any]:
        """Take an event that was recorded with these notes; for many in a row, inside of its context.

        Answers what `expect`, `take` and `done` give for one entry, without the notes: they are as recorded.
        """
        self.quiet = True
        out: list[Command] = []
        self.out = out
        self._recorded = recorded
        self._checked = 0
        self.fresh = None
        self.time = event.time
        self._dispatch(event)
        self._drain()
        if self._checked < len(recorded) or self._has_begun_anew():
            return self.done()
        self.position += 1
        return out

    def _has_begun_anew(self) -> bool:
        # A method of its own: where `fresh` was set to None before a call, the compiler takes it for None
        # after the call too, and leaves the question out (docs/decisions/0011).
        return self.fresh is not None

    def done(self) -> list[Command]:
        """End the entry; return what is wanted now. Raises `HistoryMismatch` if more was wanted then."""
        recorded = self._recorded
        if recorded is not None and past(recorded, self._checked, MAY_BE_GONE) < len(recorded):
            mismatch = self._mismatch()
            self.discard()
            raise mismatch
        self.position += 1
        if self.fresh is not None:
            if self.quiet:
                notes = tuple((recorded or ())[self._fresh_checked :])
            else:
                notes = tuple(note for note in self.out[self._fresh_from :] if isinstance(note, Note))
            self.fresh = msgspec.structs.replace(self.fresh, notes=notes)
        return self.out

    def stuck(self, error: str) -> list[Command]:
        """End the entry where the code could not go on; return what was wanted before that, and why."""
        return [*self.out, Note("", STUCK, data=error)]

    def revive(self, fresh: Fresh) -> None:
        """Run the first slice after beginning anew, as it was run then."""
        self.epoch, self.last_id, self.time = fresh.epoch, fresh.last_id, fresh.time
        self.published = dict(fresh.published)
        self.signals = {name: deque(events) for name, events in fresh.signals.items()}
        self.expect(fresh.notes)
        try:
            self.context.run(self._revive, fresh.input)
        except InvalidInput as refusal:
            raise self.refused(refusal) from None
        except BaseException:
            self.discard()
            raise
        self.done()
        self.fresh = fresh

    def _revive(self, data: Json) -> None:
        hooks = close_generators_left()
        try:
            self._start(data)
            self._drain()
        finally:
            restore_generator_hooks(hooks)

    def _start(self, data: Json) -> None:
        self._names = {}
        self._ended = None
        args, kwargs = self.workflow.parameters.decode(data)
        self._main = Task(self, self.workflow.function(*args, **kwargs), self)
        self._tasks = {self._main.coroutine: self._main}
        self.ready.append((self._main, None, None))

    def _dispatch(self, event: Event) -> None:
        match event:
            case Answered():
                self._answered(event.id).answered(event.output)
            case Failed():
                self._answered(event.id).failed(event.fault)
            case Started():
                self._start(event.input)
            case Arrived():
                self._arrive(event.event)
            case CancelRequested():
                self._cancel()
            case Progressed():
                waiting = self.waiting.get(event.id)
                if isinstance(waiting, waits.Action):
                    waiting.progress = event.progress
            case Restarted():
                self.run = event.run
                self.replace(event)
            case _:
                pass

    def _answered(self, id: int) -> Wait:
        wait = self.waiting.pop(id, None)
        if wait is None:
            raise HistoryMismatch([f"an answer to request {id}"], [f"no request {id}"])
        return wait

    def _arrive(self, event: dict[str, Json]) -> None:
        if event.get("type") == SIGNAL:
            name = str(event.get("subject"))
            for waiting in self.listening.values():
                if waiting.ask.name == name and waiting.ask.type == SIGNAL:
                    waiting.take(event)
                    return
            self.signals.setdefault(name, deque()).append(event)
            return
        for waiting in list(self.listening.values()):
            # One that takes it may have stopped others.
            if waiting.ask.type == event.get("type") and waiting.id in self.listening:
                waiting.take(event)

    def _cancel(self) -> None:
        """The first time the code may clean up; the second time it is not asked."""
        if self._main is None or self._unwinding:
            return
        if not self._cancelled:
            self._cancelled = True
            self._main.stop()
            return
        self._ended = (None, Cancelled())

    # ── running the code ──────────────────────────────────────────────────────────────

    def _drain(self) -> None:
        resumed = begun = 0
        while True:
            ready = self.ready
            while ready:
                resumed += 1
                self._run(*ready.popleft())
                if resumed > RESUMED_AT_ONCE_MAX and self._recorded is None:
                    raise self._endless(f"was resumed {RESUMED_AT_ONCE_MAX:,} times")
            if self._ended is None or not self._finish():
                return
            begun += 1
            if begun > BEGUN_AT_ONCE_MAX and self._recorded is None:
                raise self._endless(f"has begun anew {BEGUN_AT_ONCE_MAX:,} times")

    def _endless(self, what: str) -> Stuck:
        return Stuck(
            f"{self.place()}: the workflow {what} without waiting, which holds up every other run",
            "see that every loop ends, or waits: for a step, for time, for an event",
        )

    def _run(self, task: Task, value: Any, error: BaseException | None) -> None:
        self._driving = task
        if task.stopping and is_new(task.coroutine):
            # It was not needed any more before it began: it does nothing at all.
            task.stopping, error = False, Cancelled()
        guard = self._guard if self._recorded is None else None
        try:
            if guard is not None:
                asked = guard.resume(task.coroutine, value, error)
            else:
                asked = task.coroutine.send(value) if error is None else task.coroutine.throw(error)
        except StopIteration as stop:
            self._look_for_caught(guard)
            self._tasks.pop(task.coroutine, None)
            task.asker.resume(stop.value)
            return
        except (Stuck, KeyboardInterrupt):
            raise
        except BaseException as failure:
            self._look_for_caught(guard)
            self._tasks.pop(task.coroutine, None)
            task.asker.fail(failure)
            return
        self._look_for_caught(guard)
        if not isinstance(asked, Ask):
            raise self._foreign(asked)
        if task.stopping:
            # What is not needed any more begins nothing.
            task.stopping = False
            asked.close()
            task.fail(Cancelled())
            return
        self.unbegun.pop(id(asked), None)
        try:
            task.wait = asked.open(self, task)
        except InvalidInput:
            # Nothing has happened yet: the run is kept until the code is mended.
            raise
        except Exception as failure:
            task.fail(failure)

    def watched(self, code: Callable[[], T]) -> T:
        """Run code of the workflow that is none of its coroutines, as what gives `each` its items."""
        guard = self._guard if self._recorded is None else None
        if guard is None:
            return code()
        try:
            return guard.run(code)
        finally:
            self._look_for_caught(guard)

    def _look_for_caught(self, guard: Guard | None) -> None:
        """Raise what the code has swallowed."""
        if guard is not None and guard.caught is not None:
            raise guard.caught

    def spawn(self, awaitable: Any, asker: Asker) -> Wait | None:
        """Begin a branch: an ask, or a coroutine of the workflow's own."""
        if isinstance(awaitable, Ask):
            self.unbegun.pop(id(awaitable), None)
            return awaitable.open(self, asker)
        if not isinstance(awaitable, Coroutine):
            raise InvalidInput(
                f"{awaitable!r} cannot be awaited in a workflow",
                hint="give calls of steps and workflows, sleep(...) and the like, or coroutines of your own",
            )
        if awaitable in self._tasks or getattr(awaitable, "cr_suspended", False):
            raise InvalidInput(
                f"{awaitable!r} is awaited twice",
                hint="call the function once for each branch: gather(work(1), work(1))",
            )
        task = self._tasks[awaitable] = Task(self, awaitable, asker)
        self.ready.append((task, None, None))
        return task

    def resume(self, value: Any) -> None:
        """The workflow's body has returned."""
        self._ended = (value, None)

    def fail(self, error: BaseException) -> None:
        """The workflow's body has raised."""
        self._ended = (None, error)

    def _finish(self) -> bool:
        """End the run, or begin anew, or take back what was done; return whether the code has to go on."""
        assert self._ended is not None
        value, error = self._ended
        if self.unbegun and isinstance(error, _FORGETFUL):
            names = ", ".join(dict.fromkeys(f"`{ask.called()}`" for ask in self.unbegun.values()))
            code = self.workflow.function.__code__
            file = code.co_filename.rpartition("/")[2]
            raise Stuck(
                f"{file}:{code.co_firstlineno}: {self.workflow.name} called {names} and never awaited that",
                "write `await` before the call, or give it to gather, race or each: alone it does nothing",
            )
        if isinstance(error, ContinueAsNew):
            self._drop_all()
            self._anew(error.input)
            return True
        if error is None:
            output = self.workflow.result.encode(value)
            self._drop_all()
            return self._end(Finish("completed", output))
        if not self._unwinding:
            self._unwinding = True
            self._close_tasks()
            for wait in self.waiting.values():
                if isinstance(wait, waits.Action):
                    wait.leave()
            self._drop_all(but=self.undoing.under_way)
        failures = self.undoing.proceed(self)
        return failures is not None and self._end(self._ending(error, failures))

    def _end(self, finish: Finish) -> bool:
        self.over = True
        self.out.append(finish)
        return False

    def _anew(self, data: Json) -> None:
        """Run the code from its start again, as `continue_as_new` asked."""
        self.undoing.settle()
        self.epoch += 1
        self._uuids = 0
        self.patches.clear()
        self._cancelled = False
        self._random = None
        self.note("", CONTINUED)
        self._fresh_from, self._fresh_checked = len(self.out), self._checked
        signals = {name: list(events) for name, events in self.signals.items() if events}
        self.fresh = Fresh(
            self.run, self.nonce, self.time, data, self.epoch, self.last_id, dict(self.published), signals
        )
        self._start(data)

    def _ending(self, error: BaseException, failures: Sequence[str]) -> Finish:
        if isinstance(error, Cancelled) and not failures:
            return Finish("cancelled")
        fault = fault_of_exception(error)
        if failures:
            detail = "; ".join([fault.detail or fault.title or fault.type, *failures])
            fault = msgspec.structs.replace(fault, detail=detail, transient=False)
        return Finish("cancelled" if isinstance(error, Cancelled) else "faulted", None, fault)

    def _drop_all(self, but: Collection[int] = ()) -> None:
        """Nobody waits for what is still open."""
        for id, wait in list(self.waiting.items()):
            if id not in but and id in self.waiting:
                wait.abandon()
        self._close_tasks()

    def _close_tasks(self) -> None:
        tasks, self._tasks = list(self._tasks.values()), {}
        self.ready.clear()
        for task in tasks:
            task.wait = None
            with gone():
                try:
                    task.coroutine.close()
                except KeyboardInterrupt:
                    raise
                except BaseException:
                    # Whatever its cleaning up does here, nobody hears of it. One that goes on in spite of all
                    # is forgotten here and now: were it collected later, it would go on elsewhere.
                    task.coroutine = ended()

    def discard(self) -> None:
        """Let go of the coroutines; what they would do on the way out is not done.

        Nothing is left that points back here: what waits in the thousands and is put aside has to be gone at
        once, not when Python looks for cycles some time.
        """
        self.dead = True
        self._close_tasks()
        self._main = self._driving = None
        self.waiting.clear()
        self.listening.clear()
        self.context = NOWHERE

    # ── for the waits ─────────────────────────────────────────────────────────────────

    def want(self, make: Callable[[int], Command], wait: Wait) -> int:
        """Ask for something; `wait` is told of its answer."""
        self.last_id = id = self.last_id + 1
        self.out.append(make(id))
        self.waiting[id] = wait
        return id

    def drop(self, id: int) -> None:
        """Ask for it no more."""
        if self.waiting.pop(id, None) is not None:
            self.out.append(Drop(id))

    def replace(self, event: Restarted) -> None:
        """Give a task another input when it begins; raises `Invalid` for what none could take."""
        if event.replace and not isinstance(event.input, dict):
            raise Invalid(
                f"the input of {event.task} is an object by parameter, not {type(event.input).__name__}",
                hint='give it as in {"amount": 5}',
            )
        self.replaced = (event.task, event.input) if event.replace else None

    def replacement(self, path: str, data: dict[str, Json]) -> dict[str, Json]:
        """Return what a task is given that begins now: what the run was retried with, if that is meant."""
        if self.replaced is None or self.replaced[0] != path:
            return data
        data, self.replaced = self.replaced[1], None
        return data

    def path(self, name: str) -> str:
        """Return the path of a task of that name: `/charge`, the next time `/charge#2`."""
        self._names[name] = count = self._names.get(name, 0) + 1
        return f"/{name}" if count == 1 else f"/{name}#{count}"

    def note(self, task: str, what: str, kind: str = "", attempt: int = 1, data: Json = None) -> None:
        """Say what happens to a task; while events are folded again, compare it with what was said then."""
        recorded = self._recorded
        if recorded is None:
            self.out.append(Note(task, what, kind, attempt, data))
            return
        checked = self._checked
        if checked < len(recorded):
            then = recorded[checked]
            if (
                then.task == task
                and then.what == what
                and then.kind == kind
                # What a task was begun with is compared too, where it was recorded.
                and (then.data == data or what != STARTED or then.data is None)
            ):
                self._checked = checked + 1
                if not self.quiet:
                    self.out.append(then)
                return
        if what == LOGGED:
            return
        self._checked = past(recorded, checked, MAY_BE_GONE)
        if self._checked > checked:
            self.note(task, what, kind, attempt, data)
            return
        self.out.append(Note(task, what, kind, attempt, data))
        raise self._mismatch()

    def _mismatch(self) -> HistoryMismatch:
        asked = [told(note) for note in (self._recorded or ())[: self._checked]] if self.quiet else []
        asked += [told(command) for command in self.out if isinstance(command, Note)]
        recorded = self._recorded or ()
        if asked and self._checked < len(recorded) and told(recorded[self._checked]) == asked[-1]:
            asked[-1] += ", with other arguments"
        if asked and self._checked < len(asked):
            asked[-1] += f"   {self.place()}"
        return HistoryMismatch([told(note) for note in self._recorded or ()], asked)

    def patched(self, id: str) -> bool:
        """Whether this run takes the way behind a patch: unless it passed here before there was one."""
        known = self.patches.get(id)
        if known is not None:
            return known
        recorded = self._recorded
        if recorded is not None:
            place = past(recorded, self._checked, {LOGGED})
            then = recorded[place] if place < len(recorded) else None
            if then is None or then.what != PATCHED or then.task != id:
                self.patches[id] = False
                return False
            self._checked = place
        self.note(id, PATCHED)
        self.patches[id] = True
        return True

    def random(self) -> Random:
        """Return the run's own source of chance: seeded, so that it gives the same again."""
        if self._random is None:
            self._random = Random(f"{self.nonce}/{self.run}/{self.epoch}")  # noqa: S311  # has to give the same again
        return self._random

    def next_uuid(self) -> int:
        """Count the UUIDs given."""
        self._uuids += 1
        return self._uuids

    def place(self) -> str:
        """Return where the workflow's code waits or was stopped: `orders.py:42`."""
        file, line = place_of(self._driving.coroutine if self._driving is not None else None)
        return f"{file}:{line}" if file else self.workflow.name

    def _foreign(self, asked: object) -> Nondeterministic:
        file, line = place_of(self._driving.coroutine if self._driving is not None else None)
        kind = type(asked).__qualname__
        return Nondeterministic(
            f"{file}:{line}: the workflow awaits something that is not Tenuto's ({kind})",
            "await only steps, workflows and what `tenuto` offers (sleep, gather, race, call, ...);"
            " put everything else into a @step",
            file,
            line,
        )

    # ── what can be asked for ─────────────────────────────────────────────────────────

    def open_step(self, call: StepCall[Any], asker: Asker) -> Wait:
        """Ask for a step."""
        step = call.step
        self.know(step)
        arguments = step.parameters.encode(call.args, call.kwargs)
        action = waits.Action(self, asker, step.name, "step", step.called, arguments, step.result, step.retry)
        action.undo = self.undoing.of_step(step, self.know)
        action.open()
        return action

    def open_function(self, call: FunctionCall[Any], asker: Asker) -> Wait:
        """Ask for a function of a connector."""
        arguments = dict(call.arguments)
        name = call.function.partition(":")[0]
        action = waits.Action(self, asker, name, "call", call.function, arguments, call.returns, call.retry)
        action.undo = self.undoing.of_function(call.undo) if call.undo else None
        action.open()
        return action

    def open_undo(self, undo: Undo, arguments: dict[str, Json], key: str, asker: Asker) -> None:
        """Ask to take back what an action did."""
        action = waits.Action(self, asker, undo.name, "undo", undo.function, arguments, ANYTHING, undo.retry)
        action.key = key
        action.undoing = undo.names is None
        action.open()

    def open_child(
        self, namespace: str, name: str, version: str, data: Json, returns: Codec[Any], asker: Asker
    ) -> Wait:
        """Ask for a run of another workflow."""
        return waits.Child(self, asker, namespace, name, version, data, returns)

    def open_timer(self, sleep: Sleep, asker: Asker) -> Wait:
        """Ask to be woken."""
        at = sleep.at if sleep.at is not None else self.time + (sleep.seconds or 0.0)
        return waits.Timer(self, asker, at)

    def open_emission(self, attributes: Mapping[str, Json], asker: Asker) -> Wait:
        """Ask to publish an event."""
        return waits.Emitting(self, asker, attributes)

    def open_event(self, ask: EventWait[Any], asker: Asker) -> Wait | None:
        """Ask to hear of an event, unless it is a signal that has come already."""
        waiting = waits.EventWaiting(self, asker, ask)
        there = self.signals.get(ask.name) if ask.type == SIGNAL else None
        while there:
            waiting.take(there.popleft())
            if waiting.over:
                return None
        waiting.open()
        return waiting
