"""Writes the record of the fault programme as a page: what was done, what was found, what would have been found."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import tomllib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.reliability.programme import Caught, Layer, Record
from tests.reliability.zoo import NOT_YET

HERE: Final = Path(__file__).parent
FOUND: Final = HERE / "found.toml"
"""Every bug that the programme has found: `what`, `layer`, `case` to see it again, `fix`."""

HEAD: Final = """\
# Reliability: the record

*Every accepted start, signal and step result is recorded exactly once, before it is acknowledged. A step whose outcome is
recorded never runs again. A step may be started more than once if a process, its disk or the machine's power fails before
its outcome is recorded; every attempt carries the same idempotency key.*

This page is the record of trying to break that, on one machine. One command plays it again and writes this page:

<!-- not run: it takes the minutes that it is given -->
```sh
make faults MINUTES=60
```

`make test` carries the same layers at a small size. `python -m tests.reliability --help` plays single layers and seeds.

Where runs are brought to their end, *the checker* (`tests/reliability/checker.py`) judges: over what clients were told, what the
journals hold, and a ledger that an outside system keeps of every effect. It checks that acknowledged starts exist and end (I1),
equal keys give one run (I2), journals have no gaps (I3), an outcome is recorded once and nothing is done after it (I4), nothing
starts after the end (I5), timers are never early and fire once (I6), signals count once and in order (I7), journals fold to the
same again (I10), and secrets stand nowhere (I11); that what was shown as durable is still there is the `promise`. The rest has
judges of its own:

