"""The work `footprint`: what Tenuto takes before it does anything. Each time is that of fresh processes.

`import_ms`, `start_ms` and `first_result_ms` are those of every system, as `bench.measuring` says. `import_lazy_ms` is a mere
`import tenuto`, which loads nothing yet; what a whole process of a command takes, with its interpreter, is only Tenuto's.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bench.fitting import import_ms
from bench.measuring import STEPS, Clock, timed

ROUNDS: Final = 7

NAMES: Final = "from tenuto import App, Signal, step, workflow"
STARTING: Final = f"""
import asyncio, time
{NAMES}

@step
async def plus_one(number: int) -> int:
    return number + 1

@workflow
async def ten(number: int) -> int:
    for _ in range({STEPS}):
        number = await plus_one(number)
    return number

async def main() -> None:
    async with App(workflows=[ten], database="start.db") as app:
        ready = time.perf_counter()
        assert await (await app.start(ten, 0)).result() == {STEPS}
        print((ready - began) * 1e3, (time.perf_counter() - began) * 1e3, flush=True)

began = time.perf_counter()
asyncio.run(main())
"""
ONE_STEP: Final = """\
document: {dsl: 1.0.3, namespace: bench, name: one, version: 1.0.0}
do:
  - one: {call: 'core.noop:1.0.0@default', with: {value: 1}}
"""


def _run(command: list[str], folder: Path) -> tuple[float, str]:
    """Run a command to its end; answer its milliseconds and its output."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return (time.perf_counter() - began) * 1e3, done.stdout


def footprint(folder: Path, _: int) -> tuple[dict[str, float], Clock]:
    """Time importing, opening an App, a first result, and the commands; read how much is installed."""
    (folder / "one.yaml").write_text(ONE_STEP)
    (folder / "starting.py").write_text(STARTING)
    python, tenuto = sys.executable, str(Path(sys.executable).with_name("tenuto"))
    commands = {
        "python_ms": [python, "-c", "pass"],
        "start_ms": [python, "starting.py"],
        "help_ms": [tenuto, "--help"],
        "validate_ms": [tenuto, "validate", "one.yaml"],
        "run_ms": [tenuto, "run", "one.yaml"],
    }
    found: dict[str, list[float]] = {}
    for command in commands.values():
        _run(command, folder)  # Once unmeasured: compiles what is not compiled yet.
    with timed() as clock:
        for _ in range(ROUNDS):
            for name, command in commands.items():
                for database in folder.glob("start.db*"):
                    database.unlink()
                taken, output = _run(command, folder)
                if name == "start_ms":
                    started, first = map(float, output.split())
                    found.setdefault("start_ms", []).append(started)
                    found.setdefault("first_result_ms", []).append(first)
                else:
                    found.setdefault(name, []).append(taken)
    figures = {name: statistics.median(values) for name, values in found.items()}
    figures["import_ms"] = figures["import_names_ms"] = import_ms(NAMES)
    figures["import_lazy_ms"] = import_ms("import tenuto")
    if installed := os.environ.get("BENCH_INSTALLED_MB"):
        figures["installed_mb"] = float(installed)
    return figures, clock
