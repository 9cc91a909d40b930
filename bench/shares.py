"""Where the time goes: `python -m bench.shares [--mode code|document] [--work in-flight] [--size 500] [--seconds 20]`.

Does a work of `bench.systems.tenuto` under py-spy, and adds up in which part of Tenuto each sample was: that of the innermost
function, in Python or compiled, that is of a part which is told apart here. Threads that only wait are left out, and imports. The figures are
shares of processor time, so that a busy machine hardly changes them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.environments import ROOT, WORKS, make

RATE: Final = 400

PARTS: Final[Mapping[str, Sequence[str]]] = {
    "the workflow's Python, and what watches it": (
        "tenuto/authoring/",
        "tenuto/runtime/guard.py",
        "tenuto/runtime/watching_calls.py",
    ),
    "the fold of a document": ("tenuto/language/",),
    "the engine: open commands, turns": (
        "tenuto/engine/",
        "tenuto/runtime/turn.py",
        "tenuto/runtime/feeding.py",
        "tenuto/runtime/hot.py",
        "tenuto/runtime/children.py",
    ),
    "entries as JSON": ("tenuto/runtime/recording.py", "tenuto/runtime/snapshots.py"),
    "actions: limits, gate, the step itself": (
        "tenuto/runtime/acting.py",
        "tenuto/runtime/actions.py",
        "tenuto/runtime/attempts.py",
        "tenuto/runtime/steps.py",
        "tenuto/runtime/function.py",
        "tenuto/runtime/calling.py",
        "tenuto/runtime/limits.py",
        "tenuto/governance/",
        "tenuto/connectors/",
    ),
    "the store, on both threads": ("tenuto/storage/",),
    "runs from the disk": ("tenuto/runtime/memory.py",),
    "the worker: what comes after the disk": ("tenuto/runtime/",),
    "starting runs, waiting for results": ("tenuto/application.py", "tenuto/operations/", "bench/"),
    "asyncio": ("asyncio/", "selectors.py", "_asyncio"),
}
"""In this order: a file is of the first part that names it."""

WAITING: Final = ("PyThread_acquire_lock_timed", "pthread_cond_", "epoll_wait", "select_epoll_poll")
"""A sample with one of these among its innermost functions is of a thread that waits."""

INNERMOST: Final = 3
IMPORTING: Final = "<frozen importlib"


def compiled() -> dict[str, str]:
    """Return the files of modules that are compiled in wheels, by their last names: C functions are called after these."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    files = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]["include"]
    return {Path(file).stem: file.removeprefix("/src/") for file in files}


def file_of(frame: str, modules: Mapping[str, str]) -> str:
    """Return the file of a frame: `advance (tenuto/engine/advance.py:109)`, or `CPyDef_advance___advance (...)` as compiled."""
    if frame.startswith("CPyDef_"):
        return modules.get(frame.removeprefix("CPyDef_").partition("___")[0], "")
    return frame.rpartition("(")[2]


def part_of(stack: Sequence[str], modules: Mapping[str, str]) -> str:
    """Return the part that a sample is of; the stack has its innermost function last."""
    for frame in reversed(stack):
        file = file_of(frame, modules)
        for part, places in PARTS.items():
            if any(place in file for place in places):
                return part
    return "everything else"


def shares(raw: str) -> dict[str, float]:
    """Return each part's share of the samples, in percent, the largest first."""
    found: Counter[str] = Counter()
    modules = compiled()
    for line in raw.splitlines():
        text, _, count = line.rpartition(" ")
        stack = text.split(";")
        waits = any(frame.startswith(WAITING) for frame in stack[-INNERMOST:])
        if not waits and IMPORTING not in text:
            found[part_of(stack, modules)] += int(count)
    total = sum(found.values())
    return {part: count / total * 100 for part, count in found.most_common()}


def main() -> None:
    """Measure under py-spy; print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.shares",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--mode", default="code", choices=("code", "document"))
    parser.add_argument("--work", default="in-flight", choices=WORKS)
    parser.add_argument("--size", default="500", help="workflows, items or steps; default: %(default)s")
    parser.add_argument("--seconds", default="20", help="how long; default: %(default)s")
    options = parser.parse_args()
    spy = Path(make("tools", ROOT / ".bench").command[0]).with_name("py-spy")
    tenuto = make("tenuto", ROOT / ".bench")
    with tempfile.TemporaryDirectory(dir=ROOT / ".bench") as folder:
        raw = Path(folder) / "raw"
        command = [
            spy,
            "record",
            "--rate",
            str(RATE),
            "--native",
            "--format",
            "raw",
            "--output",
            raw,
            "--",
        ]
        work = [
            "--work",
            options.work,
            "--size",
            options.size,
            "--mode",
            options.mode,
            "--seconds",
            options.seconds,
        ]
        command += [*tenuto.command, *work, "--folder", folder]
        done = subprocess.run(
            command, cwd=ROOT, env=dict(tenuto.env), capture_output=True, text=True, check=False
        )
        if done.returncode or '"figures"' not in done.stdout:
            sys.exit(f"the work was not measured: {(done.stdout + done.stderr)[-1000:].strip()}")
        found = shares(raw.read_text(encoding="utf-8"))
    print(f"| {options.work} {options.size}, {options.mode} | % |\n| --- | --- |")
    for part, share in found.items():
        print(f"| {part} | {share:.0f} |")


if __name__ == "__main__":
    main()
