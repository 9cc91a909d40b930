"""What a user may observe of runs: the whole promise, with no journal, no fold, no store in it.

A plan is a list of stages, a stage a list of parts that are awaited together: `["once", n]` and `["again", n]` are steps
(the second is tried twice), `["sleep", seconds]`, `["signal", name]`, `["event", type]`, `["child", plan]`.
"""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

STEPS: Final = ("once", "again")
HEARING: Final = ("signal", "event")
AGAIN_SECONDS: Final = 10.0
"""How long after its failure a step is tried again."""


@dataclass
class Part:
    """A part of a stage; `begun` if somebody sees to it, `due` while it waits for a time."""

    verb: str
    about: Any
    begun: bool = False
    attempt: int = 1
    due: float | None = None
    child: Run | None = None
    over: bool = False
    value: Any = None


@dataclass
class Run:
    """A run; `before` is what it had when it entered each stage."""

    tag: str
    plan: list[Any]
    parent: tuple[Run, Part] | None = None
    status: str = "open"
    paused: bool = False
    stage: int = -1
    parts: list[Part] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    inbox: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    children: list[Run] = field(default_factory=list)
    before: dict[int, Any] = field(default_factory=dict)

    def shown(self) -> str:
        """Return the run's status as users see it."""
        if self.status != "open" or self.paused:
            return "suspended" if self.status == "open" else self.status
        busy = any(not part.over and part.due is None and part.verb not in HEARING for part in self.parts)
        return "running" if busy else "waiting"


class Reference:
    """All runs. `calls` is how often each step may have begun; `fewer`, how much less often is fine as well."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.runs: list[Run] = []
        self.calls: Counter[tuple[str, int, int]] = Counter()
        self.fewer: Counter[tuple[str, int, int]] = Counter()

    def open(self) -> list[Run]:
        """Return the runs that are not over."""
        return [run for run in self.runs if run.status == "open"]

    def begun(self) -> dict[tuple[str, int, int], tuple[Run, Part]]:
        """Return the steps that are under way."""
        found = {
            (run.tag, run.stage, i): (run, part) for run in self.open() for i, part in enumerate(run.parts)
        }
        return {
            key: (run, part)
            for key, (run, part) in found.items()
            if part.verb in STEPS and part.begun and part.due is None and not part.over
        }

    def start(self, tag: str, plan: list[Any], parent: tuple[Run, Part] | None = None) -> Run:
        """Start a run."""
        run = Run(tag, plan, parent)
        self.runs.append(run)
        self._go_on(run)
        return run

    def retry(self, old: Run, stage: int) -> Run:
        """Start a run with another's past, up to a stage."""
        results, inbox = copy.deepcopy(old.before[stage])
        run = Run(old.tag, old.plan, stage=stage - 1, results=results, inbox=inbox)
        run.before = {n: past for n, past in old.before.items() if n < stage}
        self.runs.append(run)
        self._go_on(run)
        return run

    def _go_on(self, run: Run) -> None:
        while run.status == "open" and all(part.over for part in run.parts):
            if run.parts:
                run.results.append([part.value for part in run.parts])
            run.stage += 1
            if run.stage == len(run.plan):
                self._finish(run, "completed")
                return
            run.before[run.stage] = copy.deepcopy((run.results, run.inbox))
            run.parts = [Part(verb, about) for verb, about in run.plan[run.stage]]
            for part in run.parts:
                if part.verb == "signal" and run.inbox[part.about]:
                    part.over, part.value = True, run.inbox[part.about].pop(0)
                part.due = self.now + part.about if part.verb == "sleep" else None
            for part in run.parts:
                self._begin(run, part)

    def _begin(self, run: Run, part: Part) -> None:
        """See to a part; a run that is paused hears, and does nothing else."""
        if part.over or part.begun or (run.paused and part.verb not in HEARING):
            return
        part.begun = True
        if part.verb in STEPS and part.due is None:
            self.calls[run.tag, run.stage, run.parts.index(part)] += 1
        if part.verb == "child" and part.child is None:
            part.child = Run(f"{run.tag}.{run.stage}.{run.parts.index(part)}", part.about, (run, part))
            run.children.append(part.child)
            self.runs.append(part.child)
            self._go_on(part.child)

    def _end(self, run: Run, part: Part, value: Any) -> None:
        part.over, part.value = True, value
        self._go_on(run)

    def _finish(self, run: Run, status: str) -> None:
        run.status = status
        for part in run.parts:
            if part.child is not None and part.child.status == "open":
                self._finish(part.child, "cancelled")
        if run.parent is not None and run.parent[0].status == "open":
            above, part = run.parent
            if status == "completed":
                self._end(above, part, run.results)
            else:
                self._finish(above, "faulted")

    def answer(self, run: Run, part: Part, value: Any) -> None:
        """A step gave a value."""
        self._end(run, part, value)

    def fail(self, run: Run, part: Part) -> None:
        """A step failed."""
        if part.verb == "again" and part.attempt == 1:
            part.attempt, part.due, part.begun = 2, self.now + AGAIN_SECONDS, False
            self._begin(run, part)
        else:
            self._finish(run, "faulted")

    def signal(self, run: Run, name: str, value: Any) -> None:
        """A signal came: who waits for it has it, or else who will."""
        for part in run.parts:
            if (part.verb, part.about, part.over) == ("signal", name, False):
                self._end(run, part, value)
                return
        run.inbox[name].append(value)

    def emit(self, kind: str, value: Any) -> None:
        """An event came: all who wait for it hear of it, nobody else ever."""
        hearing = [
            (run, part)
            for run in self.open()
            for part in run.parts
            if (part.verb, part.about, part.over) == ("event", kind, False)
        ]
        for run, part in hearing:
            if run.status == "open":
                self._end(run, part, value)

    def cancel(self, run: Run) -> None:
        """Somebody stops a run."""
        self._finish(run, "cancelled")

    def resume(self, run: Run) -> None:
        """A pause is over."""
        run.paused = False
        for part in list(run.parts):
            self._begin(run, part)
        self.pass_time(0)

    def pass_time(self, seconds: float) -> None:
        """Time passes."""
        until = self.now + seconds
        while due := [(part.due, n, run, part) for n, run, part in self._timers() if part.due <= until]:
            at, _, run, part = min(due, key=lambda each: each[:2])
            self.now = max(self.now, at)
            part.due = None
            if part.verb == "sleep":
                self._end(run, part, None)
            else:
                part.begun = False
                self._begin(run, part)
        self.now = until

    def _timers(self) -> list[tuple[int, Run, Any]]:
        runs = [run for run in self.runs if run.status == "open"]
        return [(n, run, p) for n, run in enumerate(runs) for p in run.parts if p.begun and p.due is not None]

    def crash(self, *, at_rest: bool) -> None:
        """Everything in memory is lost: what was under way is begun again, but for runs that are paused."""
        for key in self.begun():
            run, _ = self.begun()[key]
            if not run.paused:
                self.calls[key] += 1
                self.fewer[key] += not at_rest
        for run in self.open():
            if run.paused:
                for part in run.parts:
                    part.begun = part.verb in HEARING
