"""The protocol between worker, store and clients as a small model, to be explored exhaustively (`exploring`).

The model is what the code does, not what we would like it to do:

    what happens                     in the code
    ─────────────────────────────    ───────────────────────────────────────────────────────────────────────────
    open    a process begins         `sqlite._open`: `FileLock`, then everything that is in the log is synced;
                                     `Worker.recover`, `Memory._fold`, `Worker._carry_on`
    start   a client starts a run    `Worker.start`, `_start_once`, `_create`
    tell    a client tells it        `Worker.tell`: signal, cancel, pause, resume
    refuse  what comes too late      the same
            ... each folds at once   `Feeding.feed`, `Turn.take`, `advance`: memory is ahead of the disk
    write   the writer's turn        `DatabaseJournal._write_all` takes all that is queued; `SqliteWriter.write`, up to
                                     COMMIT's write to the log: other processes may see it, power may lose it
    sync    COMMIT's fsync           the same
    done    the store calls back     `DatabaseJournal._take_durable`, `Worker._durable`: clients are answered, what was
                                     asked for is carried out (`Worker._carry_out`, which asks `hot.wanted`)
    act     an action begins         `Acting._begin`, when limits allow it; it asks `wanted` again. Its effect is there
    turn away                        the same, where the run is paused meanwhile
    answer  its outcome comes        `Acting._perform`, `Worker._answer`, which asks `accepts`
    lose    its answer is lost       the same with a fault; the program tries again under the same key
    child   a run starts another     `Worker._start_child`; what ends in one run is told the other in the same
                                     transaction: `Feeding._tell_parent`, `_tell_children`
    fire    a timer is due           `Timers.check`, `Worker._fire`
    kill    the process dies         its memory is gone; the kernel gives its lock back
    power   the machine dies         what was not synced is gone too, or is not
    fail    the store fails          `DatabaseJournal._take_failure`, `Worker.fail`: the process stops for good; the
                                     transaction was carried out, or not
    seen, again                      a client who does not know looks, and repeats what has not happened

What a run wants follows from its journal alone (`staged.fold`, which stands for `advance`). Left out is what no outsider
sees: runs that are put aside and loaded again, snapshots. Two processes may live at once; the lock lets one of them open.

`SEEDED` are the mistakes that the protocol is there to exclude. Each has to give a counterexample, which shows that
the laws can tell. `walking` plays ways through this model against the real worker, so that the two stay the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from tests.reliability.model.exploring import Move
from tests.reliability.model.staged import Folded, Journal, Stages, accepts, fold, kinds

Command: TypeAlias = tuple[int, int, int]
"""A run's number, a command's, and the attempt."""

ATTEMPTS_MAX: Final = 2
VERBS: Final = ("signal", "cancel", "pause", "resume")
OPTIONAL: Final = ("cancel", "pause")

SAID: Final = {
    "time passes": "time passes",
    "open": "process {0} opens the database",
    "clash": "process {0} is told that its entries are there already, and stops",
    "write": "process {0} writes what is new to the log",
    "fail": "the store of process {0} fails; nothing is written",
    "fail late": "the store of process {0} fails; all is written",
    "sync": "process {0} syncs the log",
    "done": "process {0} hears that it is done",
    "later": "process {0} folds what the parent is told",
    "start": "a client asks process {0} to start run 1",
    "tell": "a client sends {1} to process {0}",
    "refuse": "process {0} refuses {1}: the run is over",
    "seen": "a client sees that its {1} has arrived",
    "again": "a client means to repeat its {1}",
    "act": "process {0} begins action {2} of run {1}, attempt {3}",
    "turn away": "process {0} turns away action {2} of run {1}, attempt {3}",
    "answer": "process {0} hears the answer of action {2} of run {1}, attempt {3}",
    "lose": "the answer of action {2} of run {1}, attempt {3}, to process {0} is lost",
    "fire": "a timer of process {0} fires",
    "child": "process {0} starts run 2 for run 1",
    "child over": "process {0} sees that run 2 is over",
    "kill": "process {0} is killed",
    "power, all kept": "power is lost; what was written is there all the same",
    "power": "power is lost; what was not synced is gone",
}
"""What happens, in words; processes, runs and commands count from 1 there."""


class Process(NamedTuple):
    """A process that has the database open.

    `memory` is its runs' journals as they were folded, `durable` how much of each it knows to be on disk.
    `phase` is the writer's: `idle`, `written`, `synced`; `taken` is how much of each its transaction holds.
    `active` are the commands that it sees to (run, command, attempt), `acting` those whose action has begun.
    `later` is what a parent is told in a transaction of its own (a mistake), `life` tells processes apart where that
    is one.
    """

    memory: tuple[Journal, ...]
    durable: tuple[int, ...]
    phase: str = "idle"
    taken: tuple[int, ...] = ()
    active: frozenset[Command] = frozenset()
    acting: frozenset[Command] = frozenset()
    later: tuple[tuple[int, str], ...] = ()
    life: int = 0


Client: TypeAlias = str | tuple[int, int]
"""`new`, `ok`, `unknown`, `refused`, or waiting: for which process, and for how much of the first run's journal."""


