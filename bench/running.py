"""Runs measurements, each a process of its own on an empty folder, and keeps what they answer."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.environments import ROOT, SYSTEMS, CannotInstall, Environment, make
from bench.measuring import FLOOR_CALLS, floor_seconds
from bench.plan import Measurement

GRACE_SECONDS = 600.0
"""How much longer than asked a measurement may take: very long works, and systems that are slow to start."""

TIDY_SECONDS_MAX = 60.0
"""How long a measurement that is interrupted or too slow may take to end its servers, each within `servers.STOP_SECONDS_MAX`."""

FLOORS = 20
TOLD_CHARACTERS = 2000


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def environments(systems: Sequence[str], folder: Path) -> tuple[dict[str, Environment], dict[str, str]]:
    """Make the environments; return those that there are, and why the others are not."""
    made, missing = {}, {}
    for system in systems:
        try:
            made[system] = make(system, folder)
        except CannotInstall as reason:
            missing[system] = str(reason)
            say(f"{system} cannot be installed: {reason}")
    return made, missing


def measure(one: Measurement, environment: Environment, seconds: float, folder: Path) -> dict[str, Any]:
    """Measure once; what goes wrong is the answer's `reason`."""
    place = Path(tempfile.mkdtemp(dir=folder, prefix=f"{one.system}-"))
    options = [
        "--work",
        one.work,
        "--size",
        one.size,
        "--mode",
        one.mode,
        "--folder",
        place,
        "--seconds",
        seconds,
    ]
    command = [*environment.command, *map(str, options)]
    try:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(environment.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            output, errors = child.communicate(timeout=seconds + GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return {"reason": f"it was not over after {seconds + GRACE_SECONDS:.0f} s"}
        finally:
            _end_family(child)
        if child.returncode:
            return {"reason": f"it failed: {errors[-TOLD_CHARACTERS:].strip() or child.returncode}"}
        answer: dict[str, Any] = json.loads(output.splitlines()[-1])
        return answer
    except (ValueError, IndexError):
        return {"reason": f"it answered nothing: {errors[-TOLD_CHARACTERS:].strip()}"}
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _end_family(child: subprocess.Popen[str]) -> None:
    """End a measurement and what it has left running; it and what it starts are a session of their own.

    One that is not over is asked first: only itself can end its servers tidily.
    """
    try:
        if child.poll() is None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.communicate(timeout=TIDY_SECONDS_MAX)
    finally:
        _kill(child)


def _kill(child: subprocess.Popen[str]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    child.wait()


class Record:
    """Everything raw, written down after each measurement."""

    def __init__(self, path: Path, data: dict[str, Any]) -> None:
        self._path = path
        self.data = data

    def add(self, one: Measurement, answer: Mapping[str, Any], floor_ms: float, seconds: float) -> None:
        """Keep an answer, with the disk's own time just before it; its `size` is what was done, the plan's what was asked for."""
        done = {"done": answer["size"]} if "size" in answer else {}
        self.data["floors_ms"].append(floor_ms)
        self.data["answers"].append(
            {**answer, **asdict(one), **done, "floor_ms": floor_ms, "seconds": seconds}
        )
        self.data["sittings"][-1]["ended"] = time.time()
        self._path.write_text(json.dumps(self.data, indent=1) + "\n", encoding="utf-8")


def run_all(
    measurements: Sequence[Measurement],
    made: Mapping[str, Environment],
    record: Record,
    seconds: float,
    end: float,
    folder: Path,
) -> None:
    """Measure one after the other until the time is over; the first round is always brought to its end."""
    for number, one in enumerate(measurements, 1):
        if one.round > measurements[0].round and time.time() > end:
            say(f"the time is over: {len(measurements) - number + 1} further measurements are left out")
            break
        floor_ms = statistics.median(floor_seconds(folder) for _ in range(FLOORS)) / FLOOR_CALLS * 1e3
        began = time.time()
        answer = measure(one, made[one.system], seconds, folder)
        record.add(one, answer, floor_ms, time.time() - began)
        told = answer.get("reason") or ", ".join(
            f"{name} {value:,.3g}" for name, value in answer["figures"].items()
        )
        say(f"[{number}/{len(measurements)}] {one}: {told[:160]}")


def commit() -> str:
    """Say what is measured."""
    head = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    changed = subprocess.run(
        [
            "git",
            "status",
            "--porcelain",
            "--untracked-files=no",
            "src",
            "bench",
            ":!bench/RESULTS.md",
            ":!bench/plots",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return (head or "unknown") + (" with changes" if changed else "")


def machine(folder: Path) -> dict[str, Any]:
    """Say what is measured on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.processor(),
        "processors": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": platform.platform(),
        "file_system": _file_system(folder),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def _file_system(folder: Path) -> str:
    """Return the type of the file system that a folder is on."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if folder.resolve().is_relative_to(place) and len(place) >= len(best[0]):
            best = (place, kind)
    return best[1]


def marks() -> dict[str, dict[str, Any]]:
    """Say of each system what a reader of its figures must know."""
    return {
        name: {"mark": system.mark, "mode_marks": dict(system.mode_marks), "licence": system.licence}
        for name, system in SYSTEMS.items()
        if system.modes
    }
