"""The fault programme as one command: `make faults`, or

    python -m tests.reliability [--minutes 60] [--only L3,L5] [--seed 1] [--page docs/reliability.md]

Every layer plays at the size that the night is meant to have, or until its share of the time is over. The
record is printed as it grows; with `--page` it is written there at the end. The exit code is 1 if a promise was
broken, or if a seeded bug went unnoticed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from tests.reliability.page import written
from tests.reliability.programme import Budget, Layer, Record

HERE: Final = Path(__file__).parent
HOMES: Final = (
    "protocol",
    "stateful",
    "simulation.layer",
    "kills",
    "syscalls",
    "power",
    "storage_faults",
    "clocks",
    "upgrades",
    "fuzz",
    "soak",
)
"""The modules that hold a layer each, in the order in which they are played."""
WEIGHTS: Final = {"L2": 4.0, "L3": 2.0, "L5": 2.0, "L10": 2.0, "L11": 2.0}
"""Shares of the time; all other layers have one."""


def layers() -> list[Layer]:
    """Return all layers."""
    return [import_module(f"tests.reliability.{home}").LAYER for home in HOMES]


def play(chosen: Sequence[Layer], minutes: float, seed: int) -> list[Record]:
    """Play layers one after the other; what one leaves of its time is for those that follow."""
    end = time.monotonic() + minutes * 60
    left = sum(WEIGHTS.get(layer.name, 1.0) for layer in chosen)
    records = []
    for layer in chosen:
        weight = WEIGHTS.get(layer.name, 1.0)
        deadline = time.monotonic() + max(0.0, end - time.monotonic()) * weight / left
        left -= weight
        print(f"{layer.name:4} {layer.title} ...", flush=True)
        with tempfile.TemporaryDirectory(prefix="faults-", dir=Path.cwd()) as folder:
            record = layer.play(Budget(Path(folder), seed, layer.nightly, deadline))
        records.append(record)
        tell(record)
    return records


def tell(record: Record) -> None:
    """Print what a layer did and found."""
    print(f"     {record.cases:,} cases in {record.seconds:,.0f} s, {len(record.violations)} violations")
    for name, count in record.counts.items():
        print(f"     {name}: {count:,}")
    for name, figure in record.figures.items():
        print(f"     {name}: {figure}")
    for caught in record.caught:
        found = f"noticed after {caught.cases:,}" if caught.cases is not None else "NOT NOTICED"
        print(f"     seeded: {caught.bug}: {found}")
    for missing in record.not_played:
        print(f"     not played: {missing}")
    for violation in record.violations[:20]:
        print(f"     VIOLATION {violation.invariant} {violation.run}: {violation.seen}", file=sys.stderr)
    if record.failing:
        print(f"     failing: {', '.join(record.failing)}", file=sys.stderr)
    sys.stdout.flush()


def sound(records: Sequence[Record]) -> bool:
    """Whether no promise was broken, and every seeded bug was noticed."""
    return all(
        not record.violations and all(caught.cases is not None for caught in record.caught)
        for record in records
    )


def main() -> None:
    """Read the options, play, and write."""
    known = {layer.name: layer for layer in layers()}
    parser = argparse.ArgumentParser(
        prog="python -m tests.reliability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="how long, for all layers together")
    parser.add_argument("--only", help=f"some layers: {', '.join(known)}")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--page", type=Path, help="where the record is written")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no layer {', '.join(unknown)}; there are {', '.join(known)}")
    if options.page and options.only:
        parser.error("a page is written of all layers: leave out --only, or --page")
    chosen = [known[name] for name in names]
    records = play(chosen, options.minutes, options.seed)
    if options.page:
        options.page.write_text(written(chosen, records, options.minutes, options.seed), encoding="utf-8")
        print(f"written: {options.page}")
    sys.exit(0 if sound(records) else 1)


if __name__ == "__main__":
    main()
