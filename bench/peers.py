"""Durable steps per second of Tenuto, DBOS and Restate, side by side in one run.

    python bench/peers.py [--runs 500] [--rounds 3] [--only tenuto,dbos,restate] [--folder DIR] [--count-syncs]

Every system runs the same: a workflow of ten steps that do as good as nothing, one after the other, each given the answer
of the one before (a number plus one; in a Tenuto document, what came in), 500 workflows in flight at once, timed from the first start to the last result, after a tenth as many to warm up.
Every measurement is a process of its own on an empty folder on the disk of the current one, and a round measures every
set-up in turn, so that all see the same machine. `bench/peers/*_steps.py` say how each is set up; each reads the settings
that durability rests on back from the system itself, and fails where it would not sync.

What is missing is installed: two virtual environments through pip, and the Restate server through npm (its licence
is the Business Source License: it is measured here, and nothing depends on it). All of it lies in a temporary folder,
or in `--folder`, which is kept for the next time.

`--count-syncs` measures twice more under strace, with all workflows and with one alone, and counts the calls of fsync and
fdatasync of all processes while the clock ran. One workflow alone must show ten at least, one for each step: with
500 in flight Tenuto and Restate put many steps into one sync. Counted, for 500 workflows and for one alone, on a disk
that takes 0.07 ms for a sync: Tenuto 11 and 11; DBOS 24,000 and 48, as `tuned` 6,121 and 12; Restate 484 and 18 over
HTTP/2, 1,140 and 23 over HTTP/1.1 (its background work among it; how many steps share a sync differs from run to run).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent / "peers"
DBOS = ("dbos==3.4.0",)
RESTATE = ("restate-sdk[serde]==1.3.0", "hypercorn==0.18.0", "uvicorn==0.54.0")
RESTATE_SERVER = "@restatedev/restate-server@1.7.12"
MODES: Mapping[str, Sequence[str]] = {
    "tenuto": ("code", "document"),
    "dbos": ("sync", "async", "tuned"),
    "restate": ("h2", "h2-workers", "h1"),
}
BEYOND_DOCUMENTATION = frozenset({"tuned"})
"""Modes that no documentation describes; shown, but the targets are judged against the best of the others."""
TARGET_STEPS = 15_000
TARGET_TIMES: Mapping[str, int] = {"dbos": 20, "restate": 10}
MEASUREMENT_SECONDS_MAX = 600
SYNCS = 200
SYNC_CALL = re.compile(r"^\d+ +([\d.]+) (?:fsync|fdatasync)\(")


@dataclass(slots=True)
class Row:
    """What was measured of one system in one mode."""

    system: str
    mode: str
    version: str = ""
    durability: str = ""
    rates: list[float] = field(default_factory=list)
    syncs: str = ""

    @property
    def median(self) -> float:
        """Steps per second."""
        return statistics.median(self.rates)


def fail(message: str, output: str = "") -> SystemExit:
    """Return what ends this program with a message, after the last of a command's output."""
    print(output[-6000:], file=sys.stderr)
    return SystemExit(f"peers.py: {message}")


def call(command: Sequence[str | Path], what: str) -> str:
    """Run a command to its end; answer its output."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=MEASUREMENT_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise fail(f"{what} took longer than {MEASUREMENT_SECONDS_MAX} s", str(error.stderr or "")) from None
    if done.returncode:
        raise fail(f"{what} failed", done.stdout + done.stderr)
    return done.stdout


def python_with(folder: Path, name: str, requirements: Sequence[str]) -> list[str | Path]:
    """Make an environment unless it is there; answer its interpreter."""
    place = folder / name
    interpreter = place / "bin" / "python"
    if not interpreter.exists():
        print(f"installing {', '.join(requirements)}", file=sys.stderr)
        call([sys.executable, "-m", "venv", place], f"making an environment for {name}")
    call(
        [interpreter, "-m", "pip", "install", "--quiet", *requirements],
        f"installing {', '.join(requirements)}",
    )
    return [interpreter]


def restate_server(folder: Path) -> Path:
    """Install the server unless it is there; answer the program."""
    place = folder / "server"
    pattern = "node_modules/@restatedev/restate-server-*/bin/restate-server"
    if not list(place.glob(pattern)):
        if shutil.which("npm") is None:
            raise fail(
                "Restate's server comes as an npm package: install Node.js, or give --only tenuto,dbos"
            )
        print(f"installing {RESTATE_SERVER}", file=sys.stderr)
        options = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        call(["npm", "install", "--prefix", place, *options, RESTATE_SERVER], f"installing {RESTATE_SERVER}")
    found = list(place.glob(pattern))
    if len(found) != 1:
        raise fail(f"{RESTATE_SERVER} has no program for this machine ({platform.platform()})")
    return found[0]


def prepare(folder: Path, systems: Sequence[str]) -> dict[str, list[str | Path]]:
    """Install what is needed; answer how each system's measurement is started."""
    commands: dict[str, list[str | Path]] = {}
    for system in systems:
        script = HERE / f"{system}_steps.py"
        if system == "tenuto":
            commands[system] = [sys.executable, script]
        elif system == "dbos":
            commands[system] = [*python_with(folder, "dbos", DBOS), script]
        else:
            server = restate_server(folder)
            commands[system] = [*python_with(folder, "restate", RESTATE), script, "--server", server]
    return commands


