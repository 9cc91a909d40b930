"""What every measured system's program has in common: its options, its answer, and how time and memory are read.

    python -m bench.systems.dbos --work in-flight --size 500 --mode sync --folder DIR [--seconds 60]

runs in the system's own environment, on an empty folder, in a fresh process. The last line that it prints is a JSON object:

    {"system": "dbos", "mode": "sync", "work": "in-flight", "size": 500, "version": "dbos 3.4.0, SQLite 3.40.1",
     "durability": "journal_mode=wal synchronous=FULL", "figures": {"steps_per_second": 540.2}, "window": [began, ended]}

`durability` is read back from the system itself; `figures` are empty where `reason` says why there are none; `window` is when
the clock ran, in seconds since the epoch. A figure's name ends in its unit. Only the standard library is used here.
How long each work is warmed up and timed is `bench.fitting`'s, the same for all.

A workflow is ten steps, one after the other, each given the answer of the one before (a number plus one), unless this says otherwise.

| work | what is done | size | figures |
|---|---|---|---|
| `latency` | one workflow at a time, before each the disk's own time for as many entries | how many | `p50_ms`, `p99_ms` or `max_ms`, `runs`, `floor_ms`, `ratio` |
| `in-flight` | so many at once, from the first start to the last result; again and again for some seconds | how many | `steps_per_second`, `cpu_us_per_step` (all processes, the client too), `seconds`, `runs` |
| `fan-out` | one workflow with a step for each item, side by side, then their sum | items | `items_per_second`, `seconds` |
| `payload` | `PAYLOAD_RUNS` at once; each step answers a text of so many bytes and is given the one before | bytes | `steps_per_second` |
| `signals` | so many workflows wait, each is then sent one signal, all at once, and ends | how many | `signals_per_second` |
| `waiting` | so many workflows wait for a time far away; memory (PSS) and disk (blocks) of all processes | how many | `rss_kb_per_run`, `disk_kb_per_run`, `idle_cpu_percent`, `wake_lag_ms_p50`, `wake_lag_ms_p99` or `wake_lag_ms_max` |
| `long-run` | one workflow of so many steps, after one of `WARM_STEPS`; first and last tenth | steps | `us_per_step_start`, `us_per_step_end`, `steps` |
| `restart` | the process is killed with so many open; the next one goes on | how many | `first_progress_seconds`, `all_over_seconds` |
| `footprint` | nothing yet; then one workflow | 1 | `import_ms`, `start_ms`, `first_result_ms`, `installed_mb` |

A p99 is given of `P99_LEAST` values or more; of fewer it would only be the longest, and is called so. `import_ms` is importing the
names that the workflow is written with, in a fresh interpreter, whose own start is not counted. `start_ms` and `first_result_ms`
begin after the imports, on an empty folder: until all that the system needs runs and is ready, and until the first result.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

STEPS: Final = 10
"""Steps of one workflow, one after the other, each given the answer of the one before: a number plus one."""

WARM_UP: Final = 10
"""Before the clock runs, a tenth as many workflows run, so that everything is loaded and compiled."""

WARM_STEPS: Final = 1_000
"""Steps of the workflow that warms up for the work `long-run`, or as many as `fitting.warm_up` has time for."""

PAYLOAD_RUNS: Final = 50
"""Workflows in flight in the work `payload`."""

P99_LEAST: Final = 100
"""Of fewer values, p99 is the greatest."""

FLOOR_CALLS: Final = 11
"""Syncs that one run of ten steps needs at least, one after the other: for its start, and for what each step gave."""

LEVELS: Final = ("OFF", "NORMAL", "FULL", "EXTRA")
FULL: Final = LEVELS.index("FULL")
"""SQLite's levels of syncing; from this one on, a commit is on the disk when it returns."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_KB: Final = os.sysconf("SC_PAGE_SIZE") / 1024


@dataclass(slots=True)
class Answer:
    """What one measurement found; see the module's text."""

    system: str
    mode: str
    work: str
    size: int
    version: str
    durability: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    window: tuple[float, float] = (0.0, 0.0)
    reason: str = ""
    note: str = ""

    def tell(self) -> None:
        """Print it as the last line."""
        print(json.dumps(asdict(self)), flush=True)


