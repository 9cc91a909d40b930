"""L1: whatever users do, and wherever the process dies, they observe what the reference model says.

Hypothesis chooses what happens: starts, answers of steps, signals, events, pauses, cancellations, retries, time, crashes.
The engine is the real one, over a store in memory or a real SQLite database; time is virtual.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.reporting import with_reporter
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tenuto.errors import Conflict, NotFound, communication_fault
from tenuto.operations.runs import retry_run
from tenuto.testing import Environment
from tests.reliability.evidence import Violation
from tests.reliability.programme import Budget, Caught, Layer, Record
from tests.reliability.reference import STEPS, Part, Reference, Run
from tests.reliability.scripts import EVENTS, SIGNALS, again, at, once, script
from tests.reliability.zoo import BUGS

EXAMPLES: Final = 250
"""How many examples CI plays; each fifth is on SQLite."""
RULES_EACH: Final = 25
CHUNK: Final = 50
"""How many examples have one seed."""
ZOO_EXAMPLES: Final = 200
FOREVER: Final = 1e15
PATIENCE_SECONDS: Final = 5.0
"""How long anything may take, in real seconds."""
T = TypeVar("T")
Key = tuple[str, int, int]

_steps = st.tuples(st.sampled_from(STEPS), st.just(0))
_parts = st.one_of(
    _steps,
    _steps,
    _steps,
    st.tuples(st.just("sleep"), st.integers(1, 30)),
    st.tuples(st.just("signal"), st.sampled_from(sorted(SIGNALS))),
    st.tuples(st.just("event"), st.sampled_from(EVENTS)),
).map(list)
_stages = st.lists(_parts, min_size=1, max_size=2, unique_by=str)
_flat = st.lists(_stages, max_size=3)
_with_child = st.tuples(_flat, st.lists(_parts, max_size=1)).map(lambda both: [["child", both[0]], *both[1]])
_any = st.lists(st.one_of(_stages, _stages, _with_child), max_size=4)
plans = st.one_of(_any, st.tuples(_steps.map(list), _any).map(lambda both: [[both[0]], *both[1]]))


class Differs(AssertionError):
    """Users saw something else than the model says; `what` says of which kind."""

    def __init__(self, what: str, seen: str) -> None:
        super().__init__(f"{what}: {seen}")
        self.what = what


class Held:
    """A step under way: it waits for its answer, and virtual time may pass meanwhile."""

    def __init__(self, env: Environment) -> None:
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._sleeping = asyncio.ensure_future(env.sleep(FOREVER))

    async def wait(self) -> Any:
        """Return the answer."""
        try:
            return await self._answer
        finally:
            self._sleeping.cancel()

    async def answer(self, value: Any) -> None:
        """Let the step end."""
        self._sleeping.cancel()
        await asyncio.wait({self._sleeping})
        if isinstance(value, Exception):
            self._answer.set_exception(value)
        else:
            self._answer.set_result(value)


class Users(RuleBasedStateMachine):
    """What users do; after each of it, what they see is compared."""

    on_sqlite: ClassVar[bool] = False
    played: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="tenuto-stateful-") if self.on_sqlite else None
        database = Path(self._folder.name, "tenuto.db") if self._folder else None
        self.env = Environment([script], auto_advance=False, database=database)
        self.held: dict[Key, Held] = {}
        self.begun: Counter[Key] = Counter()
        self.env.replace(once, self._called)
        self.env.replace(again, self._called)
        self.reference = Reference(self.env.clock.now())
        self.ids: list[str] = []  # of the reference's runs, in its order
        self.keys: list[str] = []  # of all calls, in order
        self.keyed: dict[Any, str] = {}  # of each step of a run
        self.values = 0
        self.played["examples"] += 1

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.env.close()
        if self._folder is not None:
            self._folder.cleanup()

    async def _called(self, tag: str, stage: int, part: int) -> Any:
        key = (tag, stage, part)
        self.begun[key] += 1
        self.held[key] = held = Held(self.env)
        return await held.wait()

    def _value(self) -> int:
        self.values += 1
        return self.values

    # ── what happens ──────────────────────────────────────────────────────────────────

    @initialize(plans=st.lists(plans, min_size=1, max_size=2))
    def begin(self, plans: list[Any]) -> None:
        """Start some runs: without one there is little to do."""
        for name, plan in enumerate(plans):
            self.start(name, plan)

    @rule(name=st.integers(0, 3), plan=plans)
    def start(self, name: int, plan: list[Any]) -> None:
        """Start a run, or one that is there already."""
        tag = f"r{name}"
        there = next((run for run in self.reference.runs if run.tag == tag), None)
        if there is None:
            run = self.reference.start(tag, plan)
            self._do("start", self._started(tag, plan), run)
        elif there.plan == plan:
            self._do("start again", self._started(tag, plan))
        else:
            self._refused("start otherwise", self._started(tag, plan))

    async def _started(self, tag: str, plan: list[Any]) -> None:
        await self.env.start(script, tag, plan, id=tag)

    @rule(data=st.data(), sudden=st.integers(0, 3))
    @precondition(lambda self: self.reference.begun())
    def answer(self, data: st.DataObject, sudden: int) -> None:
        """A step gives a value."""
        self._answer(data, False, sudden)

    @rule(data=st.data())
    @precondition(lambda self: self.reference.begun())
    def answer_at_rest(self, data: st.DataObject) -> None:
        """A step gives a value, and nothing else happens."""
        self._answer(data, False, 0)

    @rule(data=st.data(), sudden=st.integers(0, 3))
    @precondition(lambda self: self.reference.begun())
    def fail(self, data: st.DataObject, sudden: int) -> None:
        """A step fails."""
        self._answer(data, True, sudden)

    @rule(data=st.data())
    @precondition(lambda self: self.reference.begun())
    def answer_all(self, data: st.DataObject) -> None:
        """Steps give values, as long as there are any."""
        for _ in range(8):
            if self.reference.begun():
                self._answer(data, False, 0)

    def _answer(self, data: st.DataObject, failing: bool, sudden: int) -> None:
        """A step ends; maybe the process dies at once, before or after that is recorded."""
        key = data.draw(st.sampled_from(sorted(self.reference.begun())))
        run, part = self.reference.begun()[key]
        value = self._value()
        given: Any = communication_fault("on purpose", 503) if failing else value
        self.played["answer"] += 1
        dies = bool(sudden) and not run.paused
        self._wait(self._answered(key, given, sudden if dies else None))
        if dies and key in self.held:
            self.reference.crash(at_rest=False)
        else:
            self._end(run, part, failing, value)
            if dies:
                self.reference.crash(at_rest=False)
        self._compare()

    def _end(self, run: Run, part: Part, failing: bool, value: int) -> None:
        if failing:
            self.reference.fail(run, part)
        else:
            self.reference.answer(run, part, value)

    async def _answered(self, key: Key, given: Any, dies_after: int | None) -> None:
        await self.held.pop(key).answer(given)
        if dies_after is not None:
            for _ in range(dies_after * 3):
                await asyncio.sleep(0)
            await self._crashed()
        await self.env.rest()

    async def _crashed(self) -> None:
        self.held.clear()
        self.played["crash"] += 1
        await self.env.crash()

    @rule(data=st.data(), name=st.sampled_from(sorted(SIGNALS)), sudden=st.booleans())
    @precondition(lambda self: self.reference.runs)
    def signal(self, data: st.DataObject, name: str, sudden: bool) -> None:
        """Send a signal; once it is acknowledged the process may die."""
        index, run = self._chosen(data)
        value = self._value()
        sending = self._handle(index).signal(SIGNALS[name], value)
        if run.status != "open":
            self._refused("signal late", sending)
            return
        self.reference.signal(run, name, value)
        self._do("signal", sending, run, sudden)

    @rule(kind=st.sampled_from(EVENTS), sudden=st.booleans())
    @precondition(lambda self: self.reference.open())
    def emit(self, kind: str, sudden: bool) -> None:
        """Publish an event."""
        value = self._value()
        self.reference.emit(kind, value)
        self._do("emit", self.env.emit(kind, value), None, sudden)

    @rule(data=st.data(), what=st.sampled_from(["pause", "pause", "pause", "cancel"]), sudden=st.booleans())
    @precondition(lambda self: self.reference.runs)
    def interfere(self, data: st.DataObject, what: str, sudden: bool) -> None:
        """Pause a run, end its pause, or stop it."""
        index, run = self._chosen(data)
        handle = self._handle(index)
        if run.status != "open":
            self._refused(f"{what} late", handle.suspend() if what == "pause" else handle.cancel())
        elif what == "cancel":
            self.reference.cancel(run)
            self._do("cancel", handle.cancel(), None, sudden)
        elif run.paused:
            self.reference.resume(run)
            self._do("resume", handle.resume(), None, sudden)
        else:
            run.paused = True
            self._do("suspend", handle.suspend(), None, sudden)

    @rule(data=st.data())
    @precondition(lambda self: self._retriable())
    def retry(self, data: st.DataObject) -> None:
        """Start a run anew from one of its steps."""
        index, stage, number = data.draw(st.sampled_from(self._retriable()))
        old = self.reference.runs[index]
        if any(run.tag == old.tag and run.status == "open" for run in self.reference.runs):
            return
        run = self.reference.retry(old, stage)
        self._do("retry", self._retried(self.ids[index], number), run)

    def _retriable(self) -> list[tuple[int, int, int]]:
        """Return runs that are over, with a stage that has a step to begin at, and the step's number."""
        found = []
        for index, run in enumerate(self.reference.runs):
            steps = [
                (n, i) for n in sorted(run.before) for i, (verb, _) in enumerate(run.plan[n]) if verb in STEPS
            ]
            if (
                run.status != "open"
                and run.parent is None
                and not any(_has_children(stage) for stage in run.plan)
            ):
                found += [
                    (index, stage, k) for k, (stage, i) in enumerate(steps) if run.plan[stage][i][0] == "once"
                ]
        return found

    async def _retried(self, run: str, number: int) -> None:
        history = await self.env.history(self.env.handle(run))
        notes = [note for entry in history for note in entry.notes]
        tasks = list(
            dict.fromkeys(note.task for note in notes if (note.what, note.kind) == ("started", "step"))
        )
        desk = (await self.env._opened()).desk
        self.ids.append(await retry_run(desk, run, tasks[number]))

    @rule(seconds=st.sampled_from([0.5, 5, 10, 31]))
    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.reference.pass_time(seconds)
        self._do("time", self.env.pass_time(seconds))

    @rule()
    @precondition(lambda self: self.reference.open())
    def crash(self) -> None:
        """Die, at rest."""
        self.reference.crash(at_rest=True)
        self._do("rest", self._crashed())

    # ── doing and comparing ───────────────────────────────────────────────────────────

    def _chosen(self, data: st.DataObject) -> tuple[int, Run]:
        """Choose a run, mostly one that is open."""
        runs = self.reference.runs
        still = [index for index, run in enumerate(runs) if run.status == "open"]
        index = data.draw(st.sampled_from(still * 12 + list(range(len(runs)))))
        return index, runs[index]

    def _handle(self, index: int) -> Any:
        return self.env.handle(self.ids[index])

    def _do(
        self, what: str, work: Coroutine[Any, Any, Any], run: Run | None = None, sudden: bool = False
    ) -> None:
        """Do something that is acknowledged, and come to rest; or die first, as soon as it is."""
        self.played[what] += 1

        async def done() -> None:
            try:
                await work
            except (Conflict, NotFound) as error:
                raise Differs("what is refused", f"{what} was refused: {error}") from error
            if sudden:
                await self._crashed()
            await self.env.rest()

        self._wait(done())
        if sudden:
            self.reference.crash(at_rest=False)
        self._compare()

    def _refused(self, what: str, work: Coroutine[Any, Any, Any]) -> None:
        """Do something that has to be refused, and changes nothing."""
        self.played[what] += 1

        async def refused() -> bool:
            try:
                await work
            except (Conflict, NotFound):
                return True
            return False

        if not self._wait(refused()):
            raise Differs("what is refused", f"{what} was not refused")
        self._compare()

    def _compare(self) -> None:
        for what, expected, seen in self._wait(self._both()):
            if expected != seen:
                raise Differs(what, f"expected was {expected!r}, seen {seen!r}")

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something that does not take long."""
        return self.env.wait(asyncio.wait_for(work, PATIENCE_SECONDS))

    async def _both(self) -> list[tuple[str, Any, Any]]:
        """Return what the model and what the engine shows of all runs and of the steps under way, by what it is."""
        rows = await self.env.runs()
        by_parent: dict[str, list[str]] = {}
        for row in rows:
            if row.parent is not None:
                by_parent.setdefault(row.parent, []).append(row.id)
        self._name(by_parent)
        there = {row.id: row for row in rows}
        both: list[tuple[str, Any, Any]] = []
        for run, id in zip(self.reference.runs, self.ids, strict=True):
            row = there[id]
            results = run.results if run.status == "completed" else None
            both.append(("status of a run", (run.tag, run.shown()), (run.tag, row.status)))
            both.append(("result", (run.tag, results), (run.tag, (row.outcome or {}).get("output"))))
            if run.plan:
                place = min(run.stage, len(run.plan) - 1)
                both.append(("query", (run.tag, place), (run.tag, await self._place(id))))
        both.append(("number of runs", len(self.ids), len(rows)))
        both.append(("steps under way", sorted(self.reference.begun()), sorted(self.held_by_open())))
        for call in self.env.calls()[len(self.keys) :]:
            step = (call.run, *call.arguments.values())
            self.keys.append(self.keyed.setdefault(step, call.idempotency_key))
            both.append(("idempotency key", self.keys[-1], call.idempotency_key))
        for key, most in self.reference.calls.items():
            fits = most - self.reference.fewer[key] <= self.begun[key] <= most
            both.append(("how often a step began", (key, most), (key, most if fits else self.begun[key])))
        return both

    async def _place(self, id: str) -> Any:
        """Return what a run says of its place, or how it refuses to."""
        try:
            return await self.env.handle(id).query(at)
        except (Conflict, NotFound) as error:
            return f"refused: {error}"

    def held_by_open(self) -> list[Key]:
        """Return the steps that the engine has under way."""
        self.held = {key: held for key, held in self.held.items() if not held._sleeping.done()}
        return list(self.held)

    def _name(self, by_parent: dict[str, list[str]]) -> None:
        """Find the ids of runs that were started meanwhile."""
        for index, run in enumerate(self.reference.runs):
            if index < len(self.ids):
                continue
            if run.parent is None:
                self.ids.append(run.tag)
            else:
                above = run.parent[0]
                place = above.children.index(run)
                self.ids.append(by_parent[self.ids[self.reference.runs.index(above)]][place])


class UsersOnSqlite(Users):
    """The same over a real database."""

    on_sqlite = True


def _has_children(stage: list[Any]) -> bool:
    return any(verb == "child" for verb, _ in stage)


# ── the layer ─────────────────────────────────────────────────────────────────────────────

ZOO: Final = (
    *("another key for each attempt", "another key after a restart", "answers taken twice"),
    *("what is dropped goes on", "a pause that does not pause", "timers forgotten on restart"),
    *("listeners forgotten on restart", "a child ends in its own transaction"),
    *("a signal lost on a run put aside", "a cancellation that is not durable"),
)
"""The seeded bugs that this layer has to notice; those of the store itself are for layers that have one of their own.

