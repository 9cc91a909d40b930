"""Measure Tenuto beside other systems: `python -m bench [--minutes 60] [--only tenuto,dbos] [--works in-flight] [--rounds 3]`.

Every system gets an environment of its own below `.bench/`, and is measured with the same works in turn (`bench.plan`). Everything
raw is in `.bench/results.json`; from it `bench/RESULTS.md` and `bench/plots/` are written, also later and elsewhere, with
`--report FILE`. `--quick` does a little of everything in some minutes; its figures mean nothing and are written to `.bench/quick/`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

from bench.environments import ROOT, SYSTEMS
from bench.plan import SIZES, planned, seconds_each
from bench.report import write
from bench.running import Record, environments, machine, marks, run_all, say

MEASURED = [name for name, system in SYSTEMS.items() if system.modes]


def _names(known: list[str]) -> object:
    def read(text: str) -> list[str]:
        wanted = text.split(",")
        if unknown := sorted(set(wanted) - set(known)):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        return [name for name in known if name in wanted]

    return read


def main() -> None:
    """Read the options; measure, unless there is a report to be written again; write the report."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="about how long, once all is installed")
    parser.add_argument("--only", type=_names(MEASURED), default=MEASURED, help="systems")
    parser.add_argument("--works", type=_names(list(SIZES)), default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench", help="on the disk to measure")
    parser.add_argument("--report", type=Path, metavar="FILE", help="only write the report of these results")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.report is not None:
        write(json.loads(options.report.read_text(encoding="utf-8")), ROOT / "bench", folder)
        return
    made, missing = environments(options.only, folder)
    if options.quick:
        options.rounds = 1
    measurements = planned(list(made), options.works, options.rounds, options.quick)
    seconds = seconds_each(measurements, options.minutes, options.quick)
    say(f"{len(measurements)} measurements of about {seconds:.0f} s each")
    told = {
        "machine": machine(folder),
        "systems": marks(),
        "missing": missing,
        "minutes": options.minutes,
        "began": time.time(),
    }
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    written = folder / "quick" if options.quick else ROOT / "bench"
    raw = (written if options.quick else folder) / "results.json"
    raw.parent.mkdir(parents=True, exist_ok=True)
    record = Record(raw, told)
    run_all(measurements, made, record, seconds, time.time() + options.minutes * 60, work)
    write(record.data, written, folder)


if __name__ == "__main__":
    main()
