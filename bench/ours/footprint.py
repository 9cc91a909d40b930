"""The work `footprint`: what Tenuto takes before it does anything. Each time is that of fresh processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bench.measuring import Clock, timed

ROUNDS: Final = 7

IMPORTING: Final = """
import time; began = time.perf_counter()
import tenuto; bare = time.perf_counter()
from tenuto import App, Signal, step, workflow; named = time.perf_counter()
print((bare - began) * 1e3, (named - began) * 1e3)
"""
STARTING: Final = """
import asyncio, time
from tenuto import App, step, workflow

@step
async def one(number: int) -> int:
    return number + 1

@workflow
async def flow(number: int) -> int:
    return await one(number)

async def main() -> None:
    began = time.perf_counter()
    async with App(workflows=[flow], database="start.db") as app:
        ready = time.perf_counter()
        assert await (await app.start(flow, 1)).result() == 2
        print((ready - began) * 1e3, flush=True)

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
    (folder / "importing.py").write_text(IMPORTING)
    (folder / "starting.py").write_text(STARTING)
    python, tenuto = sys.executable, str(Path(sys.executable).with_name("tenuto"))
    commands = {
        "python_ms": [python, "-c", "pass"],
        "import_ms": [python, "importing.py"],
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
                if name == "import_ms":
                    bare, named = map(float, output.split())
                    found.setdefault("import_ms", []).append(bare)
                    found.setdefault("import_names_ms", []).append(named)
                elif name == "start_ms":
                    found.setdefault("start_ms", []).append(float(output))
                    found.setdefault("first_result_ms", []).append(taken)
                else:
                    found.setdefault(name, []).append(taken)
    figures = {name: statistics.median(values) for name, values in found.items()}
    if installed := os.environ.get("BENCH_INSTALLED_MB"):
        figures["installed_mb"] = float(installed)
    return figures, clock
