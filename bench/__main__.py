"""Measure Tenuto beside other systems: `python -m bench [--minutes 60] [--only tenuto,dbos] [--works in-flight] [--rounds 3]`.

Every system gets an environment of its own below `.bench/`, and is measured with the same works in turn (`bench.plan`). Everything
raw is in `.bench/results.json`; from it `bench/RESULTS.md` and `bench/plots/` are written, also later and elsewhere, with
`--report FILE`. `--more` adds rounds to what was measured before on the same machine, each measurement of as many seconds as before:
medians count all of them.
`--quick` does a little of everything in some minutes; its figures mean nothing and are written to `.bench/quick/`.
Ctrl-C and SIGTERM end what is measured tidily; what was measured before is kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.environments import ROOT, SYSTEMS
from bench.plan import SIZES, planned, seconds_each
from bench.report import write
from bench.running import Record, commit, environments, machine, marks, run_all, say
from bench.servers import end_tidily

MEASURED = [name for name, system in SYSTEMS.items() if system.modes]


def _names(known: list[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        wanted = text.split(",")
        if unknown := sorted(set(wanted) - set(known)):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        return [name for name in known if name in wanted]

    return read


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="about how long, once all is installed")
    parser.add_argument(
        "--only", type=_names(MEASURED), default=MEASURED, metavar="SYSTEMS", help=f"of {', '.join(MEASURED)}"
    )
    parser.add_argument(
        "--works",
        type=_names(list(SIZES)),
        default=list(SIZES),
        metavar="WORKS",
        help=f"of {', '.join(SIZES)}",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--more", action="store_true", help="add rounds to .bench/results.json")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench", help="on the disk to measure")
    parser.add_argument("--report", type=_raw, metavar="FILE", help="only write the report of these results")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    if options.quick:
        options.rounds = 1
    if options.more and options.quick:
        parser.error("--more adds to real results: leave out --quick")
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least one is needed")
    if not planned(options.only, options.works, options.rounds, options.quick):
        parser.error(
            "none of these systems does any of these works: name others, or leave out --only or --works"
        )
    return options


def _raw(text: str) -> dict[str, Any]:
    """Read raw results from a file."""
    try:
        data: dict[str, Any] = json.loads(Path(text).read_text(encoding="utf-8"))
        if data["answers"] and data["sittings"]:
            return data
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{text}: {error.strerror}; a run writes .bench/results.json"
        ) from error
    except (ValueError, KeyError, TypeError):
        pass
    raise argparse.ArgumentTypeError(f"{text}: these are no results of a run, such as .bench/results.json")


def main() -> None:
    """Read the options; measure, unless there is a report to be written again; write the report."""
    options = _options()
    if options.report is not None:
        write(options.report, ROOT / "bench", options.folder)
        return
    written = options.folder / "quick" if options.quick else ROOT / "bench"
    raw = (written if options.quick else options.folder) / "results.json"
    before = _before(raw, machine(options.folder)) if options.more else {}
    began = time.time()
    work = options.folder / "work"
    end_tidily()
    try:
        data = _measured(options, raw, work, before)
    except (KeyboardInterrupt, SystemExit) as reason:
        kept = raw.exists() and raw.stat().st_mtime >= began
        say(
            f"interrupted; what was measured so far is in {raw}: python -m bench --report {raw}"
            if kept
            else "interrupted before anything was measured"
        )
        raise SystemExit(getattr(reason, "code", 128 + signal.SIGINT)) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if not data["answers"]:
        raise SystemExit("nothing was measured: none of these systems could be installed")
    write(data, written, options.folder)


def _before(raw: Path, here: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was measured before, to which rounds can be added; ends the program if there is no such thing."""
    try:
        data = _raw(str(raw))
    except argparse.ArgumentTypeError as error:
        raise SystemExit(f"--more: {error}") from None
    if other := [
        f"{what} {data['machine'].get(what)}" for what in here if data["machine"].get(what) != here[what]
    ]:
        raise SystemExit(
            f"--more: {raw} was measured elsewhere, with {', '.join(other)}: leave out --more to measure anew"
        )
    return data


def _measured(options: argparse.Namespace, raw: Path, work: Path, before: dict[str, Any]) -> dict[str, Any]:
    """Make the environments and measure; return everything raw, with what was measured before."""
    made, missing = environments(options.only, options.folder)
    done = max((answer["round"] for answer in before.get("answers", ())), default=0)
    measurements = [
        replace(one, round=done + one.round)
        for one in planned(list(made), options.works, options.rounds, options.quick)
    ]
    given = [
        one["seconds"] for one in before.get("sittings", ()) if set(options.works) & set(one.get("works", ()))
    ]
    seconds = given[-1] if given else seconds_each(measurements, options.minutes, options.quick)
    say(f"{len(measurements)} measurements of about {seconds:.0f} s each")
    told = before or {
        "machine": machine(options.folder),
        "systems": marks(),
        "missing": missing,
        "quick": options.quick,
        "sittings": [],
        "floors_ms": [],
        "answers": [],
    }
    told["sittings"].append(
        {"commit": commit(), "began": time.time(), "seconds": seconds, "works": options.works}
    )
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    raw.parent.mkdir(parents=True, exist_ok=True)
    record = Record(raw, told)
    run_all(measurements, made, record, seconds, time.time() + options.minutes * 60, work)
    return record.data


if __name__ == "__main__":
    main()
