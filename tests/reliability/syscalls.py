"""L4: a real process is killed at each call to the system that changes a file or acknowledges something.

A golden run under `strace` says which calls there are: how often each thread writes, syncs, cuts, removes, and
answers. Then the same is done again for each of them, with `strace` told to kill the process as it enters that
very call: what was before is done, what comes after is not. The state after a call is the one before the next.

`strace` counts for each thread on its own. So a life is cut into scenes in each of which only one thread makes a
kind of call, and `strace` is attached where the scene begins:

    birth     from nothing to an open database, its migrations
    first     from there to the end of the first runs; batches are written by the writer's thread
    alone     the same, with all lone batches written by the event loop's thread
    moving    the same, with the log moved into the database at almost each commit
    rebirth   opening the database that a killed process has left
    end       closing it

At night there are scenes with more in them: children, forks, blobs, snapshots.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final
from unittest import mock

from tests.reliability.disk.tracing import check_may_trace
from tests.reliability.evidence import Violation
from tests.reliability.house.driver import House, noticed, unplayable
from tests.reliability.house.ledger import Ledger
from tests.reliability.house.lives import Died, Nursery
from tests.reliability.house.squeezed import squeezed
from tests.reliability.house.stories import Stories
from tests.reliability.programme import Budget, Caught, Layer, Record
from tests.servers.provision import CannotRun, program

CALLS: Final = ("fsync", "fdatasync", "pwrite64", "write", "ftruncate", "unlink", "rename")
HERE: Final = "tests.reliability.syscalls"
POINTS_IN_CI: Final = 48
CONTROLS_MAX: Final = 12
SCALE_OF_NIGHTS: Final = 4.0
AT_ONCE: Final = 2
PATIENCE_SECONDS: Final = 30.0
_LINE: Final = re.compile(r"^(\d+)\s+(\w+)\(")
_NO_THREAD_IS_QUICK: Final = -1.0
_EVERY_DISK_IS_QUICK: Final = 3600.0


@contextmanager
def by_the_writer() -> Iterator[None]:
    """Have the writer's thread write everything."""
    with mock.patch("tenuto.storage.journal.QUICK_SECONDS", _NO_THREAD_IS_QUICK):
        yield


@contextmanager
def by_the_loop() -> Iterator[None]:
    """Have the event loop's thread write each batch that is alone, from the second on."""
    with mock.patch("tenuto.storage.journal.QUICK_SECONDS", _EVERY_DISK_IS_QUICK):
        yield


@contextmanager
def moving_often() -> Iterator[None]:
    """Move the log into the database at almost each commit."""
    with by_the_writer(), mock.patch("tenuto.storage.sqlite.CHECKPOINT_PAGES", 1):
        yield


@contextmanager
def squeezed_and_written() -> Iterator[None]:
    """Have all bounds small, and the writer's thread write everything."""
    with by_the_writer(), squeezed():
        yield


@dataclass(frozen=True, slots=True)
class Scene:
    """A part of a life: where it begins, what changes the process, whether a database is there already.

    `kinds` are the runs that are started in it, one after the other, and how large each is. `bug` is one of the zoo.
    """

    name: str
    hold: str
    within: str
    there: bool = False
    kinds: tuple[tuple[str, int], ...] = (("chain", 2), ("inbox", 1), ("patient", 1))
    bug: str | None = None


SCENES: Final = (
    Scene("birth", "start", "by_the_writer"),
    Scene("first", "opened", "by_the_writer"),
    Scene("alone", "opened", "by_the_loop"),
    Scene("moving", "opened", "moving_often", there=True),
    Scene("rebirth", "start", "by_the_writer", there=True),
    Scene("end", "close", "by_the_writer"),
)
AT_NIGHT: Final = (
    Scene("busy", "opened", "by_the_writer", kinds=(("everything", 2), ("parent", 2), ("saga", 2))),
    Scene("large", "opened", "by_the_writer", kinds=(("large", 1), ("rounds", 3), ("listening", 1))),
    Scene("squeezed", "opened", "squeezed_and_written", kinds=(("everything", 1), ("telling", 2))),
)
WITH_BUGS: Final = {
    "acknowledged before the commit": ("I1", "I7", "promise"),
    "commands before the fsync": ("I4", "I5", "promise"),
}
"""Bugs of the zoo, and the invariants that may show each."""


@dataclass(frozen=True, slots=True)
class Point:
    """The nth call of a kind in a scene."""

    scene: Scene
    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.scene.name}:{self.call}:{self.number}"


