"""One fold of one event: the life of every task.

What is common to all tasks stands here: the data flow (`if`, input, output, export), extensions,
timeouts, flow directives, faults and how they climb, cancellation. What a kind of task does
itself stands in its `Kind`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tenuto.engine.model import Command, Finish, Json, Perform, Restarted, Wake
from tenuto.engine.rules import passed_limit
from tenuto.errors import (
    Fault,
    Faulted,
    configuration_fault,
    expression_fault,
    runtime_fault,
    timeout_fault,
)
from tenuto.language.evaluating import Evaluating, Needs
from tenuto.language.expressions import ExpressionFailed
from tenuto.language.expressions.secret import without_references
from tenuto.language.program import Outline, Task, escape
from tenuto.language.state import (
    AFTER,
    BEFORE,
    BODY,
    ENTER,
    INPUT,
    LEAVE,
    ROOT,
    Frame,
    ListFrame,
    State,
    SubscribeData,
    TaskFrame,
    TryData,
    Undoable,
    UndoData,
)

# How many task steps one event may cause before the run yields to others through a timer that is
# due at once: bounds the time of a fold, so that an endless loop stays cancellable.
STEPS_PER_EVENT: Final = 1_000
# How many events nobody listened for yet a run keeps; the oldest goes first.
INBOX_LIMIT: Final = 1_000


class Kind:
    """What a kind of task does; the defaults suit a task that waits for one command."""

    def step(self, fold: Fold, frame: TaskFrame, task: Task) -> None:
        """Go on with the body: evaluate, open commands, start lists, or complete."""
        raise AssertionError(f"a {task.kind} task cannot be stepped")

    def answered(self, fold: Fold, frame: TaskFrame, command: int, output: Json) -> None:
        """Take the answer of a command that the body opened."""
        fold.complete(frame, output)

    def failed(self, fold: Fold, frame: TaskFrame, command: int, fault: Fault) -> None:
        """Take the fault of a command that the body opened."""
        fold.fault(frame, fault)

    def listed(self, fold: Fold, frame: TaskFrame, ended: ListFrame, output: Json, exited: bool) -> None:
        """Take the output of a list that the body started; `exited` if by `then: exit`."""
        fold.complete(frame, output)

    def list_faulted(self, fold: Fold, frame: TaskFrame, ended: ListFrame, fault: Fault) -> None:
        """Take the fault of a list that the body started."""
        fold.fault(frame, fault)

    def arrived(self, fold: Fold, frame: TaskFrame, event: dict[str, Json]) -> bool:
        """Take an event, if the task listens; say whether it was taken."""
        return False


class Fold(Evaluating):
    """The working copy of a state and the rules of the language; see the module's text."""

    def __init__(self, outline: Outline, kinds: Mapping[str, Kind], state: State, now: float) -> None:
        super().__init__(outline, state, now)
        self.kinds = kinds
        self._over = False

    # ── the loop ──────────────────────────────────────────────────────────────────────

    def run(self) -> tuple[State, list[Command]]:
        """Step frames until all wait; answer the new state and what is wanted."""
        steps = 0
        while self.agenda and not self._over:
            if steps >= STEPS_PER_EVENT:
                self.state.tick = self.open(lambda id: Wake(id, self.now), 0)
                break
            steps += 1
            frame = self.frames.get(self.agenda.popleft())
            if isinstance(frame, TaskFrame):
                self._step(self.own(frame))
        self.state.frames = self.frames.done()
        self.state.waits = self.waits.done()
        self.state.agenda = list(self.agenda)
        return self.state, self.commands

    def _step(self, frame: TaskFrame) -> None:
        if frame.asking:
            return
        task = self.outline.task(frame.node)
        self.cursor = 0
        try:
            if frame.phase == ENTER:
                self._enter(frame, task)
            if frame.phase == BEFORE:
                self._extend_before(frame)
            if frame.phase == INPUT:
                self._take_input(frame, task)
            if frame.phase == BODY:
                self.kinds[task.kind].step(self, frame, task)
            elif frame.phase == LEAVE:
                self._leave(frame, task)
                if frame.phase == AFTER:
                    self._extend_after(frame)
        except Needs as need:
            frame.asking = self.open(need.command, frame.id)
        except Faulted as error:
            self.fault(frame, error.fault)
        except ExpressionFailed as error:
            self.fault(frame, expression_fault(str(error)).fault)
        except Exception as error:
            # Data of a kind that nobody foresaw is the task's fault: the run goes on to hear of it.
            text = f"{type(error).__name__}: {error}"
            self.fault(frame, runtime_fault(text, title="Unexpected Error").fault)

    # ── the life of a task ────────────────────────────────────────────────────────────

    def start_list(
        self,
        frame: TaskFrame,
        node: str,
        path: str,
        value: Json,
        *,
        role: str = "body",
        slot: int = 0,
        only: int | None = None,
        scope: dict[str, Json] | None = None,
        attempt: int | None = None,
        own_context: bool = False,
        extended: bool | None = None,
    ) -> None:
        """Walk a task list for a frame; its end comes back through the kind's `listed`."""
        id = self.state.next
        self.state.next = id + 1
        walk = ListFrame(
            id=id,
            owner=frame.id,
            node=node,
            path=path,
            role=role,
            slot=slot,
            only=only is not None,
            scope=scope if scope is not None else frame.scope,
            context=id if own_context else frame.context,
            own_context=self.context(frame) if own_context else None,
            attempt=attempt or frame.attempt,
            extended=frame.extended if extended is None else extended,
        )
        self.frames[id] = walk
        self._owned.add(id)
        self._start_task(walk, only or 0, value)

    def _start_task(self, walk: ListFrame, index: int, value: Json) -> None:
        tasks = self.outline.tasks(walk.node)
        if index >= len(tasks):
            self._end_list(walk, value, False)
            return
        task = tasks[index]
        visit = 1
        if index > walk.furthest:
            walk.furthest = index
        else:
            visit = walk.visits.get(index, 1) + 1
            walk.visits = {**walk.visits, index: visit}
        walk.index = index
        path = walk.path if task.node == walk.node else walk.path + task.node[len(walk.node) :]
        id = self.state.next
        self.state.next = id + 1
        owner = self.frames[walk.owner]
        assert isinstance(owner, TaskFrame)
        key = owner.key + path[len(owner.path) :]
        restart = self.state.restart
        if restart is not None and restart[0] == path:
            value = restart[2] if restart[1] else value
            self._begin_anew()
        self.frames[id] = TaskFrame(
            id=id,
            parent=walk.id,
            node=task.node,
            path=path,
            key=key if visit == 1 else f"{key}#{visit}",
            raw=value,
            scope=walk.scope,
            context=walk.context,
            started=self.now,
            attempt=walk.attempt,
            extended=walk.extended,
        )
        self._owned.add(id)
        self.agenda.append(id)

    def _enter(self, frame: TaskFrame, task: Task) -> None:
        if frame.id != ROOT:
            if task.condition is not None and not self.test(frame, task, "if", task.condition, frame.raw):
                self.note(frame, "skipped", task.kind)
                self._finish(frame, frame.raw, None)
                return
            if frame.extended and self.outline.extensions:
                frame.extensions = self._matching_extensions(frame, task)
        seconds = self.timeout_seconds(frame, task)
        self.note(frame, "started", task.kind)
        frame.announced = True
        if seconds is not None:
            frame.timeout = seconds
            frame.timer = self.wake(frame, self.now + seconds)
        self.next_phase(frame, BEFORE if frame.extensions else INPUT)

    def _matching_extensions(self, frame: TaskFrame, task: Task) -> list[int]:
        kinds = {"all", task.kind} | ({"composite"} if task.kind in ("do", "fork") else set())
        matching = []
        for index, (name, extension) in enumerate(self.outline.extensions):
            if extension["extend"] not in kinds:
                continue
            if "when" in extension and not self.test(
                frame, task, f"extension/{name}", extension["when"], frame.raw
            ):
                continue
            matching.append(index)
        return matching

    def _extend_before(self, frame: TaskFrame) -> None:
        """Run the next `before` list, or go on to the task itself when there is none left."""
        if not self._start_extension(frame, "before", frame.raw):
            self.next_phase(frame, INPUT)

    def _start_extension(self, frame: TaskFrame, side: str, value: Json) -> bool:
        """Start the next list of extensions that apply to a task; say whether there was one."""
        while frame.extensions_done < len(frame.extensions):
            index = frame.extensions[frame.extensions_done]
            frame.extensions_done += 1
            name, extension = self.outline.extensions[index]
            if extension.get(side):
                place = f"/use/extensions/{index}/{escape(name)}/{side}"
                self.start_list(frame, place, frame.path + place, value, role=side, extended=False)
                return True
        return False

    def _take_input(self, frame: TaskFrame, task: Task) -> None:
        value = frame.raw
        if "schema" in task.input:
            self.check_schema(frame, task.input["schema"], value, "the input")
        if "from" in task.input:
            value = self.fill(frame, task.data("input.from", task.input["from"]), value)
        frame.input = value
        self.next_phase(frame, BODY)

    def complete(self, frame: TaskFrame, output: Json, then: str | None = None) -> None:
        """The body has given its raw output; `then` overrides the task's own directive."""
        frame = self.own(frame)
        frame.output = output
        frame.then = then
        self.next_phase(frame, LEAVE)
        self.schedule(frame)

    def _leave(self, frame: TaskFrame, task: Task) -> None:
        output = frame.output
        if "as" in task.output:
            output = self.fill(frame, task.data("output.as", task.output["as"]), output)
        if "schema" in task.output:
            self.check_schema(frame, task.output["schema"], output, "the output")
        if task.export:
            self._export(frame, task, task.export, output)
        frame.output = output
        if frame.extensions:
            self.next_phase(frame, AFTER)
            frame.extensions = [*reversed(frame.extensions)]
            frame.extensions_done = 0
        else:
            self._finish(frame, output, frame.then or task.then)

    def _export(
        self,
        frame: TaskFrame,
        task: Task,
        export: dict[str, Json],
        output: Json,
        extra: Mapping[str, Json] | None = None,
        key: str = "export.as",
    ) -> None:
        context = self.context(frame)
        if "as" in export:
            visible = {"output": output, **(extra or {})}
            context = self.fill(frame, task.data(key, export["as"]), output, visible)
        if "schema" in export:
            self.check_schema(frame, export["schema"], context, "the exported context")
        self.set_context(frame, context)

    def shape_item(
        self, frame: TaskFrame, task: Task, foreach: dict[str, Json], item: Json, result: Json, index: int
    ) -> Json:
        """Apply a subscription iterator's `output` and `export` to one item's result."""
        extra = {foreach.get("item", "item"): item, foreach.get("at", "index"): index}
        shaped = item
        output = foreach.get("output") or {}
        if "as" in output:
            shaped = self.fill(frame, task.data("foreach.output.as", output["as"]), result, extra)
        if "schema" in output:
            self.check_schema(frame, output["schema"], shaped, "the item's output")
        if foreach.get("export"):
            self._export(frame, task, foreach["export"], shaped, extra, "foreach.export.as")
        return shaped

    def _extend_after(self, frame: TaskFrame) -> None:
        """Run the next `after` list, or end the task when there is none left."""
        if not self._start_extension(frame, "after", frame.output):
            self._finish(frame, frame.output, frame.then or self.outline.task(frame.node).then)

    def _finish(self, frame: TaskFrame, output: Json, then: str | None) -> None:
        """The task is done: tell how it ended and follow its flow directive."""
        if frame.announced:
            self.note(frame, "completed")
        self.drop(frame.timer)
        self.frames.pop(frame.id)
        if frame.id == ROOT:
            passed = passed_limit(output)
            if passed is None:
                self._end(Finish("completed", without_references(output)))
            else:
                fault = runtime_fault(f"the output passes {passed}", title="Limit Exceeded").fault
                self._end(Finish("faulted", None, fault.at("/")))
            return
        walk = self.own(self.frames[frame.parent])
        match then:
            case None | "continue":
                self._go_on(walk, output)
            case "exit":
                self._end_list(walk, output, True)
            case "end":
                self._end_workflow(output)
            case name:
                self._jump(walk, frame, name, output)

    def _go_on(self, walk: ListFrame, output: Json) -> None:
        if walk.only:
            self._end_list(walk, output, False)
        else:
            self._start_task(walk, walk.index + 1, output)

    def _jump(self, walk: ListFrame, frame: TaskFrame, name: str, output: Json) -> None:
        if not walk.only:
            for index, task in enumerate(self.outline.tasks(walk.node)):
                if task.name == name:
                    self._start_task(walk, index, output)
                    return
        fault = configuration_fault(f"`then: {name}` names no task of the same list").fault
        self._climb(walk, fault.at(frame.path))

    def _end_list(self, walk: ListFrame, output: Json, exited: bool) -> None:
        owner = self.own(self.frames[walk.owner])
        if walk.role == "before":
            self.frames.pop(walk.id)
            if exited:
                self.complete(owner, output)
            else:
                self.schedule(owner)
        elif walk.role == "after":
            self.frames.pop(walk.id)
            self._extend_after(owner)
        else:
            self.kinds[self.outline.task(owner.node).kind].listed(self, owner, walk, output, exited)
            self.frames.pop(walk.id)

    def _end_workflow(self, output: Json) -> None:
        """`then: end`: everything that still runs is cancelled, the workflow completes."""
        root = self.own(self.frames[ROOT])
        self.cancel_below(root)
        self.complete(root, output)

    def pause(self, begins: bool) -> tuple[State, list[Command]]:
        """Say of the tasks under way that a pause of the run begins or ends; nothing goes on meanwhile."""
        before, held = frozenset(self.state.suspended), []
        for frame in self.frames.values():
            if not isinstance(frame, TaskFrame) or not frame.announced:
                continue
            if begins:
                held.append(frame.id)
                self.note(frame, "suspended")
            elif frame.id in before:
                self.note(frame, "resumed")
                if self.outline.task(frame.node).kind in ("wait", "listen") and frame.data is not None:
                    self.note(frame, "waiting")
        self.state.suspended = held
        return self.state, self.commands

    def take_over(self, turn: Restarted) -> None:
        """Go on as a run of its own, whose name the keys bear, with the task at which it begins anew.

        The next event will start that task, if it was not started already and only has to be told.
        """
        former, self.state.run = self.state.run, turn.run
        self.state.restart = (turn.task, turn.replace, turn.input)
        for frame in self.frames.values():
            if not isinstance(frame, TaskFrame):
                continue
            mine = self.own(frame)
            mine.key = turn.run + mine.key[len(former) :]
            if mine.path == turn.task and not mine.announced:
                self._begin_anew()
                if turn.replace:
                    self._enter_anew(mine, turn.input)

    def _begin_anew(self) -> None:
        """The task has its turn: time that runs since before the take-over begins again now."""
        self.state.restart = None
        for frame in self.frames.values():
            if not isinstance(frame, TaskFrame):
                continue
            mine = self.own(frame)
            if mine.timer:
                self.drop(mine.timer)
                mine.timer = self.wake(mine, self.now + mine.timeout)
            if isinstance(mine.data, TryData):
                mine.data.since = self.now
                if mine.data.timer and mine.data.stage == "body":
                    self.drop(mine.data.timer)
                    mine.data.timer = self.wake(mine, self.now + mine.data.allowed)
            elif isinstance(mine.data, SubscribeData) and mine.data.deadline is not None:
                mine.data.deadline += self.now - mine.started

    def _enter_anew(self, frame: TaskFrame, value: Json) -> None:
        """Let a task that is being entered ask again whatever it asked of its former input."""
        frame.raw = value
        self.forget_answers(frame)
        if frame.asking:
            self.drop(frame.asking)
            frame.asking = 0
            self.schedule(frame)

    # ── faults and cancellation ───────────────────────────────────────────────────────

    def fault(self, frame: TaskFrame, fault: Fault) -> None:
        """A task has failed: cancel what it started and let the fault climb."""
        fault = fault.at(frame.path or "/")
        self.cancel_below(frame)
        self.drop(frame.timer)
        self.drop(frame.asking)
        for command, waiting in self.waits.items():
            if waiting == frame.id:
                self._let_go(command)
        self.frames.pop(frame.id)
        if frame.id == ROOT:
            self._end(Finish("faulted", None, fault))
            return
        if not frame.announced:
            self.note(frame, "started", self.outline.task(frame.node).kind)
        self.note(frame, "faulted", data=fault.to_json())
        self._climb(self.frames[frame.parent], fault)

    def _climb(self, walk: Any, fault: Fault) -> None:
        owner = self.own(self.frames[walk.owner])
        self.frames.pop(walk.id)
        if walk.role in ("before", "after"):
            self.fault(owner, fault)
        else:
            self.kinds[self.outline.task(owner.node).kind].list_faulted(self, owner, walk, fault)

    def cancel_below(self, frame: Frame) -> None:
        """Cancel everything that a frame has started, the newest first."""
        doomed = {frame.id}
        for id, other in self.frames.items():
            if (other.parent if isinstance(other, TaskFrame) else other.owner) in doomed:
                doomed.add(id)
        doomed.discard(frame.id)
        if not doomed:
            return
        for command, waiting in self.waits.items():
            if waiting in doomed:
                self._let_go(command)
        for id in sorted(doomed, reverse=True):
            gone = self.frames.pop(id)
            if isinstance(gone, TaskFrame) and gone.announced:
                self.note(gone, "cancelled")

    def _let_go(self, command: int) -> None:
        """Drop a command, unless it is an action under way that `undo` has to know the end of."""
        if command in self.state.in_flight:
            self.waits[command] = 0
        else:
            self.drop(command)

    def cancel(self) -> None:
        """Stop the whole run because somebody asked for it."""
        self.cancel_below(self.frames[ROOT])
        self._end(Finish("cancelled"))

    def _end(self, finish: Finish) -> None:
        for command, waiting in self.waits.items():
            if waiting:
                self.drop(command)
        self.state.in_flight = {}
        self.commands.append(finish)
        self._over = True

    # ── answers ───────────────────────────────────────────────────────────────────────

    def take_answer(self, command: int, output: Json, scheme: str | None) -> None:
        """Give the answer of a command to the frame that waits for it."""
        waiting = self.waits.pop(command)
        if command == self.state.tick:
            self.state.tick = 0
            return
        drained = self.state.in_flight.get(command)
        if drained is not None:
            self._remember(command, output)
        frame = self.frames.get(waiting or 0)
        if not isinstance(frame, TaskFrame):
            if drained is not None:
                self._wake_undo()
            return
        frame = self.own(frame)
        if command == frame.timer:
            frame.timer = 0
            self.fault(frame, timeout_fault("the task took longer than its timeout").fault)
        elif command == frame.asking:
            frame.asking = 0
            frame.answers = [*frame.answers, output]
            self.schedule(frame)
        else:
            if scheme is not None:
                frame.scheme = scheme
            self._kind_of(frame).answered(self, frame, command, output)

    def take_fault(self, command: int, fault: Fault) -> None:
        """Give the fault of a command to the frame that waits for it."""
        waiting = self.waits.pop(command)
        drained = command in self.state.in_flight
        if drained:
            self.state.in_flight = {k: v for k, v in self.state.in_flight.items() if k != command}
        frame = self.frames.get(waiting or 0)
        if not isinstance(frame, TaskFrame):
            if drained:
                self._wake_undo()
            return
        frame = self.own(frame)
        if command == frame.asking:
            frame.asking = 0
            self.fault(frame, fault)
        else:
            self._kind_of(frame).failed(self, frame, command, fault)

    def _remember(self, command: int, output: Json) -> None:
        done = msgspec.structs.replace(self.state.in_flight[command], output=output)
        self.state.in_flight = {k: v for k, v in self.state.in_flight.items() if k != command}
        self.state.undoable = [*self.state.undoable, done]

    def _wake_undo(self) -> None:
        """An action of a cancelled branch has ended: `undo` may be waiting for that."""
        for frame in self.frames.values():
            if isinstance(frame, TaskFrame) and isinstance(frame.data, UndoData):
                self.schedule(frame)

    def perform(
        self,
        frame: TaskFrame,
        function: str,
        arguments: dict[str, Json],
        *,
        detached: bool = False,
        suffix: str = "",
    ) -> int:
        """Ask for an action; if it can be undone, keep what undoing it will need."""
        key = frame.key + suffix
        id = self.open(
            lambda id: Perform(
                id, frame.path, function, arguments, key, frame.attempt, detached, nonce=self.state.nonce
            ),
            0 if detached else frame.id,
        )
        entry = self._undoable(frame, function, arguments, key)
        if entry is not None:
            self.state.in_flight = {**self.state.in_flight, id: entry}
        return id

    def _undoable(
        self, frame: TaskFrame, function: str, arguments: dict[str, Json], key: str
    ) -> Undoable | None:
        """Return how to take an action back: as its task says, or as its connector does."""
        if not self.outline.undoes:
            return None
        metadata = self.outline.task(frame.node).definition.get("metadata")
        if isinstance(metadata, dict) and "undo" in metadata:
            scope = {**frame.scope, "context": self.context(frame)}
            return Undoable(frame.path, "", {}, key, None, frame.node, frame.input, scope)
        undo = self.state.undo.get(function)
        return None if undo is None else Undoable(frame.path, undo, arguments, key)

    def _kind_of(self, frame: TaskFrame) -> Kind:
        return self.kinds[self.outline.task(frame.node).kind]

    def take_event(self, event: dict[str, Json]) -> None:
        """Offer an event to every task that listens now; keep it for later if none takes it."""
        taken = False
        for frame in self.frames.values():
            if isinstance(frame, TaskFrame) and frame.phase == BODY:
                kind = self._kind_of(frame)
                if kind.arrived(self, frame, event):
                    taken = True
        if not taken:
            self.state.inbox = [*self.state.inbox, event][-INBOX_LIMIT:]
