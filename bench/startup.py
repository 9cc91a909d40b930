"""How long whole commands take: `python bench/startup.py [--rounds N] [--json]`.

Starts each command as a process of its own, as a shell would, and prints the median of
rounds that alternate. The bounds: `--help` 150 ms, `validate` 300 ms, `run` of one step 400 ms.
`python -c pass` is the floor that the machine gives.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BOUNDS_MS = {"python -c pass": None, "tenuto --help": 150, "tenuto validate": 300, "tenuto run": 400}
ONE_STEP = """\
document: {dsl: 1.0.3, namespace: bench, name: one, version: 1.0.0}
do:
  - one:
      call: core.noop:1.0.0@default
      with: {value: 1}
"""


def seconds(command: list[str], folder: Path) -> float:
    """Return how long a command takes from start to exit; it has to succeed."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def measured(rounds: int) -> dict[str, float]:
    """Return the median of each command in milliseconds."""
    tenuto = str(Path(sys.executable).with_name("tenuto"))
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "tenuto --help": [tenuto, "--help"],
        "tenuto validate": [tenuto, "validate", "one.yaml"],
        "tenuto run": [tenuto, "run", "one.yaml"],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "one.yaml").write_text(ONE_STEP)
        for command in commands.values():
            seconds(command, folder)  # Once unmeasured: compiles what is not compiled yet.
        for _ in range(rounds):
            for label, command in commands.items():
                taken[label].append(seconds(command, folder) * 1000)
    return {label: statistics.median(times) for label, times in taken.items()}


def commit() -> str:
    """Return the commit that is measured."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    medians = measured(arguments.rounds)
    if arguments.json:
        print(json.dumps({"commit": commit(), "machine": platform.platform(), "medians_ms": medians}))
        return
    print(f"commit {commit()}, Python {platform.python_version()}, {platform.platform()}")
    for label, median in medians.items():
        bound = BOUNDS_MS[label]
        print(f"{label:16} {median:6.0f} ms" + (f"   (at most {bound} ms)" if bound else ""))


if __name__ == "__main__":
    main()