def options(description: str | None, modes: Sequence[str], works: Sequence[str]) -> argparse.Namespace:
    """Read the options that every program has: `work`, `size`, `mode`, `folder`, `seconds`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", choices=works, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--mode", choices=modes, default=modes[0])
    parser.add_argument("--folder", type=Path, required=True, help="an empty one, on the disk to measure")
    parser.add_argument("--seconds", type=float, default=60.0, help="about how long it may take")
    found = parser.parse_args()
    found.folder = found.folder.resolve()
    return found


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the smallest value that so many percent of all do not pass."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def quantiles_ms(seconds: Sequence[float], name: str) -> dict[str, float]:
    """Return the median and p99, where there are enough for one, else the longest: `wake_lag_ms_{}` makes `wake_lag_ms_max`."""
    last, value = ("p99", percentile(seconds, 99)) if len(seconds) >= P99_LEAST else ("max", max(seconds))
    return {name.format("p50"): percentile(seconds, 50) * 1e3, name.format(last): value * 1e3}


def latency(seconds: Sequence[float]) -> dict[str, float]:
    """Return the figures of the work `latency`."""
    return {**quantiles_ms(seconds, "{}_ms"), "runs": len(seconds)}


def lags(seconds: Sequence[float]) -> dict[str, float]:
    """Return the figures of how late those went on that waited for a time."""
    return quantiles_ms(seconds, "wake_lag_ms_{}")


def floor_seconds(folder: Path, calls: int = FLOOR_CALLS) -> float:
    """Time so many calls of `fdatasync`, each after 4 KiB written over what is on the disk already.

    A sync cannot have less to do: no block is new, and the file's size stays. SQLite's log is such a file once it was written in full.
    """
    return _sync_seconds(folder, calls, written=True)


def growing_seconds(folder: Path, calls: int = FLOOR_CALLS) -> float:
    """Time so many calls of `fdatasync`, each after 4 KiB at the end of a file: its size and its new block are written too."""
    return _sync_seconds(folder, calls, written=False)


def _sync_seconds(folder: Path, calls: int, *, written: bool) -> float:
    path = folder / "floor"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    block = b"x" * 4096
    try:
        if written:
            os.pwrite(descriptor, block * calls, 0)
            os.fsync(descriptor)
        began = time.perf_counter()
        for number in range(calls):
            os.pwrite(descriptor, block, number * len(block))
            os.fdatasync(descriptor)
        return time.perf_counter() - began
    finally:
        os.close(descriptor)
        path.unlink()


def asked(connection: Any) -> tuple[str, int]:
    """Ask a connection to SQLite for its journal mode and its level of syncing."""
    (journal,) = connection.execute("pragma journal_mode").fetchone()
    (level,) = connection.execute("pragma synchronous").fetchone()
    return journal, level


def sqlite_durability(seen: Sequence[tuple[str, int]]) -> str:
    """Say what a system's connections to SQLite have answered, and refuse what would not sync each commit."""
    assert seen, "no connection to SQLite was opened that could be asked"
    assert all(level >= FULL for _, level in seen), f"a connection to SQLite does not sync: {seen}"
    answers = sorted({f"journal_mode={journal} synchronous={LEVELS[level]}" for journal, level in seen})
    return f"{'; '.join(answers)} (connections asked: {len(seen)})"


def collect_seldom() -> None:
    """Let Python collect garbage seldom, as the reference of Tenuto's `App` advises for many small steps."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


# ── processes ─────────────────────────────────────────────────────────────────────────────


def family(*roots: int) -> list[int]:
    """Return processes and all that descend from them; without any, this one and what it has started."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            parents.setdefault(int(fields[1]), []).append(int(name))
    found, left = [], list(roots or [os.getpid()])
    while left:
        process = left.pop()
        found.append(process)
        left += parents.get(process, ())
    return list(dict.fromkeys(found))


def _stat(process: int) -> list[str]:
    """Return what Linux says of a process, from its state on; nothing if it is gone."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def cpu_seconds(processes: Iterable[int]) -> float:
    """Return how long processes were on a processor, with those of their children that have ended."""
    ticks = sum(sum(map(int, fields[11:15])) for process in processes if (fields := _stat(process)))
    return ticks / _TICKS


def rss_kb(processes: Iterable[int] = ()) -> float:
    """Return how much memory processes have, in KiB (without any: this one); what several share counts for each."""
    return (
        sum(int(fields[21]) for process in processes or [os.getpid()] if (fields := _stat(process)))
        * _PAGE_KB
    )


@dataclass(slots=True)
class Clock:
    """What one timed stretch took; filled when it ends."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    window: tuple[float, float] = (0.0, 0.0)

    def rates(self, runs: int, steps: int = STEPS) -> dict[str, float]:
        """Return the figures of the work `in-flight`."""
        done = runs * steps
        return {
            "steps_per_second": done / self.seconds,
            "cpu_us_per_step": self.cpu_seconds / done * 1e6,
            "seconds": self.seconds,
            "runs": runs,
        }


@contextmanager
def timed(*roots: int) -> Iterator[Clock]:
    """Time what happens inside, and the processor time of these processes' families (or of this one's)."""
    clock = Clock()
    before, began, started = cpu_seconds(family(*roots)), time.time(), time.perf_counter()
    yield clock
    clock.seconds = time.perf_counter() - started
    clock.window = (began, began + clock.seconds)
    clock.cpu_seconds = cpu_seconds(family(*roots)) - before
