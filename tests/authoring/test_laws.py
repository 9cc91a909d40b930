"""Laws that hold for every workflow, whatever it is made of and in whatever order things happen.

A workflow is a tree of verbs that an async function carries out. What happens comes from a list of
numbers: each picks one of the things that can happen next.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenuto import (
    Cancelled,
    Retry,
    Signal,
    child,
    continue_as_new,
    each,
    gather,
    log,
    patched,
    race,
    random,
    sleep,
    step,
    uuid,
    wait_for_event,
    workflow,
)
from tenuto.authoring.program import PythonProgram
from tenuto.engine.advance import Run, accepts, advance
from tenuto.engine.model import (
    Answered,
    Arrived,
    CancelRequested,
    Entry,
    Event,
    Failed,
    Listen,
    Note,
    Perform,
    Progressed,
    Resumed,
    Started,
    StartRun,
    Suspended,
    Wake,
)
from tenuto.engine.table import Table
from tenuto.errors import communication_fault, runtime_fault, timeout_fault

Tree = Any
stuck = {"at": -1, "seen": 0}
KEPT: list[tuple[PythonProgram, Run]] = []


@step
def plain(n: int) -> int:
    """Do something."""
    return n


@step
def back(n: int, result: int | None) -> None:
    """Take `held` back."""


@step(undo=back, retry=Retry(attempts=2, delay_seconds=3))
def held(n: int) -> int:
    """Do something that can be taken back."""
    return n


@step(retry=Retry(attempts=3, delay_seconds=2))
def shaky(n: int) -> int:
    """Fail sometimes."""
    return n


@workflow
async def other(n: int) -> int:
    """A child."""
    return n


class Gave(Exception):
    """Raised by the tree."""


async def carry_out(tree: Tree) -> Any:
    """Carry out a tree of verbs."""
    stuck["seen"] += 1
    if stuck["seen"] == stuck["at"]:
        await plain("no number")  # type: ignore[arg-type]
    verb, *rest = tree
    match verb:
        case "plain":
            return await plain(1)
        case "held":
            return await held(number())
        case "shaky":
            return await shaky(1)
        case "child":
            return await child(other, 1)
        case "sleep":
            return await sleep(rest[0])
        case "signal":
            return await Signal(f"s{rest[0]}", int).receive()
        case "signal-timeout":
            try:
                return await Signal("s0", int).receive(timeout=rest[0])
            except TimeoutError:
                return "late"
        case "event":
            return await wait_for_event("e", where=lambda event: event["data"] == rest[0])
        case "raise":
            raise Gave("up")
        case "return":
            return "at once"
        case "log":
            log("line")
            return str(uuid())[:4]
        case "patched":
            return patched(f"p{rest[0]}")
        case "chance":
            return random.randint(1, 3)
        case _:
            return await combine(verb, rest)


def number() -> int:
    """Another number each time, the same in each replay."""
    return random.randint(1, 1_000_000)


async def combine(verb: str, rest: list[Tree]) -> Any:
    """Carry out what has parts."""
    match verb:
        case "row":
            return [await carry_out(part) for part in rest]
        case "gather":
            return list(await gather(*[carry_out(part) for part in rest]))
        case "gather-kept":
            found = await gather(*[carry_out(part) for part in rest], return_exceptions=True)
            return [str(value) for value in found]
        case "race":
            return await race(*[carry_out(part) for part in rest])
        case "race-asks":
            return await race(plain(1), Signal("s0", int).receive(), held(number()), sleep(5))
        case "each":
            return await each(carry_out, rest, at_once=2)
        case "each-left":
            async for result in each(carry_out, rest, at_once=2):
                return result
            return None
        case "finally":
            try:
                return await carry_out(rest[0])
            finally:
                await carry_out(rest[1])
        case "catch":
            try:
                return await carry_out(rest[0])
            except Exception as error:
                return str(error)[:20]
        case "swallow":
            try:
                return await carry_out(rest[0])
            except Cancelled:
                return await carry_out(rest[1])
        case _:
            raise AssertionError(verb)


@workflow
async def flow(tree: Any, rounds: int) -> Any:
    """Carry out a tree, as often as asked."""
    result = await carry_out(tree)
    if rounds:
        continue_as_new(tree, rounds - 1)
    return result


leaves = st.sampled_from(
    [
        ["plain"],
        ["held"],
        ["held"],
        ["shaky"],
        ["child"],
        ["sleep", 0],
        ["sleep", 7],
        ["signal", 0],
        ["signal", 1],
        ["signal-timeout", 4],
        ["event", 0],
        ["raise"],
        ["return"],
        ["log"],
        ["patched", 0],
        ["patched", 1],
        ["chance"],
        ["race-asks"],
    ]
)


def _grown(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    some = st.lists(inner, min_size=1, max_size=3)
    several = st.sampled_from(["row", "row", "gather", "gather-kept", "race", "each", "each-left"])
    pair = st.sampled_from(["finally", "swallow", "catch"])
    return st.one_of(
        st.builds(lambda verb, parts: [verb, *parts], several, some),
        st.builds(lambda verb, one, two: [verb, one, two], pair, inner, inner),
    )


trees = st.recursive(leaves, _grown, max_leaves=12)
choices = st.lists(st.integers(0, 10_000), max_size=60)
AT_MOST = 3_000


def code() -> PythonProgram:
    """The workflow's code, in a new process."""
    return PythonProgram(flow, lambda step: None)


