"""How close the journal comes to the disk: `python bench/commit_floor.py [--folder PATH] [--json]`.

Prints the time of an fdatasync, the time of a commit by a lone caller as a multiple of it, and
the entries per second of 50 and 500 callers that each wait for their own commit, and the time to read
10,000 runs of 10 entries; medians of rounds that alternate, so that a busy machine disturbs all
of them alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

from tenuto.engine.ports import Append, Batch
from tenuto.storage.sqlite import open_journal

ENTRY_BYTES = 150
LIFE_ENTRIES = 12
FLOOR_CALLS = 400
ROUND_SECONDS = 1.0
RUNS_READ = 10_000
RUN_ENTRIES = 10


def floor_seconds(folder: Path) -> tuple[float, float]:
    """Return the median fdatasync after 4 KiB at the end of a growing file, and over a written one."""
    path = folder / "floor"
    block = os.urandom(4096)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    medians = []
    for _ in range(2):
        taken = []
        for number in range(FLOOR_CALLS):
            os.pwrite(descriptor, block, number * len(block))
            start = time.perf_counter()
            os.fdatasync(descriptor)
            taken.append(time.perf_counter() - start)
        medians.append(statistics.median(taken))
    os.close(descriptor)
    path.unlink()
    return medians[0], medians[1]


async def round_of(folder: Path, callers: int, life: int) -> tuple[float, list[float]]:
    """Return entries per second and each entry's seconds, on a fresh database."""

    def failed(error: BaseException) -> None:
        raise SystemExit(f"the journal failed: {error}")

    loop = asyncio.get_running_loop()
    path = folder / "journal.db"
    journal = await open_journal(path, failed=failed, command="bench")
    data = os.urandom(ENTRY_BYTES)
    taken: list[float] = []
    end = time.perf_counter() + ROUND_SECONDS

    async def caller(number: int) -> None:
        seq = 0
        while True:
            start = time.perf_counter()
            if start > end:
                return
            seq += 1
            done = loop.create_future()
            append = Append(number + callers * (seq // life), seq % life + 1, data)
            journal.commit(Batch((append,)), partial(done.set_result, None))
            await done
            taken.append(time.perf_counter() - start)

    start = time.perf_counter()
    await asyncio.gather(*[caller(number) for number in range(1, callers + 1)])
    elapsed = time.perf_counter() - start
    await journal.close()
    return len(taken) / elapsed, taken


async def reading_seconds(folder: Path) -> float:
    """Return the time of loading many runs at once, their entries interleaved in the file."""

    def failed(error: BaseException) -> None:
        raise SystemExit(f"the journal failed: {error}")

    journal = await open_journal(folder / "journal.db", failed=failed, command="bench")
    data = os.urandom(ENTRY_BYTES)
    for seq in range(1, RUN_ENTRIES + 1):
        batch = Batch([Append(number, seq, data) for number in range(1, RUNS_READ + 1)])
        journal.commit(batch, lambda: None)
        await journal.flush()
    start = time.perf_counter()
    loaded = await journal.load_many(range(1, RUNS_READ + 1))
    elapsed = time.perf_counter() - start
    await journal.close()
    if sum(len(entries) for _, entries in loaded.values()) != RUNS_READ * RUN_ENTRIES:
        raise SystemExit("the journal lost entries")
    return elapsed


def emptied(folder: Path) -> Path:
    """Return the folder without its files."""
    for file in folder.iterdir():
        file.unlink()
    return folder


def measure(folder: Path, rounds: int, life: int) -> dict[str, float]:
    """Return all figures, medians over the rounds."""
    speeds: dict[int, list[float]] = {1: [], 50: [], 500: []}
    floors, waits, stalls, reads = [], [], [], []
    for _ in range(rounds):
        floors.append(floor_seconds(emptied(folder)))
        reads.append(asyncio.run(reading_seconds(folder)))
        for callers, found in speeds.items():
            speed, taken = asyncio.run(round_of(emptied(folder), callers, life))
            found.append(speed)
            if callers == 1:
                waits.append(statistics.median(taken))
            if callers == 500:
                stalls.append(max(taken))
    growing = statistics.median(floor[0] for floor in floors)
    written = statistics.median(floor[1] for floor in floors)
    lone = statistics.median(waits)
    return {
        "fdatasync_growing_us": growing * 1e6,
        "fdatasync_written_us": written * 1e6,
        "lone_commit_us": lone * 1e6,
        "lone_to_floor_growing": lone / growing,
        "lone_to_floor_written": lone / written,
        "entries_per_second_50": statistics.median(speeds[50]),
        "entries_per_second_500": statistics.median(speeds[500]),
        "longest_wait_500_ms": statistics.median(stalls) * 1e3,
        "read_10000_runs_s": statistics.median(reads),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk to measure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--life", type=int, default=LIFE_ENTRIES, help="entries of one run")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.folder.is_dir():
        parser.error(f"no folder {options.folder}: name one on the disk to measure")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measure(Path(folder), options.rounds, options.life)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:24} {value:12,.2f}")


if __name__ == "__main__":
    main()
