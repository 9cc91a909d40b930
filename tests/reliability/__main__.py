"""The fault programme as one command: `make faults`, or

    python -m tests.reliability [--minutes 60] [--only L3,L5] [--seed 1] [--page docs/reliability.md]

Every layer plays at the size that the night is meant to have, or until its share of the time is over. The
record is printed as it grows; with `--page` it is written there at the end. A layer that breaks off is a violation,
and the others are played all the same.

The exit code is 1 if a promise was broken, if a layer played no case or broke off, or if a seeded bug was hunted and went
unnoticed. Seeded bugs that were not hunted, or for which time was over, are listed; in a play of 60 minutes or more they
also make it 1. Interrupted (Ctrl-C, SIGTERM), it ends its processes, takes its file systems and folders away, and leaves
the page as it was; the exit code is 130 or 143. A second time ends it on the spot.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

from tests.reliability.house.lives import descendants
from tests.reliability.page import broke_off, not_hunted, unnoticed, written
from tests.reliability.programme import INTERRUPTED, Budget, Layer, Record, broken

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
WEIGHTS: Final = {"L2": 4.0, "L3": 4.0, "L5": 2.0, "L10": 2.0, "L11": 2.0}
"""Shares of the time; all other layers have one."""
FULL_MINUTES: Final = 60.0
"""In so long a play every seeded bug has to be hunted."""
PROGRESS_SECONDS: Final = 30.0
ENDING_SECONDS_MAX: Final = 10.0
_folders: Final[list[Path]] = []
"""Where the layer is played that is being played."""


class Interrupted(KeyboardInterrupt):
    """Somebody wants this to end; the signal's number."""


def layers() -> list[Layer]:
    """Return all layers."""
    return [import_module(f"tests.reliability.{home}").LAYER for home in HOMES]


def play(chosen: Sequence[Layer], minutes: float, seed: int, records: list[Record]) -> None:
    """Play layers one after the other and add their records; what one leaves of its time is for those that follow."""
    end = time.monotonic() + minutes * 60
    left = sum(WEIGHTS.get(layer.name, 1.0) for layer in chosen)
    for layer in chosen:
        weight = WEIGHTS.get(layer.name, 1.0)
        deadline = time.monotonic() + max(0.0, end - time.monotonic()) * weight / left
        left -= weight
        print(f"{layer.name:4} {layer.title} ...", flush=True)
        with (
            tempfile.TemporaryDirectory(
                prefix="faults-", dir=Path.cwd(), ignore_cleanup_errors=True
            ) as folder,
            _progress(layer.name, deadline),
        ):
            _folders[:] = [Path(folder)]
            record = _played(layer, Budget(Path(folder), seed, layer.nightly, deadline))
        records.append(record)
        tell(layer, record)


def _played(layer: Layer, budget: Budget) -> Record:
    """Play a layer; one that breaks off must not take the others with it."""
    began = time.monotonic()
    try:
        return layer.play(budget)
    except Exception as error:
        return Record(
            layer=layer.name,
            cases=0,
            seconds=time.monotonic() - began,
            violations=(broken(layer.title, error),),
        )


