"""Works of processes that take up what another one has left: runs of one that was killed, and a long history.

    python -m bench.ours.restart leave|take-up FOLDER MODE SIZE

is either process of the first; the measured time begins before the second is started.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from bench.measuring import STEPS, Clock, collect_seldom, rss_kb, timed
from bench.ours.flows import noted, opened
from tenuto.engine.ports import Journal

REPLAYS: Final = 3


async def _leave(folder: Path, mode: str, size: int) -> None:
    """Start runs whose first step never comes back; say when all are under way, and wait to be killed."""
    noted.hold = asyncio.Event()
    async with opened(folder, mode) as there:
        await there.start_all("ten-gated", range(size))
        print("under way", flush=True)
        await asyncio.Event().wait()


async def _take_up(folder: Path, mode: str, size: int) -> None:
    """Take up the runs that a process has left; say when their first step was done, and the last run was over."""
    noted.wanted, noted.all_done = size * STEPS, asyncio.Event()
    async with opened(folder, mode) as there:
        ready = time.time()
        await noted.all_done.wait()
        await over(there.app.desk.journal)
        told = {"first": noted.first_step, "ready": ready, "over": time.time(), "rss_kb": rss_kb()}
        print(json.dumps({**told, "durability": there.connections.durability()}), flush=True)


async def over(journal: Journal) -> None:
    """Return when no run is open any more; their last steps are done."""
    async with asyncio.timeout(10):
        while await journal.open_runs(0, 1):
            await journal.flush()


def _process(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.ours.restart", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def killed(folder: Path, mode: str, size: int) -> tuple[dict[str, float], Clock, str]:
    """Kill a process with `size` runs of ten steps under way; the next one takes them up and ends them."""
    with _process("leave", folder, mode, size) as child:
        assert child.stdout is not None
        said = child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    assert said == "under way\n", f"the process that was to be killed said {said!r}"
    with timed() as clock:
        began = time.time()
        with _process("take-up", folder, mode, size) as child:
            output, _ = child.communicate()
    assert child.returncode == 0, "the process that takes up what another has left failed"
    told: dict[str, Any] = json.loads(output.splitlines()[-1])
    figures = {
        "first_progress_seconds": told["first"] - began,
        "open_seconds": told["ready"] - began,
        "all_over_seconds": told["over"] - began,
        "rss_mb": told["rss_kb"] / 1024,
    }
    return figures, clock, told["durability"]


def replay(folder: Path, mode: str, size: int) -> tuple[dict[str, float], Clock, str]:
    """Replay the history of a run, several times."""
    return asyncio.run(_replayed(folder, mode, size))


async def _replayed(folder: Path, mode: str, size: int) -> tuple[dict[str, float], Clock, str]:
    """A run of `size` steps that waits is taken up from its journal, until it waits again; less opening a database."""
    async with opened(folder, mode) as there:
        handle = await there.start("stopped", size)
        await there.app.settle(handle)
    (folder / "empty").mkdir()
    rates = []
    with timed() as clock:
        for _ in range(REPLAYS):
            openings = []
            for place in (folder / "empty", folder / "empty", folder):
                gc.collect()
                began = time.perf_counter()
                async with opened(place, mode) as there:
                    openings.append(time.perf_counter() - began)
                    durability = there.connections.durability()
            rates.append(size / (openings[2] - openings[1]))
    return {"replayed_steps_per_second": sorted(rates)[REPLAYS // 2]}, clock, durability


def main() -> None:
    """Be one of the two processes."""
    what, folder, mode, size = sys.argv[1:]
    collect_seldom()
    asyncio.run({"leave": _leave, "take-up": _take_up}[what](Path(folder), mode, int(size)))


if __name__ == "__main__":
    main()