class Stage:
    """Plays scenes; `made` is the folder with a database that a killed process has left."""

    def __init__(self, folder: Path, strace: Path, nursery: Nursery) -> None:
        self._folder = folder
        self._strace = strace
        self._nursery = nursery
        self._made = folder / "made"
        self._numbers = iter(range(1_000_000))

    @asynccontextmanager
    async def house(self, scene: Scene) -> AsyncIterator[House]:
        """A house for one case."""
        folder = self._folder / f"case-{next(self._numbers)}"
        if scene.there:
            shutil.copytree(self._made, folder)
        else:
            os.makedirs(folder)
        within = (f"{HERE}:{scene.within}",)
        async with (
            Ledger(folder / "ledger.jsonl") as ledger,
            House(folder, ledger, nursery=self._nursery, within=within, bug=scene.bug) as house,
        ):
            if scene.there:
                house.take_over(self._former)
            yield house
        shutil.rmtree(folder)

    async def prepare(self) -> None:
        """Make the database that scenes begin with for which one is there: that of a run that is over, killed."""
        async with self.house(SCENES[1]) as house:
            await house.start()
            await _story(house, SCENES[1])
            await house.kill()
            shutil.copytree(house.folder, self._made, ignore=shutil.ignore_patterns("*.sock"))
            self._former = house

    async def golden(self, scene: Scene) -> Counter[str]:
        """Return how often each call is made in a scene, by the thread that makes it most often."""
        async with self.house(scene) as house:
            trace = await self._play(scene, house, [f"trace={','.join(CALLS)}"])
        threads: dict[str, Counter[str]] = defaultdict(Counter)
        for line in trace.splitlines():
            if found := _LINE.match(line):
                threads[found[2]][found[1]] += 1
        return Counter({call: max(counted.values()) for call, counted in threads.items()})

    async def case(self, point: Point) -> tuple[bool, list[Violation]]:
        """Kill at a point, go on, and check; return whether the point was reached, and what is wrong."""
        inject = f"inject={point.call}:signal=KILL:when={point.number}"
        async with self.house(point.scene) as house:
            trace = await self._play(point.scene, house, [f"trace={point.call}", inject])
            return "killed by SIGKILL" in trace, house.violations()

    async def _play(self, scene: Scene, house: House, options: list[str]) -> str:
        """Play a scene under strace; if the process dies, go on in another one. Return what strace wrote."""
        life = await house.start(hold=scene.hold)
        story = asyncio.create_task(_story(house, scene))
        if scene.hold == "close":
            await story
            closing = asyncio.create_task(house.stop())
            await life.wait(lambda: life.held)
        trace = house.folder / "trace"
        tracer = await self._attach(life.pid, ["-o", str(trace), *options])
        try:
            if scene.hold == "close":
                life.let()
                await closing
                await house.start(faultless=True)
            else:
                await self._through(house, story)
            await house.settle(PATIENCE_SECONDS)
            await house.stop()
        except BaseException:
            with suppress(ProcessLookupError):
                tracer.terminate()  # It lets go of a process that may still be there.
            raise
        finally:
            story.cancel()
            await tracer.wait()
        return trace.read_text(errors="replace")

    async def _through(self, house: House, story: asyncio.Task[None]) -> None:
        """Let a life that is held go on, until the story is over, in this life or the next."""
        with suppress(Died):
            await house.go()
        over = asyncio.create_task(house.life.end())
        await asyncio.wait([over, story], return_when=asyncio.FIRST_COMPLETED)
        if not story.done():
            await house.start(faultless=True)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await story
        over.cancel()
        story.result()

    async def _attach(self, pid: int, options: list[str]) -> asyncio.subprocess.Process:
        """Have strace follow all threads of a process from now on."""
        expressions = [word for option in options[2:] for word in ("-e", option)]
        tracer = await asyncio.create_subprocess_exec(
            *[self._strace, "-f", *options[:2], *expressions, "-p", str(pid)],
            stderr=asyncio.subprocess.PIPE,
        )
        assert tracer.stderr is not None
        line = await tracer.stderr.readline()
        if b"attached" not in line:
            raise CannotRun(f"strace cannot attach to a process: {line.decode().strip()}")
        return tracer


async def _story(house: House, scene: Scene) -> None:
    """What one client does, one thing after the other."""
    stories = Stories(house, seed=1)
    for kind, n in scene.kinds:
        await stories.tell(kind, f"{scene.name}-{kind}", n, Random(1))


# ── the layer ────────────────────────────────────────────────────────────────────────────


