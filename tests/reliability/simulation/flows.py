"""The workloads in Python: one workflow that carries out any tree of verbs, and what makes such trees.

["row", ["step", "book", 1], ["gather", ["sleep", 3], ["signal", 0, 5]], ["child", ["step", "plain", 2]]]
"""

from __future__ import annotations

from random import Random as Chances
from typing import Any, Final

from tenuto import (
    Cancelled,
    Query,
    Signal,
    child,
    continue_as_new,
    each,
    emit,
    gather,
    log,
    patched,
    race,
    random,
    run_document,
    secret,
    sleep,
    uuid,
    wait_for_event,
    workflow,
)
from tenuto.authoring.asking import inside
from tenuto.authoring.declare import Workflow
from tests.reliability.simulation import world

Tree = Any

SIGNALS: Final = ("s0", "s1")
EVENTS: Final = ("e0", "e1")
TYPES: Final = (
    *EVENTS,
    "io.serverlessworkflow.workflow.completed.v1",
    "io.serverlessworkflow.task.completed.v1",
)
HEARD: Final = "heard "
"""What a line in a run's history begins with that says which signal its code was given."""

_STEPS: Final = {each.name: each for each in world.STEPS}
_signals: Final = {name: Signal(name, Any) for name in SIGNALS}
place: Final = Query("place", str)
"""Where a run is: another text at each place, the same whenever it is folded again."""


class Gave(Exception):
    """Raised by a tree."""


@workflow
async def flow(tree: Any, rounds: int, tag: str) -> Any:
    """Carry out a tree, as often as asked."""
    result = await carry_out(tree)
    if rounds:
        continue_as_new(tree, rounds - 1, tag)
    return result


@workflow
async def part(tree: Any) -> Any:
    """Carry out a tree as a child."""
    return await carry_out(tree)


async def carry_out(tree: Tree) -> Any:
    """Carry out a tree of verbs."""
    place.set(str(uuid()))
    verb, *rest = tree
    match verb:
        case "step":
            return await _STEPS[rest[0]](rest[1])
        case "trusted":
            return await world.trusted(rest[0], secret("token"))
        case "sleep":
            return await sleep(rest[0])
        case "child":
            return await child(part, rest[0])
        case "document":
            return await run_document(rest[0], {"tag": "", "n": 1})
        case "signal" | "event":
            return await _hear(verb, *rest)
        case "emit":
            return await emit(EVENTS[rest[0]], str(uuid()))
        case "raise":
            raise Gave("up")
        case "stuck":
            if world.Here.world.broken and not _replaying():
                await world.plain("no number")
            return await world.plain(rest[0])
        case "changed":
            asked = world.shaky if world.Here.world.broken and _replaying() else world.plain
            return await asked(rest[0])
        case "chance":
            log(f"line {random.randint(1, 9)}")
            return patched("p")
        case _:
            return await _combine(verb, rest)


def _replaying() -> bool:
    """Whether this goes on from what was recorded: code that is broken then stands for code that was changed."""
    return inside()._recorded is not None


async def _hear(verb: str, which: int, timeout: float | None) -> Any:
    try:
        if verb == "signal":
            value = await _signals[SIGNALS[which]].receive(timeout=timeout)
            log(f"{HEARD}{value}")
            return value
        return (await wait_for_event(TYPES[which], timeout=timeout)).get("data")
    except TimeoutError:
        return "late"


async def _combine(verb: str, rest: list[Tree]) -> Any:
    """Carry out what has parts."""
    match verb:
        case "row":
            return [await carry_out(branch) for branch in rest]
        case "gather":
            return list(await gather(*[carry_out(branch) for branch in rest]))
        case "gather-kept":
            found = await gather(*[carry_out(branch) for branch in rest], return_exceptions=True)
            return [str(value) for value in found]
        case "race":
            return await race(*[carry_out(branch) for branch in rest])
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


WORKFLOWS: Final[tuple[Workflow[..., Any], ...]] = (flow, part)

_SEVERAL: Final = (
    "row",
    "row",
    "row",
    "gather",
    "gather",
    "gather-kept",
    "race",
    "each",
    "each-left",
)
_PAIRS: Final = ("finally", "catch", "swallow")


_LEAVES: Final = (
    *["step"] * 12, "sleep", "sleep", "signal", "signal", "event", "lifecycle", "emit", "child", "child",
    "document", "raise", "trusted", "chance", "odd", "book",
)  # fmt: skip
THEMES: Final[dict[str, tuple[str, ...]]] = {
    "messages": (
        "signal",
        "signal",
        "signal",
        "event",
        "event",
        "lifecycle",
        "emit",
        "emit",
        "sleep",
    ),
    "families": ("child", "child", "document", "step"),
    "time": ("sleep", "sleep", "signal", "event", "shaky", "slow"),
    "undo": ("book", "book", "book", "child", "raise"),
    "deployments": ("stuck", "changed", "step", "child", "signal", "sleep", "book"),
    "crowds": ("narrow", "narrow", "narrow", "rated", "step", "child"),
}
"""What most leaves of a tree are, where it has a theme."""


class Growing:
    """Grows trees; each leaf has a number of its own. `forbidden` verbs are left out."""

    def __init__(
        self,
        chance: Chances,
        theme: str | None,
        forbidden: frozenset[str],
        documents: tuple[str, ...],
    ) -> None:
        self._chance = chance
        self._theme = THEMES[theme] if theme is not None else _LEAVES
        self._forbidden = forbidden
        self._documents = documents
        self._count = 0

    def tree(self, leaves: int, depth: int = 0) -> Tree:
        """Grow a tree of about so many leaves."""
        chance = self._chance
        if leaves <= 1 or depth > 3:
            return self._leaf(depth)
        if chance.random() < 0.25:
            verb = chance.choice(_PAIRS)
            some = chance.randint(1, leaves - 1)
            return [
                verb,
                self.tree(some, depth + 1),
                self.tree(leaves - some, depth + 1),
            ]
        parts = chance.randint(2, min(4, leaves))
        return [
            chance.choice(_SEVERAL),
            *[self.tree(leaves // parts, depth + 1) for _ in range(parts)],
        ]

    def _leaf(self, depth: int) -> Tree:
        chance = self._chance
        self._count += 1
        while True:
            kind = chance.choice(self._theme if chance.random() < 0.8 else _LEAVES)
            if kind not in self._forbidden and (depth < 3 or kind not in ("child", "document")):
                leaf = self._made(kind, depth)
                if leaf is not None:
                    return leaf

    def _made(self, kind: str, depth: int) -> Tree | None:
        chance = self._chance
        timeout = chance.choice([1, 2, 10, 40, None])
        match kind:
            case "sleep":
                return ["sleep", chance.choice([0, 0.01, 1, 5, 45])]
            case "signal" | "event":
                return [kind, chance.randint(0, 1), timeout]
            case "lifecycle":
                return ["event", chance.randint(2, 3), timeout or 5]
            case "emit":
                return ["emit", chance.randint(0, 1)]
            case "relay":
                return [
                    "row",
                    ["signal", chance.randint(0, 1), timeout],
                    ["emit", 0],
                    ["step", "plain", self._count],
                ]
            case "child":
                return ["child", self.tree(chance.randint(1, 4), depth + 1)]
            case "document":
                return ["document", chance.choice(self._documents)] if self._documents else None
            case "raise" | "chance":
                return [kind]
            case "trusted" | "stuck" | "changed":
                return [kind, self._count]
            case "step":
                return ["step", chance.choice(world.NAMES), self._count]
            case _:
                return ["step", kind, self._count]
