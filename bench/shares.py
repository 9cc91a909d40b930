"""Where the time goes: `python -m bench.shares [--mode code|document] [--work in-flight] [--size 500] [--seconds 20]`.

Does a work of `bench.systems.tenuto` under py-spy, and adds up in which part of Tenuto each sample was: that of the innermost
function that is of a part which is told apart here. Threads that only wait are left out. The figures are
shares of processor time, so that a busy machine hardly changes them.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.environments import ROOT, make

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
    "asyncio": ("asyncio/", "selectors.py"),
}
"""In this order: a file is of the first part that names it."""

IDLE: Final = (
    "Condition.wait (threading.py",
    "_worker (concurrent/futures/thread.py",
    "EpollSelector.select (selectors.py",
)


def part_of(stack: Sequence[str]) -> str:
    """Return the part that a sample is of; the stack has its innermost function last."""
    for frame in reversed(stack):
        file = frame.rpartition("(")[2]
        for part, places in PARTS.items():
            if any(place in file for place in places):
                return part
    return "everything else"


def shares(raw: str) -> dict[str, float]:
    """Return each part's share of the samples, in percent, the largest first."""
    found: Counter[str] = Counter()
    for line in raw.splitlines():
        text, _, count = line.rpartition(" ")
        stack = text.split(";")
        if not stack[-1].startswith(IDLE):
            found[part_of(stack)] += int(count)
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
    parser.add_argument("--work", default="in-flight")
    parser.add_argument("--size", default="500")
    parser.add_argument("--seconds", default="20")
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
            "--subprocesses",
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
        subprocess.run(command, cwd=ROOT, env=dict(tenuto.env), check=True, capture_output=True)
        found = shares(raw.read_text(encoding="utf-8"))
    print(f"| {options.work} {options.size}, {options.mode} | % |\n| --- | --- |")
    for part, share in found.items():
        print(f"| {part} | {share:.0f} |")


if __name__ == "__main__":
    main()
