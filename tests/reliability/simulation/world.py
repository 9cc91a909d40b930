"""The world of a simulation: the steps that workflows call, and the ledger of what they did to it.

It does not crash. Each call takes its time on the way there and on the way back; on the way it may be lost, the
answer may be lost although the effect is there, or the far side refuses.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final

from tenuto import Concurrency, Rate, Retry, current_step, step
from tenuto.authoring.declare import Step
from tenuto.engine.model import Json
from tenuto.runtime.attempts import Attempt
from tests.reliability.evidence import Effect
from tests.reliability.simulation.loop import Loop

CANARY: Final = "canary-5ecret-v4lue"
"""The value of the secret that steps are given; it must stand nowhere."""

_PATIENCE_SECONDS: Final = 400.0
"""How long a call hangs whose answer never comes, before the far side gives up."""


class Unlucky(Exception):
    """The far side has refused: trying again may work."""


class Hopeless(Exception):
    """The far side has refused for good."""


class World:
    """What outlives every process: the ledger, and the chances of calls."""

    def __init__(
        self,
        chance: Random,
        trouble: float,
        seconds: float,
        told: Callable[[str], None],
    ) -> None:
        """Let this part of all calls go wrong, from 0 to 1; one way takes `seconds` at most, if not for long.

        `told` hears of each effect.
        """
        self.ledger: list[Effect] = []
        self.counts: Counter[str] = Counter()
        self.loop: Loop | None = None
        self.life = 0
        self.broken = False
        """Whether the code of workflows is broken in this life: some cannot go on, or do not fit their histories."""
        self._chance = chance
        self._trouble = trouble
        self._seconds = seconds
        self._told = told

    def seconds(self) -> float:
        """Return how long one way takes, seldom long."""
        chance = self._chance.random()
        return chance * self._seconds if chance < 0.9 else chance * 4.0 * self._chance.random()

    def feel(self, value: Json = None) -> None:
        """Something happened to the outside: write it into the ledger."""
        assert self.loop is not None
        me, at = current_step(), self.loop.time()
        self.ledger.append(
            Effect(
                run=me.run,
                task=me.task,
                key=me.idempotency_key,
                attempt=me.attempt,
                life=self.life,
                at=at,
                value=value,
            )
        )
        self._told(f"effect {me.idempotency_key} {me.attempt}")

    def fate(self) -> str:
        """Return how a call goes."""
        if self._chance.random() >= self._trouble:
            return "well"
        found = self._chance.choice(
            [
                "lost on the way",
                "answer lost",
                "refused",
                "refused",
                "hopeless",
                "hangs",
            ]
        )
        self.counts[found] += 1
        return found

    async def visit(self, n: Json) -> Json:
        """Make one call, as async steps do."""
        fate = self.fate()
        await asyncio.sleep(self.seconds())
        if fate == "lost on the way":
            raise Unlucky(fate)
        self.feel(n)
        await asyncio.sleep(_PATIENCE_SECONDS if fate == "hangs" else self.seconds())
        return self._answer(fate, n)

    def _answer(self, fate: str, n: Json) -> Json:
        if fate == "hopeless":
            raise Hopeless(fate)
        if fate != "well":
            raise Unlucky(fate)
        return n

    def visit_at_once(self, n: Json) -> Json:
        """Make one call, as a step in a thread does: `Threads` has its time pass."""
        fate = self.fate()
        if fate == "lost on the way":
            raise Unlucky(fate)
        self.feel(n)
        return self._answer(fate, n)


class Here:
    """Where the steps find the world of the simulation that is being played."""

    world: World


class Threads:
    """In place of `runtime.threads.Threads`: a step begins later, and goes on when nobody waits for it any more."""

    def __init__(self, loop: Loop, world: World) -> None:
        self._loop = loop
        self._world = world

    async def run(self, attempt: Attempt, context: Any, function: Callable[[], Json]) -> Json:
        """Call a function as if in a thread."""
        future: asyncio.Future[Json] = self._loop.create_future()

        def begin() -> None:
            if not attempt.gone:
                attempt.begin()
                self._loop.call_later(min(0.5, self._world.seconds()), work)

        def work() -> None:
            try:
                output, error = context.run(function), None
            except BaseException as raised:
                output, error = None, raised
            self._loop.call_later(self._world.seconds(), end, output, error)

        def end(output: Json, error: BaseException | None) -> None:
            if not future.done():
                if error is None:
                    future.set_result(output)
                else:
                    future.set_exception(error)

        self._loop.call_later(self._world.seconds() / 10, begin)
        return await future

    def close(self) -> None:
        """End: nothing to do."""


# ── the steps ────────────────────────────────────────────────────────────────────────────


@step
async def plain(n: int) -> int:
    """Do something, once: what fails has failed."""
    return int(await Here.world.visit(n))


@step(retry=Retry(attempts=4, delay_seconds=0.5, backoff="linear", on=(Unlucky,)))
async def shaky(n: int) -> int:
    """Do something that is tried again."""
    return int(await Here.world.visit(n))


@step(retry=Retry(attempts=5, delay_seconds=0.2))
async def unbook(n: int, result: int | None) -> None:
    """Take a booking back; the far side does not mind if there is none."""
    await Here.world.visit(n)


@step(
    undo=unbook,
    retry=Retry(attempts=3, delay_seconds=1, on=(Unlucky, TimeoutError)),
    timeout_seconds=5,
)
async def book(n: int) -> int:
    """Do something that can be taken back."""
    return int(await Here.world.visit(n))


@step(timeout_seconds=2, retry=Retry(attempts=3, delay_seconds=0.1))
async def slow(n: int) -> int:
    """Do something that may take too long."""
    return int(await Here.world.visit(n))


@step(heartbeat_seconds=20, retry=Retry(attempts=3, delay_seconds=0.1))
async def beating(n: int) -> int:
    """Tell how far it is, and go on from there when it is begun again."""
    me = current_step()
    for part in range(me.progress or 0, 3):
        me.heartbeat(part)
        await asyncio.sleep(Here.world.seconds() * 3)
    return int(await Here.world.visit(n))


@step(
    concurrency=Concurrency(1),
    retry=Retry(attempts=3, delay_seconds=0.1, on=(Unlucky,)),
)
async def narrow(n: int) -> int:
    """Do something that only one may do at a time."""
    return int(await Here.world.visit(n))


@step(rate=Rate(2, 1.0))
async def rated(n: int) -> int:
    """Do something that may not be done too often."""
    return int(await Here.world.visit(n))


@step(retry=Retry(attempts=2, delay_seconds=0.1), timeout_seconds=3)
def threaded(n: int) -> int:
    """Do something in a thread, which nobody can stop."""
    return int(Here.world.visit_at_once(n))


@step(retry=Retry(attempts=2, delay_seconds=0.1))
async def trusted(n: int, token: str) -> str:
    """Use a secret, and tell it in its answer or its error."""
    if token != CANARY:
        raise Hopeless("the secret is not the secret")
    try:
        return f"{await Here.world.visit(n)} {token}"
    except Unlucky as error:
        raise Unlucky(f"{error} {token}") from None


@step
async def odd(n: int) -> int:
    """Answer with what cannot be recorded, at first: the run is kept until somebody resumes it."""
    await Here.world.visit(n)
    first = Here.world.counts["odd"] % 2 == 0
    Here.world.counts["odd"] += 1
    return object() if first else n  # type: ignore[return-value]  # on purpose


NAMES: Final = (
    "plain",
    "shaky",
    "book",
    "slow",
    "beating",
    "narrow",
    "rated",
    "threaded",
)
STEPS: Final[tuple[Step[..., Any], ...]] = (
    plain,
    shaky,
    book,
    unbook,
    slow,
    beating,
    narrow,
    rated,
    threaded,
    trusted,
    odd,
)
