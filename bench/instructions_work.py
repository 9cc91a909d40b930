"""The process that `bench.instructions` counts: `python -m bench.instructions_work MODE FOLDER RUNS BURNT`.

It says when it is warm and when it is done, and waits each time until it is told to go on.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.measuring import STEPS, collect_seldom
from bench.ours import flows
from tenuto import Handle
from tenuto.operations.runs import start_run


class Clock:
    """A clock that goes on with every look at it."""

    def __init__(self) -> None:
        self._time = 1_700_000_000.0

    def now(self) -> float:
        """Return the next time."""
        self._time += 1 / 1024
        return self._time


class Chance:
    """Tokens that are none."""

    def __init__(self) -> None:
        self._count = 0

    def token(self) -> str:
        """Return the next one."""
        self._count += 1
        return f"{self._count:032x}"


async def starter(there: flows.Opened) -> Callable[[int], Awaitable[Handle[Any]]]:
    """Return what starts a run. Documents are looked up once: the reader's thread would mix up who comes when."""
    if there.mode == "code":
        return lambda number: there.start("ten", number)
    row = await there.app.desk.journal.find_document("bench", "ten", "latest")
    assert row is not None

    async def start(number: int) -> Handle[Any]:
        return there.app.handle(await start_run(there.app.desk, row, number))

    return start


async def work(mode: str, folder: Path, runs: int, burnt: int) -> None:
    """Warm up; then do `runs` runs at once."""
    function = flows.plus_one.function

    async def slower(number: int) -> int:
        for _ in range(burnt):
            pass
        return await function(number)

    if burnt:
        flows.plus_one.function = slower
    async with flows.opened(folder, mode, clock=Clock(), chance=Chance()) as there:
        start = await starter(there)

        async def one(number: int) -> None:
            handle = await start(number)
            assert await handle.result() == number + STEPS

        async def together() -> None:
            await asyncio.gather(*map(one, range(runs)))

        await together()
        collect_seldom()
        gc.collect()
        _say("ready")
        await together()
        _say("done")
        os._exit(0)  # closing would take time and say nothing


def _say(word: str) -> None:
    print(word, flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    mode, folder, runs, burnt = sys.argv[1:]
    asyncio.run(work(mode, Path(folder), int(runs), int(burnt)))