@contextmanager
def _progress(name: str, deadline: float) -> Iterator[None]:
    """Print every half minute how much of a layer's time is over."""
    over, began = threading.Event(), time.monotonic()

    def tell_time() -> None:
        while not over.wait(PROGRESS_SECONDS):
            spent, share = time.monotonic() - began, deadline - began
            print(f"     {name} {round(spent / 30) / 2:g} of {share / 60:.1f} min", flush=True)

    thread = threading.Thread(target=tell_time, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def tell(layer: Layer, record: Record) -> None:
    """Print what a layer did and found."""
    print(f"     {record.cases:,} cases in {record.seconds:,.0f} s, {len(record.violations)} violations")
    for name, count in record.counts.items():
        print(f"     {name}: {count:,}")
    for name, figure in record.figures.items():
        print(f"     {name}: {figure}")
    for caught in record.caught:
        found = f"noticed after {caught.cases:,}" if caught.cases is not None else unnoticed(caught).upper()
        print(f"     seeded: {caught.bug}: {found}")
    for bug in not_hunted(layer, record):
        print(f"     seeded: {bug}: not hunted")
    for missing in record.not_played:
        print(f"     not played: {missing}")
    for violation in record.violations[:20]:
        print(f"     VIOLATION {violation.invariant} {violation.run}: {violation.seen}", file=sys.stderr)
    if record.failing:
        print(f"     failing: {', '.join(record.failing)}", file=sys.stderr)
    sys.stdout.flush()


def sound(layers: Sequence[Layer], records: Sequence[Record], minutes: float) -> bool:
    """Whether all layers played, no promise was broken, and every seeded bug was noticed."""
    return all(
        record.cases > 0
        and not record.violations
        and all(
            caught.cases is not None or (caught.broken_off_after is not None and minutes < FULL_MINUTES)
            for caught in record.caught
        )
        and (minutes < FULL_MINUTES or not not_hunted(layer, record))
        for layer, record in zip(layers, records, strict=True)
    )


def _interrupt(number: int, frame: Any) -> NoReturn:
    """End all processes that the play has begun, so that nobody waits for them, and then the play."""
    signal.signal(number, signal.SIG_DFL)
    INTERRUPTED.set()
    threading.Thread(target=_end_children, args=[number], daemon=True).start()
    raise Interrupted(number)


def _end_children(number: int) -> None:
    """End all processes below this one, and those that a case begins that was about to; at last this one too.

    A case may wait for ever for what it does not get any more.
    """
    deadline = time.monotonic() + ENDING_SECONDS_MAX
    while time.monotonic() < deadline:
        for pid in descendants(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    for folder in _folders:
        for line in Path("/proc/mounts").read_text().splitlines():
            if (place := Path(line.split()[1])).is_relative_to(folder):
                subprocess.run(["umount", "--lazy", str(place)], check=False)
        shutil.rmtree(folder, ignore_errors=True)
    print("interrupted: the layer that was played did not end of itself", flush=True)
    os._exit(128 + number)


def main() -> None:
    """Read the options, play, and write."""
    known = {layer.name: layer for layer in layers()}
    parser = argparse.ArgumentParser(
        prog="python -m tests.reliability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    titles = "".join(f"\n  {layer.name:4} {layer.title}" for layer in known.values())
    parser.epilog = f"layers (L7, faults of the network, comes with clusters):{titles}"
    parser.add_argument("--minutes", type=float, default=60.0, help="how long, for all layers together")
    parser.add_argument("--only", metavar="L3,L5", help="some layers; all of them otherwise")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--page", type=Path, help="where the record is written")
    options = parser.parse_args()
    wanted = list(known) if options.only is None else options.only.upper().replace(" ", "").split(",")
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"no layer {', '.join(map(repr, unknown))}; there are {', '.join(known)}")
    names = list(dict.fromkeys(wanted))
    if not options.minutes > 0:
        parser.error(f"--minutes {options.minutes:g}: more than 0, please")
    if options.page and options.only:
        parser.error("a page is written of all layers: leave out --only, or --page")
    chosen = [known[name] for name in names]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    records: list[Record] = []
    try:
        play(chosen, options.minutes, options.seed, records)
    except Interrupted as interrupted:
        left_out = ", ".join(names[len(records) :])
        print(
            f"interrupted: {left_out} not played to the end" + (", no page written" if options.page else "")
        )
        sys.exit(128 + interrupted.args[0])
    if options.page:
        options.page.write_text(written(chosen, records, options.minutes, options.seed), encoding="utf-8")
        print(f"written: {options.page}")
    if partial := [record.layer for record in records if broke_off(record)]:
        print(f"broke off: {', '.join(partial)}", file=sys.stderr)
    sys.exit(0 if sound(chosen, records, options.minutes) else 1)


if __name__ == "__main__":
    main()