def play(budget: Budget) -> Record:
    """Kill at as many points as the budget has; at each one if it has more.

    What breaks off once it is known that processes can be traced here is a finding.
    """
    played = Played(time.monotonic())
    try:
        strace = program("strace", "strace")
        check_may_trace()
    except CannotRun as reason:
        return played.record(f"all of it: {reason}")
    try:
        asyncio.run(_play(budget, strace, played))
    except Exception as error:
        played.take("the layer", [unplayable(error)])
    return played.record()


@dataclass(slots=True)
class Played:
    """What was done and found so far."""

    began: float
    violations: list[Violation] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    failing: list[str] = field(default_factory=list)
    caught: list[Caught] = field(default_factory=list)

    def take(self, case: str, found: Sequence[Violation]) -> None:
        """Add what a case has shown."""
        self.violations += found
        self.failing += [case] if found else []

    def record(self, *not_played: str) -> Record:
        """Return all of it."""
        return Record(
            layer=LAYER.name,
            cases=self.counts["kills"],
            seconds=time.monotonic() - self.began,
            counts=dict(sorted(self.counts.items())),
            violations=tuple(self.violations),
            failing=tuple(self.failing),
            caught=tuple(self.caught),
            not_played=not_played,
        )


async def _play(budget: Budget, strace: Path, played: Played) -> None:
    counts = played.counts
    with Nursery() as nursery:
        stage = Stage(budget.folder, strace, nursery)
        await stage.prepare()
        scenes = SCENES if budget.scale < SCALE_OF_NIGHTS else (*SCENES, *AT_NIGHT)
        points = [point for scene in scenes for point in _points(scene, await stage.golden(scene))]
        counts["points of the golden runs"] = len(points)
        chosen = iter(_chosen(points, budget))

        async def work() -> None:
            for point in chosen:
                reached, found = await _case(stage, point)
                counts["kills" if reached else "points not reached again"] += 1
                counts[f"kills at {point.call}"] += reached
                counts[f"kills in {point.scene.name}"] += reached
                played.take(str(point), found)
                if budget.over():
                    return

        await asyncio.gather(*[work() for _ in range(AT_ONCE)])
        counts["points left out"] = len(points) - counts["kills"] - counts["points not reached again"]
        longest = 0
        for bug in WITH_BUGS:
            caught = await _catch(stage, bug)
            played.caught.append(caught)
            longest = max(longest, caught.cases or CONTROLS_MAX)
        for number in range(longest):
            point = _early(None, number)
            _, found = await _case(stage, point)
            played.take(f"without a bug:{point}", found)
        counts["kills of hunts, without a bug"] = longest


async def _case(stage: Stage, point: Point) -> tuple[bool, list[Violation]]:
    try:
        return await stage.case(point)
    except Exception as error:
        return True, [unplayable(error)]


def _points(scene: Scene, golden: Counter[str]) -> list[Point]:
    return [Point(scene, call, number) for call in CALLS for number in range(1, golden.get(call, 0) + 1)]


def _chosen(points: list[Point], budget: Budget) -> list[Point]:
    """Return all points in any order, or a share: as many plain writes as of everything else together."""
    random = Random(budget.seed)
    count = budget.cases(POINTS_IN_CI)
    plain = [point for point in points if point.call == "pwrite64"]
    others = [point for point in points if point.call != "pwrite64"]
    if count < len(points):
        others = random.sample(others, min(len(others), count // 2))
        plain = random.sample(plain, min(len(plain), count - len(others)))
    chosen = [*others, *plain]
    random.shuffle(chosen)
    return chosen


def _early(bug: str | None, number: int) -> Point:
    """Return the point of a hunt: one write after the other of a process that has a bug, or none."""
    return Point(Scene("early", "opened", "by_the_writer", bug=bug), "pwrite64", 13 + 4 * number)


async def _catch(stage: Stage, bug: str) -> Caught:
    """Kill a process that has a bug at one write after the other, until that is noticed.

    Not at syncs: what is written survives the process, and only a power failure would show what is not synced.
    """
    began, kills = time.monotonic(), 0
    by: tuple[str, ...] = ()
    for number in range(CONTROLS_MAX):
        _, found = await _case(stage, _early(bug, number))
        kills += 1
        by = noticed(found, WITH_BUGS[bug])
        if by:
            break
    return Caught(bug=bug, cases=kills if by else None, by=by, seconds=time.monotonic() - began)


LAYER: Final = Layer(
    "L4", "SIGKILL at the calls that change a file or acknowledge", play, 1000.0, tuple(WITH_BUGS)
)
