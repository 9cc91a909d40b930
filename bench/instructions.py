"""How many instructions a step takes, counted by valgrind: the same on a busy machine as on an idle one.

    python -m bench.instructions             # count, and compare with what is recorded
    python -m bench.instructions --record    # count, and record it for this Python and this SQLite

A process under callgrind opens an App on a real database and warms up, uncounted; then `RUNS` runs of ten steps in flight at once
are counted, in Python and as documents. Time and ids are made up, so that what is written has the same length each
time; how the threads of loop and store take turns is what is left to chance: less than 1 %.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.measuring import STEPS
from tests.servers.provision import CannotRun, program

ROOT: Final = Path(__file__).resolve().parent.parent
RECORDED: Final = ROOT / "bench" / "instructions.json"
MODES: Final = ("code", "document")
RUNS: Final = 50
GROWTH_MAX: Final = 0.10
"""What is accepted of growth over the recorded figure."""

SECONDS_MAX: Final = 300
COLLECTED: Final = re.compile(r"Collected : (\d+)")

_BUILD: Final = """
import sqlite3, sys
from tenuto.engine import advance
code = "compiled" if advance.__file__.endswith((".so", ".pyd")) else "not compiled"
print(f"Python {sys.version.replace(chr(10), ' ')}, SQLite {sqlite3.sqlite_version}, Tenuto {code}")
"""


def build(python: str = sys.executable) -> str:
    """Return what figures depend on besides Tenuto's code."""
    command = [python, "-c", _BUILD]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def count(mode: str, burnt: int = 0, python: str = sys.executable) -> float:
    """Return the instructions of one step. Each step counts to `burnt` besides: how the guard is tested.

    Raises:
        CannotRun: There is no valgrind here, or it cannot be steered.
    """
    valgrind = program("valgrind", "valgrind")
    with tempfile.TemporaryDirectory() as folder:
        command = [valgrind, "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        work = [python, "-m", "bench.instructions_work", mode, folder, str(RUNS), str(burnt)]
        with _running([*map(str, command), *work]) as child:
            _expect(child, "ready")
            _instrument(child, valgrind, "on")
            _go_on(child)
            _expect(child, "done")
            _instrument(child, valgrind, "off")
            _go_on(child)
            found = COLLECTED.search(child.communicate()[1])
    assert found is not None, "callgrind says nothing of what it has collected"
    return int(found[1]) / (RUNS * STEPS)


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Keep a process for as long as it is needed, and no longer than `SECONDS_MAX`."""
    env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as child:
        patience = threading.Timer(SECONDS_MAX, child.kill)
        patience.start()
        try:
            yield child
        finally:
            patience.cancel()
            child.kill()


def _expect(child: subprocess.Popen[str], word: str) -> None:
    assert child.stdout is not None
    said = child.stdout.readline().strip()
    if said != word:
        child.kill()
        raise RuntimeError(f"the counted process said {said!r}: {child.communicate()[1][-2000:]}")


def _go_on(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("go on\n")
    child.stdin.flush()


def _instrument(child: subprocess.Popen[str], valgrind: Path, switch: str) -> None:
    """Begin to count, or end it."""
    command = [valgrind.with_name("callgrind_control"), "-i", switch, str(child.pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(
            f"callgrind_control cannot reach the process that it has to count: {done.stderr.strip()}"
        )


def count_all() -> dict[str, float]:
    """Return the instructions of one step in each mode."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(MODES, pool.map(count, MODES), strict=True))


def recorded() -> Mapping[str, float]:
    """Return what is recorded for this Python and this SQLite; raises `CannotRun` if nothing is."""
    found: Mapping[str, Mapping[str, float]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    mine = build()
    if mine not in found:
        raise CannotRun(f"nothing is recorded for {mine}: `python -m bench.instructions --record`")
    return found[mine]


def grown(then: float, now: float) -> str | None:
    """Return what is wrong with a figure; None if it has not grown beyond what is accepted."""
    if now <= then * (1 + GROWTH_MAX):
        return None
    return (
        f"a step takes {now:,.0f} instructions, {now / then - 1:.0%} more than the {then:,.0f} that are recorded"
        f" (accepted: {GROWTH_MAX:.0%}). Find out what grew with valgrind --tool=callgrind; if it is worth that,"
        " `python -m bench.instructions --record` and say why in the commit"
    )


def record(counted: Mapping[str, float]) -> None:
    """Write figures down for this Python and this SQLite."""
    found = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}
    found[build()] = {mode: round(figure) for mode, figure in counted.items()}
    RECORDED.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> int:
    """Count; compare, or record."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.instructions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--record", action="store_true", help="write the figures down")
    options = parser.parse_args()
    counted = count_all()
    for mode, figure in counted.items():
        print(f"{mode:9} {figure:10,.0f} instructions a step")
    if options.record:
        record(counted)
        return 0
    problems = [
        f"{mode}: {problem}" for mode, then in recorded().items() if (problem := grown(then, counted[mode]))
    ]
    print("\n".join(problems) or "as recorded")
    return bool(problems)


if __name__ == "__main__":
    raise SystemExit(main())