{judges}
Not judged yet, since there is nothing to judge: the hash chain and epochs of I3, and I8 and I9, which come with governance and
clusters, as L7 does, faults of the network between parts of Tenuto; that a tick starts one run (I12), which comes with the server.
"""

CHECKER: Final = "the checker"
JUDGES: Final = {
    "L0": (
        "laws of the model; on the real worker, that it does what the model does",
        "I1 to I7, in the model's words",
    ),
    "L1": (
        "a reference model (`reference.py`), with which all is compared that users observe",
        "none by its number",
    ),
    "L2": (CHECKER, "I1 to I7, I10, I11; where clocks jump, nothing that needs clocks that agree"),
    "L3": (f"{CHECKER}; that outcomes follow from inputs", "I1 to I7, I10, I11; of the command line no I11"),
    "L4": (f"{CHECKER}; that outcomes follow from inputs", "I1 to I7, I10, I11"),
    "L5": (
        "cuts: as L3, and that nothing shown is gone; crash states: `disk/crashes.py`, that each is one that was committed, with"
        f" all that was acknowledged; those that are carried on: {CHECKER}",
        "cuts: I1 to I7, I10, I11; states: `promise`; carried on: I1 to I7, I10",
    ),
    "L6": (
        f"that a failure is told once and nothing follows it; {CHECKER} once the next process is done",
        "I1 to I7, I10; of the command line only how it ends",
    ),
    "L7": ("not played: comes with clusters", ""),
    "L8": (
        f"that timers fire in time by a clock that nobody turns; {CHECKER}",
        "I1 to I7, I10; nothing that needs clocks that agree",
    ),
    "L9": (
        f"{CHECKER}, over journals without clients or ledger; that what was recorded stays; migrations: `whole` in `upgrades.py`, that schema and rows are whole",
        "I1 to I6 as far as journals tell, I10; migrations: `promise`",
    ),
    "L10": (
        "`fuzzing/target.py`: a value or one error with words in it, soon, in little memory",
        "none",
    ),
    "L11": (
        f"{CHECKER}; that memory, files, threads, database and log do not grow",
        "I1 to I7, I10, I11; effects, timers and folds of some of the runs; nothing that needs clocks that agree",
    ),
}
"""What judges each layer, and which invariants it looks at."""


def written(layers: Sequence[Layer], records: Sequence[Record], minutes: float, seed: int) -> str:
    """Return the page."""
    judges = _table(
        ["layer", "what judges it", "invariants"], [[name, *told] for name, told in JUDGES.items()]
    )
    parts = [HEAD.format(judges=judges), _where(minutes, seed), "## What was done\n", _done(layers, records)]
    parts += [_details(layers, records), "## Would it have noticed?\n", _caught(layers, records)]
    parts += ["## What it found\n", _found()]
    return "\n".join(parts).rstrip() + "\n"


def _where(minutes: float, seed: int) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Last played {datetime.now(UTC):%Y-%m-%d} at commit {commit()}, {minutes:g} minutes, first seed {seed}: {os.cpu_count()} processors,"
        f" {memory:.0f} GiB, {platform.system()} {platform.release()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}.\n"
    )


def commit() -> str:
    """Return the commit that is played, and whether there are changes beside it."""
    short = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "src", "tests")
    return f"`{short}`" + (" with changes" if changed else "") if short else "unknown"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False, timeout=30
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def _done(layers: Sequence[Layer], records: Sequence[Record]) -> str:
    return _table(
        ["layer", "cases", "seconds", "violations"],
        [
            [
                f"{layer.name} {layer.title}",
                f"{record.cases:,}" + (" (**broke off**)" if broke_off(record) else ""),
                f"{record.seconds:,.0f}",
                str(len(record.violations))
                + (f" ({', '.join(record.failing[:10])})" if record.failing else ""),
            ]
            for layer, record in zip(layers, records, strict=True)
        ],
    )


def broke_off(record: Record) -> bool:
    """Whether a part of a layer was not played to its end, so that its record is not all that was to be done."""
    return any(violation.invariant == "played" for violation in record.violations)


def not_hunted(layer: Layer, record: Record) -> list[str]:
    """Return the seeded bugs that a layer has to notice and was not shown: there was no time, or it cannot be done here."""
    hunted = {caught.bug for caught in record.caught}
    return [bug for bug in layer.controls if bug not in hunted]


def unnoticed(caught: Caught) -> str:
    """Say of a bug that was not noticed whether time was over before enough was played."""
    if caught.broken_off_after is None:
        return "not noticed"
    return f"not noticed in {caught.broken_off_after:,} (time over)"


def _details(layers: Sequence[Layer], records: Sequence[Record]) -> str:
    parts = []
    for layer, record in zip(layers, records, strict=True):
        lines = [f"### {layer.name} {layer.title}\n"]
        lines += [f"- {name}: {figure}" for name, figure in record.figures.items()]
        lines += [f"- not played: {missing}" for missing in record.not_played]
        if record.counts:
            counts = _table(
                ["what", "how many"], [[name, f"{count:,}"] for name, count in record.counts.items()]
            )
            lines += [f"\n<details><summary>Everything that was counted</summary>\n\n{counts}\n</details>"]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _caught(layers: Sequence[Layer], records: Sequence[Record]) -> str:
    rows = [
        [
            caught.bug,
            layer.name,
            f"**{unnoticed(caught)}**" if caught.cases is None else f"{caught.cases:,}",
            ", ".join(caught.by),
            f"{caught.seconds:.1f}",
        ]
        for layer, record in zip(layers, records, strict=True)
        for caught in record.caught
    ]
    rows += [
        [bug, layer.name, "**not hunted**", "", ""]
        for layer, record in zip(layers, records, strict=True)
        for bug in not_hunted(layer, record)
    ]
    text = (
        "Bugs that were put into the engine on purpose, and settings known to lose data: each has to be noticed. Cases are seeds, kills, power"
        " cuts or states until that happened.\n\n"
    )
    text += _table(["seeded bug", "layer", "cases until noticed", "by", "seconds"], rows)
    text += "\nNot possible yet: " + "; ".join(f"{bug} ({why})" for bug, why in NOT_YET.items()) + ".\n"
    return text


def found() -> list[dict[str, Any]]:
    """Return the bugs that the programme has found so far."""
    bugs: list[dict[str, Any]] = tomllib.loads(FOUND.read_text(encoding="utf-8"))["bug"]
    return bugs


def _found() -> str:
    rows = [[bug["what"], bug["layer"], bug["case"], bug["fix"]] for bug in found()]
    return _table(["bug", "layer", "seed or case", "mended in"], rows)