def recalled(entries: list[Entry], run: Run | None = None) -> Run:
    """Fold entries in a new process, whose memory is let go of by `let_go`."""
    program = code()
    found = program.recall(run, entries)
    assert found is not None
    KEPT.append((program, found))
    return found


def let_go() -> None:
    """Let go of all coroutines, as the worker does."""
    while KEPT:
        program, run = KEPT.pop()
        program.forget(run.state)


class Happening:
    """A run to which things happen; `pick` chooses which."""

    def __init__(self, tree: Tree, rounds: int) -> None:
        self.program = code()
        self.run: Run | None = None
        self.time = 1_000.0
        self.entries: list[Entry] = []
        self.cancels = 0
        self.folded_anew = False
        self.tell(Started(self.time, "run", "digest", {"tree": tree, "rounds": rounds}, "nonce"))

    def tell(self, event: Event) -> None:
        """Tell the run something, as the worker does."""
        assert accepts(self.run, event)
        if self.run is not None and self.program.stale(self.run.state):
            self.fold_anew()
        self.run, commands = advance(self.program, self.run, event)
        if len(self.entries) == 0:
            KEPT.append((self.program, self.run))
        self.entries.append(Entry(event, tuple(c for c in commands if isinstance(c, Note))))

    def fold_anew(self) -> None:
        """Lose everything in memory."""
        if self.run is not None:
            self.program.forget(self.run.state)
        self.program = code()
        self.run = self.program.recall(None, self.entries)
        assert self.run is not None
        KEPT.append((self.program, self.run))

    def pick(self, choice: int, *, disturb: bool) -> bool:
        """Let one thing happen; return whether there was one."""
        run = self.run
        assert run is not None
        self.time += 1
        opened = [c for _, c in sorted(run.open.items()) if not isinstance(c, Listen | Wake)]
        timers = sorted(c.at for c in run.open.values() if isinstance(c, Wake))
        timer = [c for c in run.open.values() if isinstance(c, Wake) and c.at == timers[0]][:1]
        which = choice % 16
        if disturb and which < 6:
            self._disturb(which)
        elif which == 6 and any(isinstance(c, Listen) for c in run.open.values()):
            event = {"type": "e", "data": choice % 2}
            self.tell(Arrived(self.time, event))
        elif opened and (which > 8 or not timer):
            self._answer(opened[choice // 16 % len(opened)], choice // 16)
        elif timer:
            self.time = max(self.time, timer[0].at)
            self.tell(Answered(self.time, timer[0].id))
        elif any(isinstance(c, Listen) for c in run.open.values()):
            self._hear(choice)
        else:
            return False
        return True

    def _hear(self, choice: int) -> None:
        if choice % 3:
            data: dict[str, Any] = {"type": "io.tenuto.signal.v1", "subject": f"s{choice % 3 - 1}", "data": 5}
        else:
            data = {"type": "e", "data": 0}
        self.tell(Arrived(self.time, data))

    def _disturb(self, which: int) -> None:
        assert self.run is not None
        if which == 0:
            self.tell(CancelRequested(self.time))
            self.cancels += 1
        elif which == 1 and self.run.status != "suspended":
            self.tell(Suspended(self.time))
        elif which == 2 and self.run.status == "suspended":
            self.tell(Resumed(self.time))
        elif which == 3:
            self.fold_anew()
        else:
            self._hear(which)

    def _answer(self, command: Any, choice: int) -> None:
        kind = choice % 8
        if isinstance(command, Perform) and kind == 1:
            self.tell(Progressed(self.time, command.id, choice))
        elif isinstance(command, Perform | StartRun) and kind in {2, 3, 4}:
            fault = (
                communication_fault("away", transient=True).fault,
                runtime_fault("broken").fault,
                msgspec.structs.replace(timeout_fault("late").fault, transient=bool(choice % 2)),
            )[kind - 2]
            self.tell(Failed(self.time, command.id, fault))
        else:
            self.tell(Answered(self.time, command.id, choice % 5))

    def play(self, picks: list[int], *, disturb: bool = False) -> None:
        """Let things happen as picked, and then in any way until the run is over."""
        for choice in picks:
            assert self.run is not None
            if self.run.over:
                return
            self.pick(choice, disturb=disturb)
        for number in range(AT_MOST):
            assert self.run is not None
            if self.run.over:
                return
            if self.run.status == "suspended":
                self.tell(Resumed(self.time))
            assert self.pick(15 + 16 * 5 * (number % 7), disturb=False), "nothing can happen any more"
        raise AssertionError("the run does not end")


def said(run: Run | None) -> tuple[Any, ...]:
    """What is known of a run from outside."""
    assert run is not None
    return run.status, dict(run.open), run.busy, run.finish


def check_notes(entries: list[Entry]) -> None:
    """Each task begins once and ends once, and not before."""
    state: dict[str, str] = {}
    for entry in entries:
        for note in entry.notes:
            if note.what == "continued":
                assert set(state.values()) <= {"ended"}
                state.clear()
            elif note.what == "started":
                assert note.task not in state
                state[note.task] = "begun"
            elif note.what in {"completed", "faulted", "cancelled"}:
                assert state[note.task] == "begun", note
                state[note.task] = "ended"
            elif note.what in {"retried", "progressed"}:
                assert state[note.task] == "begun", note
    assert set(state.values()) <= {"ended"}


def check_undone(happening: Happening) -> None:
    """What was done is taken back once, the last first, unless the run completed."""
    done: list[tuple[int, int]] = []
    undone: dict[str, int] = {}
    asked: dict[str, Perform] = {}
    run: Run | None = None
    program = code()
    for entry in happening.entries:
        run, commands = advance(program, run, entry.event, entry.notes)
        KEPT.append((program, run))
        notes = [note.what for note in entry.notes]
        anew = notes.index("continued") if "continued" in notes else -1
        for number, note in enumerate(entry.notes):
            if number == anew:
                done.clear()
            elif note.what == "completed" and note.kind == "step" and note.task.startswith("/held"):
                done.append((asked[note.task].id, asked[note.task].arguments["n"]))
        if anew >= 0:
            asked.clear()
        for command in (*commands, *run.open.values()):
            if isinstance(command, Perform):
                asked[command.task] = command
                if command.function == "python.back":
                    undone.setdefault(command.key, command.arguments["n"])
    assert run is not None
    assert run.finish is not None
    if run.finish.status != "completed":
        sure = {n for _, n in done}
        assert [n for n in undone.values() if n in sure] == [n for _, n in reversed(done)]
    elif not any(isinstance(entry.event, CancelRequested) for entry in happening.entries):
        assert undone == {}


ample = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@ample
@given(trees, st.integers(0, 2), choices, st.booleans())
def test_every_run_ends_and_says_so_of_every_task(
    tree: Tree, rounds: int, picks: list[int], disturb: bool
) -> None:
    """No answer is lost, also with pauses, crashes and cancelling; each task that begins ends once."""
    happening = Happening(tree, rounds)
    happening.play(picks, disturb=disturb)

    check_notes(happening.entries)
    check_undone(happening)
    let_go()


@ample
@given(trees, st.integers(0, 1), choices)
def test_every_prefix_folds_to_the_same(tree: Tree, rounds: int, picks: list[int]) -> None:
    """Entry by entry, in one go, or from a snapshot where one can be taken: what is open, status and end."""
    happening = Happening(tree, rounds)
    seen = [said(happening.run)]
    for choice in picks:
        assert happening.run is not None
        if happening.run.over:
            break
        happening.pick(choice, disturb=True)
        if len(seen) < len(happening.entries):
            seen.append(said(happening.run))
    live = code()
    run: Run | None = None
    for count, entry in enumerate(happening.entries, 1):
        run, _ = advance(live, run, entry.event, entry.notes)
        KEPT.append((live, run))
        assert said(run) == seen[count - 1]
        stored = live.encode(run.state)
        if stored is not None and not run.over:
            revived = Run(run.status, code().decode(stored), Table.of(dict(run.open)), run.busy)
            KEPT.append((live, revived))
            assert said(recalled(happening.entries[count:], revived)) == seen[-1]
        assert said(recalled(happening.entries[:count])) == seen[count - 1]
    let_go()


@ample
@given(trees, st.integers(0, 1), choices, st.integers(1, 60))
def test_pauses_and_crashes_change_nothing(tree: Tree, rounds: int, picks: list[int], every: int) -> None:
    """The same things happen, with a crash or a pause between: the same outcome."""
    calm = Happening(tree, rounds)
    calm.play(picks)
    troubled = Happening(tree, rounds)
    for number, entry in enumerate(calm.entries[1:]):
        if number % every == 0:
            assert troubled.run is not None
            troubled.tell(Suspended(entry.event.time))
            if number % 2:
                troubled.fold_anew()
        troubled.tell(entry.event)
        if number % every == every - 1 and troubled.run is not None and troubled.run.status == "suspended":
            troubled.tell(Resumed(entry.event.time))

    assert calm.run is not None
    assert troubled.run is not None
    assert troubled.run.finish == calm.run.finish
    let_go()


@ample
@given(trees, st.integers(0, 1), choices, st.integers(1, 12), st.integers(0, 5))
def test_a_stuck_run_once_mended_is_as_if_it_had_never_been(
    tree: Tree, rounds: int, picks: list[int], at: int, meanwhile: int
) -> None:
    """Its code could not go on somewhere, answers came meanwhile, and then it was mended."""
    stuck.update(at=-1, seen=0)
    calm = Happening(tree, rounds)
    calm.play(picks)
    stuck.update(at=at, seen=0)
    troubled = Happening(tree, rounds)
    since = -1
    for number, entry in enumerate(calm.entries[1:]):
        assert troubled.run is not None
        if troubled.run.status == "suspended":
            since = number if since < 0 else since
            if number - since >= meanwhile or not accepts(troubled.run, entry.event):
                mend(troubled, entry.event.time)
        troubled.tell(entry.event)
    stuck.update(at=-1)
    if troubled.run is not None and troubled.run.status == "suspended":
        mend(troubled, troubled.time)

    assert calm.run is not None
    assert troubled.run is not None
    assert troubled.run.finish == calm.run.finish
    assert said(recalled(troubled.entries)) == said(troubled.run)
    let_go()


def mend(happening: Happening, time: float) -> None:
    """Put the code right, as after a deployment."""
    stuck.update(at=-1)
    happening.fold_anew()
    happening.tell(Resumed(time))