"A gap in seq" is not among them: here it is the store that refuses, before users see anything that is not so.
"""


def play(budget: Budget) -> Record:
    """Play examples, four of five over a store in memory; then with each seeded bug."""
    began = time.monotonic()
    played: Counter[str] = Counter()
    violations: list[Violation] = []
    failing: list[str] = []
    cases, number = budget.cases(EXAMPLES), budget.seed
    while played["examples"] < cases and not (played["examples"] and budget.over()) and not failing:
        kind = UsersOnSqlite if number % 5 == 0 else Users
        try:
            _play(kind, number, min(CHUNK, cases), played)
        except Exception as error:
            name = f"{kind.__name__}, seed {number}"
            violations.append(Violation("promise", name, _told(error)))
            failing.append(name)
        number += 1
    caught = tuple(_caught(bug, budget.seed) for bug in ZOO)
    return Record(
        layer=LAYER.name,
        cases=played["examples"],
        seconds=time.monotonic() - began,
        counts=played,
        violations=tuple(violations),
        failing=tuple(failing),
        caught=caught,
    )


def _play(
    kind: type[Users], number: int, examples: int, played: Counter[str], *, shrink: bool = True
) -> None:
    """Play examples; raises what went wrong in one, the shortest that was found, with notes of what led there."""
    lines: list[str] = []
    machine = seed(number)(type(kind.__name__, (kind,), {"played": played}))
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    options = settings(
        max_examples=examples,
        stateful_step_count=RULES_EACH,
        phases=phases,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    with with_reporter(lines.append):
        try:
            run_state_machine_as_test(machine, settings=options)
        except Exception as error:
            for line in lines:
                error.add_note(line)
            raise


def _told(error: BaseException) -> str:
    return "\n".join([*getattr(error, "__notes__", ()), repr(error)[:2000]])


def _differences(error: BaseException) -> set[str]:
    """Return what the comparison saw, also where Hypothesis says that it is not so each time; no other failure."""
    if isinstance(error, BaseExceptionGroup):
        return set().union(*map(_differences, error.exceptions))
    return {error.what} if isinstance(error, Differs) else set()


def _caught(bug: str, number: int) -> Caught:
    """Play examples with a bug until the comparison sees it; `cases` are the examples that it took.

    Whatever else breaks counts for nothing, and another seed is played.
    """
    began = time.monotonic()
    played: Counter[str] = Counter()
    seen: set[str] = set()
    logger = logging.getLogger("asyncio")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # What breaks here is meant to break.
    try:
        with BUGS[bug](), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while not seen and played["examples"] < ZOO_EXAMPLES:
                try:
                    _play(Users, number, ZOO_EXAMPLES - played["examples"], played, shrink=False)
                except Exception as error:
                    seen = _differences(error)
                number += 1
    finally:
        logger.setLevel(level)
    cases = played["examples"] if seen else None
    by = tuple(f"promise: {what}" for what in sorted(seen))
    return Caught(bug=bug, cases=cases, by=by, seconds=time.monotonic() - began)


LAYER: Final = Layer("L1", "what users observe, against a reference model", play, 80.0)