class World(NamedTuple):
    """Everything.

    `disk` survives the machine, `cache` (the system's) the process. `shown` is how much of each journal
    somebody outside knows to be durable. `effects` are run, command and idempotency key.
    """

    disk: tuple[Journal, ...]
    cache: tuple[Journal, ...]
    processes: tuple[Process | None, ...]
    starting: Client
    telling: tuple[Client, ...]
    shown: tuple[int, ...]
    effects: frozenset[tuple[int, int, str]] = frozenset()
    due: bool = False
    faults: int = 0
    losses: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is explored: runs (the second is the first one's child), what clients do, and how much may go wrong."""

    name: str
    runs: tuple[Stages, ...]
    verbs: tuple[str, ...]
    losses: int = 0


SCENARIOS: Final = (
    Scenario("steps", ((("act",), ("act", "act")),), ("cancel",), losses=1),
    Scenario("family", ((("child",), ("act", "wait")), (("act",), ("act",))), ("cancel",)),
    Scenario("waits", ((("wait", "hear"), ("act",)),), ("signal", "pause", "resume")),
)
NIGHTLY: Final = (
    Scenario("steps with a pause", ((("act",), ("act", "act")),), ("cancel", "pause", "resume"), losses=2),
    Scenario(
        "family with pauses and timers", ((("child",), ("act", "wait")), (("act",), ("act",))), VERBS[1:]
    ),
    Scenario("waits with all", ((("wait", "hear"), ("act",)),), VERBS),
)

SEEDED: Final = {
    "ack before commit": "family",
    "act before commit": "steps",
    "no lock": "steps",
    "parent and child in two transactions": "family",
    "fresh key per attempt": "steps",
    "answer recorded without checking that it is open": "steps",
    "restart drops timers": "waits",
    "timer fires early": "waits",
    "commit without fsync": "steps",
    "open without fsync": "steps",
    "go on after the store failed": "steps",
    "refuse before commit": "steps",
    "start a child anew after a restart": "family",
    "repeat a signal that may have arrived": "waits",
}
"""Each mistake, and the scenario that has to show it."""


@dataclass(slots=True)
class Protocol:
    """The model; `mistake` is one of `SEEDED`."""

    scenario: Scenario
    faults: int = 2
    mistake: str = ""
    _laws: dict[Any, str | None] = field(default_factory=dict)

    def first(self) -> World:
        """Return the world before anything happened."""
        empty: tuple[Journal, ...] = tuple(() for _ in self.scenario.runs)
        clients: tuple[Client, ...] = tuple("new" for _ in self.scenario.verbs)
        return World(empty, empty, (None, None), "new", clients, tuple(0 for _ in empty))

    def is_goal(self, world: World) -> bool:
        """Whether the start was acknowledged and every run is over, durably."""
        ends = [self._fold(run, journal).status for run, journal in enumerate(world.disk)]
        return world.starting == "ok" and ends[0] == "over" and ends[-1] in {"none", "over"}

    def _fold(self, run: int, journal: Journal) -> Folded:
        return fold(self.scenario.runs[run], journal)

    # ── what can happen ───────────────────────────────────────────────────────────────

    def say(self, what: tuple[Any, ...]) -> str:
        """Return in words what happens."""
        name, *about = what
        return SAID[name].format(
            *(each + 1 if isinstance(each, int) else each for each in about[:3]), *about[3:]
        )

    def moves(self, world: World) -> Iterator[Move]:
        """Yield everything that can happen next."""
        if not world.due and any("wait" in kinds(stages) for stages in self.scenario.runs):
            yield True, ("time passes",), world._replace(due=True), None
        for number, process in enumerate(world.processes):
            if process is not None:
                yield from self._writing(world, number, process)
                yield from self._starting(world, number, process)
                yield from self._telling(world, number, process)
                yield from self._acting(world, number, process)
                yield from self._answering(world, number, process)
                yield from self._waiting(world, number, process)
            elif None not in world.processes[:number]:  # one that is closed is like another
                yield from self._opening(world, number)
        if world.faults < self.faults:
            yield from self._faults(world)

    def _opening(self, world: World, number: int) -> Iterator[Move]:
        if any(world.processes) and not self._is("no lock"):
            return
        memory = list(world.cache)
        for run, command, child in self._families():
            if self._is_orphan(memory, run, command, child):
                memory[child] += ("cancel",)
        life = world.faults if self._is("fresh key per attempt") else 0
        process = Process(tuple(memory), tuple(map(len, world.cache)), life=life)
        for run, stages in enumerate(self.scenario.runs):
            drops = self._is("restart drops timers")
            again = self._fold(run, memory[run]).open
            again = tuple(c for c in again if not (drops and kinds(stages)[c[0]] == "wait"))
            process = self._carried_out(process, run, again)
        disk = world.disk if self._is("open without fsync") else world.cache
        yield True, ("open", number), self._put(world, number, process)._replace(disk=disk), None

    def _writing(self, world: World, number: int, process: Process) -> Iterator[Move]:
        if process.later:
            ((run, event),) = process.later
            fed = self._fed(process._replace(later=()), run, event)
            yield True, ("later", number), self._put(world, number, fed), None
        if process.phase == "idle":
            yield from self._written(world, number, process)
        elif process.phase == "written":
            disk = world.disk if self._is("commit without fsync") else world.cache
            synced = self._put(world, number, process._replace(phase="synced"))
            yield True, ("sync", number), synced._replace(disk=disk), None
        else:
            yield True, ("done", number), self._done(world, number, process), None

    def _written(self, world: World, number: int, process: Process) -> Iterator[Move]:
        """The writer takes all that there is; a place in a journal can be taken once only."""
        sizes = tuple(map(len, process.memory))
        if sizes == process.durable:
            return
        cache = list(world.cache)
        for run, size in enumerate(sizes):
            if size > process.durable[run]:
                if len(cache[run]) > process.durable[run]:
                    yield True, ("clash", number), self._gone(world, number), None
                    return
                cache[run] = process.memory[run]
        written = self._put(world, number, process._replace(phase="written", taken=sizes))
        yield True, ("write", number), written._replace(cache=tuple(cache)), None
        if world.faults < self.faults:
            failed = self._gone(world, number)
            if self._is("go on after the store failed"):
                failed = self._put(world, number, process._replace(phase="synced", taken=sizes))
            yield False, ("fail", number), failed._replace(faults=world.faults + 1), None
            late = self._gone(world, number)._replace(cache=tuple(cache), disk=tuple(cache))
            yield False, ("fail late", number), late._replace(faults=world.faults + 1), None

    def _done(self, world: World, number: int, process: Process) -> World:
        """What was written is durable: carry out what it asks for, answer clients."""
        durable = process.taken
        for run in range(len(durable)):
            for size in range(process.durable[run] + 1, durable[run] + 1):
                journal = process.memory[run][:size]
                before, after = self._fold(run, journal[:-1]), self._fold(run, journal)
                if after.status == "open":
                    new = after.open if journal[-1] == "resume" else {*after.open} - {*before.open}
                    process = self._carried_out(process, run, new)
        process = process._replace(phase="idle", taken=(), durable=durable)
        world = self._put(world, number, process)

        def told(client: Client) -> Client:
            if isinstance(client, tuple) and client[0] == number and client[1] <= durable[0]:
                return "ok"
            return client

        shown = tuple(map(max, world.shown, durable))
        telling = tuple(map(told, world.telling))
        return world._replace(starting=told(world.starting), telling=telling, shown=shown)

    def _starting(self, world: World, number: int, process: Process) -> Iterator[Move]:
        if world.starting != "new":
            return
        fed = process if process.memory[0] else self._fed(process, 0, "start")
        waits: Client = "ok" if process.durable[0] or self._is("ack before commit") else (number, 1)
        yield True, ("start", number), self._put(world, number, fed)._replace(starting=waits), None

    def _telling(self, world: World, number: int, process: Process) -> Iterator[Move]:
        there = self._fold(0, process.memory[0])
        is_known = len(process.memory[0]) == process.durable[0]
        # Nobody is told of an end that a crash could take back.
        may_refuse = there.status == "over" and (is_known or self._is("refuse before commit"))
        for place, (verb, client) in enumerate(zip(self.scenario.verbs, world.telling, strict=True)):
            calm, what = verb not in OPTIONAL, (number, verb)
            if client == "new" and accepts(there, verb):
                fed = self._fed(process, 0, verb)
                waits: Client = (number, len(fed.memory[0]))
                waits = "ok" if self._is("ack before commit") else waits
                yield calm, ("tell", *what), self._told(self._put(world, number, fed), place, waits), None
            elif client == "new" and may_refuse:
                yield calm, ("refuse", *what), self._told(world, place, "refused"), None
            elif client == "unknown" and calm and is_known:
                forgets = self._is("repeat a signal that may have arrived")
                if verb in process.memory[0] and not forgets:
                    yield True, ("seen", *what), self._told(world, place, "ok"), None
                else:
                    yield True, ("again", *what), self._told(world, place, "new"), None

    def _acting(self, world: World, number: int, process: Process) -> Iterator[Move]:
        """Actions begin when their limits allow it: a moment after they were asked for, or much later."""
        for run, command, attempt in process.active - process.acting:
            if kinds(self.scenario.runs[run])[command] != "act":
                continue
            this = (run, command, attempt)
            if self._fold(run, process.memory[run]).status == "paused":
                left = process._replace(active=process.active - {this})
                yield True, ("turn away", number, *this), self._put(world, number, left), None
                continue
            begun = self._put(world, number, process._replace(acting=process.acting | {this}))
            key = f"{attempt} in life {process.life}" if self._is("fresh key per attempt") else ""
            begun = begun._replace(effects=world.effects | {(run, command, key)})
            yield True, ("act", number, *this), begun, self._wrongly_begun(world, run, command)

    def _answering(self, world: World, number: int, process: Process) -> Iterator[Move]:
        for this in process.acting:
            run, command, attempt = this
            answered = process._replace(acting=process.acting - {this})
            is_open = (command, attempt) in self._fold(run, process.memory[run]).open
            if is_open and world.losses < self.scenario.losses and attempt < ATTEMPTS_MAX:
                lost = self._put(world, number, self._fed(answered, run, f"lost {command}"))
                yield False, ("lose", number, *this), lost._replace(losses=world.losses + 1), None
            if is_open or self._is("answer recorded without checking that it is open"):
                answered = self._fed(answered, run, f"answer {command}")
            yield True, ("answer", number, *this), self._put(world, number, answered), None

    def _waiting(self, world: World, number: int, process: Process) -> Iterator[Move]:
        """Timers that are due, and runs that others start."""
        for run, command, attempt in process.active:
            kind = kinds(self.scenario.runs[run])[command]
            rest = process._replace(active=process.active - {(run, command, attempt)})
            if kind == "wait" and (world.due or self._is("timer fires early")):
                fired = self._put(world, number, self._fed(rest, run, f"answer {command}"))
                law = None if world.due else "I6: a timer fired before it was due"
                yield True, ("fire", number), fired, law
            if kind != "child":
                continue
            child = self._fold(1, process.memory[1])
            if child.status == "none" or self._is("start a child anew after a restart"):
                memory, durable = (process.memory[0], ("start",)), (process.durable[0], 0)
                started = self._put(world, number, rest._replace(memory=memory, durable=durable))
                yield True, ("child", number), started, None
            elif child.status == "over":
                told = self._put(world, number, self._fed(rest, run, f"answer {command}"))
                yield True, ("child over", number), told, None

    def _faults(self, world: World) -> Iterator[Move]:
        dark = world
        for number, process in enumerate(world.processes):
            if process is not None:
                dark = self._gone(dark, number)
                killed = self._gone(world, number)._replace(faults=world.faults + 1)
                yield False, ("kill", number), killed, None
        dark = dark._replace(faults=world.faults + 1)
        if world.cache != world.disk:
            yield False, ("power, all kept",), dark._replace(disk=world.cache), None
        yield False, ("power",), dark._replace(cache=world.disk), None

    # ── what follows ──────────────────────────────────────────────────────────────────

    def _is(self, mistake: str) -> bool:
        return self.mistake == mistake

    def _put(self, world: World, number: int, process: Process | None) -> World:
        processes = list(world.processes)
        processes[number] = process
        return world._replace(processes=tuple(processes))

    def _told(self, world: World, place: int, client: Client) -> World:
        telling = list(world.telling)
        telling[place] = client
        return world._replace(telling=tuple(telling))

    def _gone(self, world: World, number: int) -> World:
        """A process is gone: those who wait for it do not know; whoever started a run by its id asks again."""

        def lost(client: Client, becomes: str) -> Client:
            return becomes if isinstance(client, tuple) and client[0] == number else client

        telling = tuple(lost(client, "unknown") for client in world.telling)
        world = world._replace(starting=lost(world.starting, "new"), telling=telling)
        return self._put(world, number, None)

    def _carried_out(self, process: Process, run: int, wanted: Iterable[tuple[int, int]]) -> Process:
        """See to what was asked for and is still wanted: `Worker._carry_out`."""
        now = self._fold(run, process.memory[run])
        if now.status != "open":
            return process
        stages = self.scenario.runs[run]
        new = {(run, *c) for c in wanted if c in now.open and kinds(stages)[c[0]] != "hear"}
        return process._replace(active=process.active | new)

    def _fed(self, process: Process, run: int, event: str) -> Process:
        """Fold an event, and what follows from it for the other run, as one batch: `Feeding.feed`."""
        memory = list(process.memory)
        memory[run] += (event,)
        later = process.later
        for parent, command, child in self._families():
            if self._is_unheard(memory, parent, command, child):
                told = (parent, f"answer {command}")
                if self._is("parent and child in two transactions"):
                    later = (told,)
                else:
                    memory[parent] += (told[1],)
            if self._is_orphan(memory, parent, command, child):
                memory[child] += ("cancel",)
        process = process._replace(memory=tuple(memory), later=later)
        active = {(r, c, n) for r, c, n in process.active if (c, n) in self._fold(r, memory[r]).open}
        process = process._replace(active=frozenset(active))
        if self._is("act before commit"):
            process = self._carried_out(process, run, self._fold(run, memory[run]).open)
        return process

    def _families(self) -> list[tuple[int, int, int]]:
        """Return parent, command and child."""
        return [(0, kinds(self.scenario.runs[0]).index("child"), 1)] if len(self.scenario.runs) > 1 else []

    def _is_unheard(self, memory: Any, parent: int, command: int, child: int) -> bool:
        """Whether a child is over and its parent waits for it."""
        waits = any(command == c for c, _ in self._fold(parent, memory[parent]).open)
        return waits and self._fold(child, memory[child]).status == "over"

    def _is_orphan(self, memory: Any, parent: int, command: int, child: int) -> bool:
        """Whether a child is open and its parent does not wait for it any more."""
        above = self._fold(parent, memory[parent])
        lives = self._fold(child, memory[child]).status in {"open", "paused"}
        return lives and all(command != c for c, _ in above.open)

    # ── what has to hold ──────────────────────────────────────────────────────────────

    def _wrongly_begun(self, world: World, run: int, command: int) -> str | None:
        """Return the law that an action breaks which begins now."""
        if f"answer {command}" in world.cache[run]:
            return "I4: an action begins whose outcome is recorded"
        if self._fold(run, world.cache[run]).status == "over":
            return "I5: an action begins in a run that is over"
        return None

    def broken(self, world: World) -> str | None:
        """Return the first law that does not hold; those of what is on disk count while no process is up."""
        for journals in (world.cache, world.disk):
            law = self.broken_journals(journals)
            if law is not None:
                return law
        keys: dict[tuple[int, int], str] = {}
        for run, command, key in world.effects:
            if keys.setdefault((run, command), key) != key:
                return "I4: one step has two idempotency keys"
        if any(world.processes):
            return None
        if world.starting == "ok" and not world.cache[0]:
            return "I1: a run is gone whose start was acknowledged"
        for verb, client in zip(self.scenario.verbs, world.telling, strict=True):
            count = world.cache[0].count(verb)
            if client == "ok" and count != 1:
                return f"I7: an acknowledged {verb} was recorded {count} times"
            if client == "refused" and (count or self._fold(0, world.cache[0]).status != "over"):
                return f"I7: {verb} was refused because the run is over, and it is not"
        if any(len(there) < shown for there, shown in zip(world.cache, world.shown, strict=True)):
            return "I3: an entry is gone that was shown as durable"
        for run, command, _ in world.effects:
            if command not in self._fold(run, world.cache[run]).ever:
                return "I4: an effect that follows from no entry"
        return None

    def broken_journals(self, journals: tuple[Journal, ...]) -> str | None:
        """Return what is wrong with journals as such."""
        if journals not in self._laws:
            self._laws[journals] = self._find_broken(journals)
        return self._laws[journals]

    def _find_broken(self, journals: tuple[Journal, ...]) -> str | None:
        for run, journal in enumerate(journals):
            for size, event in enumerate(journal):
                before = self._fold(run, journal[:size])
                if not accepts(before, event):
                    law = "I5" if before.status == "over" else "I2" if event == "start" else "I4"
                    return f"{law}: {event!r} was recorded where it means nothing"
            if journal.count("signal") > 1:
                return "I7: a signal was recorded twice"
        for family in self._families():
            if self._is_unheard(journals, *family):
                return "one transaction: a run is over, and its parent was not told"
            if self._is_orphan(journals, *family):
                return "one transaction: nobody waits for a run any more, and it was not told"
        return None