def measure(
    command: Sequence[str | Path], row: Row, runs: int, folder: Path, before: Sequence[str | Path] = ()
) -> dict[str, Any]:
    """Measure one system in one mode once, on an empty folder."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        options = ["--folder", place, "--runs", str(runs), "--mode", row.mode]
        output = call([*before, *command, *options], f"measuring {row.system} ({row.mode})")
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    row.version = row.version or figures["version"]
    row.durability = row.durability or figures["durability"]
    return figures


def count_syncs(command: Sequence[str | Path], row: Row, runs: int, folder: Path) -> int:
    """Measure once under strace; answer how often all its processes synced while the clock ran."""
    trace = folder / "trace"
    before = ["strace", "-f", "-ttt", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o", trace]
    began, ended = measure(command, row, runs, folder, before)["window"]
    lines = trace.read_text(errors="replace").splitlines()
    trace.unlink()
    return sum(began <= float(found[1]) <= ended for line in lines if (found := SYNC_CALL.match(line)))


def sync_milliseconds(folder: Path) -> float:
    """Time one `fdatasync` after appending 4 KiB, on this disk."""
    path = folder / "floor"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        times = []
        for _ in range(SYNCS):
            os.write(descriptor, b"x" * 4096)
            started = time.perf_counter()
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - started)
        return statistics.median(times) * 1000
    finally:
        os.close(descriptor)
        path.unlink()


def report(rows: Sequence[Row], floors: Sequence[float], runs: int) -> None:
    """Print the table, and how Tenuto's workflows in Python stand to the best of each peer as it is documented."""
    print(f"\n{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(f"one fdatasync {statistics.median(floors):.2f} ms ({min(floors):.2f} to {max(floors):.2f})")
    print(f"{runs} workflows of 10 steps in flight, {len(rows[0].rates)} rounds\n")
    ours = next((row.median for row in rows if row.system == "tenuto" and row.mode == "code"), None)
    print(f"{'system':8} {'mode':11} {'steps/s':>8} {'range':>17} {'Tenuto is':>10}  syncs: all / one alone")
    for row in rows:
        span = f"{min(row.rates):,.0f} to {max(row.rates):,.0f}"
        times = "" if ours is None else f"{ours / row.median:.1f} x"
        print(f"{row.system:8} {row.mode:11} {row.median:8,.0f} {span:>17} {times:>10}  {row.syncs}")
    print()
    for row in rows:
        print(f"{row.system} ({row.mode}): {row.version}\n    {row.durability}")
    if ours is None:
        return
    print(f"\nTenuto (code): {ours:,.0f} steps/s (at least {TARGET_STEPS:,})")
    for system, times in TARGET_TIMES.items():
        documented = [row for row in rows if row.system == system and row.mode not in BEYOND_DOCUMENTATION]
        if documented:
            best = max(documented, key=lambda row: row.median)
            print(f"against {system} ({best.mode}): {ours / best.median:.1f} x (at least {times} x)")


def names(text: str) -> list[str]:
    """Read the systems to measure."""
    wanted = text.split(",")
    if unknown := set(wanted) - set(MODES):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(MODES)}")
    return [system for system in MODES if system in wanted]


def main() -> None:
    """Read the options, install, measure in turn, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", type=names, default=list(MODES))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--count-syncs", action="store_true")
    options = parser.parse_args()
    if options.runs < 1 or options.rounds < 1:
        parser.error("--runs and --rounds are at least 1")
    if options.count_syncs and shutil.which("strace") is None:
        raise fail("--count-syncs needs strace, which is not on the PATH")
    with tempfile.TemporaryDirectory(dir=".", prefix="peers-") as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        commands = prepare(folder, options.only)
        rows = [Row(system, mode) for system in options.only for mode in MODES[system]]
        floors = []
        for number in range(options.rounds):
            floors.append(sync_milliseconds(folder))
            for row in rows:
                figures = measure(commands[row.system], row, options.runs, folder)
                row.rates += figures["steps_per_second"]
                print(f"round {number + 1}: {row.system} {row.mode} {row.rates[-1]:,.0f}", file=sys.stderr)
        for row in rows if options.count_syncs else ():
            many, alone = (count_syncs(commands[row.system], row, runs, folder) for runs in (options.runs, 1))
            row.syncs = f"{many:,} / {alone:,}"
        report(rows, floors, options.runs)


if __name__ == "__main__":
    main()
