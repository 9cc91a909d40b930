"""Stories: what clients do with runs, one run after the other, several at once, through whatever happens."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random
from typing import Any, Final

from tests.reliability.evidence import Violation
from tests.reliability.house.driver import Client, House
from tests.reliability.house.lives import Died

COMMON: Final = {
    "chain": 5,
    "fan": 4,
    "timed": 3,
    "inbox": 4,
    "parent": 3,
    "saga": 3,
    "patient": 1,
    "paused": 3,
    "progress": 5,
    "hearing": 1,
    "listening": 1,
    "telling": 2,
    "rounds": 4,
    "everything": 3,
    "secretive": 1,
    "leaf": 1,
}
"""The kinds of runs, and how large each is at most; all of them are quick and need no process of their own."""

RARE: Final = {"large": 1, "computing": 3}
"""Kinds that need much memory or processes of their own."""

TOLD_AGAIN_SECONDS: Final = 0.1
"""An event that nobody heard is published again: the run may not listen yet."""


class Stories:
    """Plays stories until it is told to stop; each begins with a run and ends with its end.

    `finished` counts those that have ended; after each its client rests for `rest_seconds`. Names of runs
    begin with `name`.
    """

    def __init__(
        self,
        house: House,
        *,
        seed: int,
        at_once: int = 6,
        kinds: dict[str, int] | None = None,
        name: str = "r",
    ) -> None:
        self.house = house
        self.finished = 0
        self.rest_seconds = 0.0
        self.kinds = COMMON if kinds is None else kinds
        self._name = name
        self._at_once = at_once
        self._random = Random(seed)
        self._number = 0
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, most: int | None = None) -> None:
        """Begin to play, `most` stories in all."""
        self._most = most
        self._tasks = [asyncio.create_task(self._play()) for _ in range(self._at_once)]

    async def stop(self, seconds: float = 60.0) -> None:
        """Begin no more stories, and wait for the end of those under way."""
        self._stopping = True
        await self.join(seconds)

    async def join(self, seconds: float = 60.0) -> None:
        """Wait for the end of all stories; after so many seconds, leave them."""
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*self._tasks)
        except TimeoutError:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _play(self) -> None:
        while not self._stopping and (self._most is None or self._number < self._most):
            self._number += 1
            kind = self._random.choice(list(self.kinds))
            run = f"{self._name}-{self._number}-{kind}"
            await self.tell(kind, run, self._random.randint(1, self.kinds[kind]), Random(run))
            self.finished += 1
            if self.rest_seconds:
                await asyncio.sleep(self.rest_seconds)

    async def tell(self, kind: str, run: str, n: int, random: Random) -> None:
        """Play one story."""
        house, client = self.house, Client()
        workflow = "chain" if kind == "paused" else kind
        house.kinds[run] = (workflow, n)
        given: Any = n
        if kind in ("everything", "leaf", "listening"):
            given = {"n": n}
        elif kind == "hearing":
            given = run
        start = {"workflow": workflow, "input": given}
        answer = await house.insist(client, "start", run, lambda _: start)
        if answer["what"] != "ok":
            house.strange.append(Violation("promise", run, f"its start was refused: {answer['value']}"))
            return
        match kind:
            case "inbox":
                for place in range(n):
                    await self._send(client, run, place)
            case "patient":
                await asyncio.sleep(random.random() * 0.01)
                await house.insist(client, "cancel", run, lambda _: None)
            case "paused":
                await house.insist(client, "suspend", run, lambda _: None)
                await asyncio.sleep(random.random() * 0.01)
                await house.insist(client, "resume", run, lambda _: None)
            case "hearing" | "listening":
                await self._until_heard(client, run)
        ended = await house.ended(run)
        if ended["status"] == "kept":
            house.strange.append(Violation("promise", run, f"it is kept: {ended['outcome']}"))

    async def _send(self, client: Client, run: str, place: int) -> None:
        def value(again: int) -> Any:
            return {"name": "inbox", "data": {"place": place, "again": f"{client.id}-{again}"}}

        await self.house.insist(client, "signal", run, value)

    async def _until_heard(self, client: Client, run: str) -> None:
        """Publish events for a run until it is over."""
        over = asyncio.create_task(self.house.ended(run))
        try:
            for place in range(10_000):
                data = {"run": run, "again": place}
                event = {"type": "test.house.told", "data": data}
                await self.house.insist(
                    client,
                    "emit",
                    "",
                    lambda again, event=event: {**event, "data": {**event["data"], "more": again}},
                )
                with suppress(TimeoutError, Died):
                    await asyncio.wait_for(asyncio.shield(over), TOLD_AGAIN_SECONDS)
                    return
        finally:
            over.cancel()
