"""The command line under SIGKILL: `tenuto run`, killed, `tenuto resume`, killed, ... until it ends by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Final

from tenuto.cli.exits import INTERRUPTED
from tests.reliability.checker import check
from tests.reliability.evidence import Call, Evidence, Violation
from tests.reliability.house import work
from tests.reliability.house.ledger import Ledger, Trouble
from tests.reliability.house.lives import ROOT
from tests.reliability.reading import builder, read_journals, replayed

TENUTO: Final = (sys.executable, "-m", "tenuto")
RUN: Final = "order-1"
STEPS: Final = 9
ENDINGS: Final = (
    (signal.SIGKILL,),
    (signal.SIGKILL,),
    (signal.SIGKILL,),
    (signal.SIGTERM,),
    (signal.SIGINT, signal.SIGINT),
)
LONGEST_SECONDS: Final = 0.75
"""A command is killed at a time up to this; it takes about so long for all its steps."""


async def session(folder: Path, seed: int, kills: int) -> tuple[list[Violation], Counter[str]]:
    """End so many commands that work on one run by force, then let one end by itself.

    Most are killed, some are asked to end, some are asked twice. Return what is wrong, and how many ended how.
    """
    os.makedirs(folder)
    random, calls = Random(seed), []
    counts: Counter[str] = Counter()
    async with Ledger(folder / "ledger.jsonl", Trouble(slow=1.0, slow_seconds=0.03)) as ledger:
        status = None
        for life in range(1, kills + 2):
            seconds = None if life > kills else 0.1 + random.random() * LONGEST_SECONDS
            again = (
                life > 1 and (folder / "x.db").exists() and calls[-1].what == "ok" and random.random() < 0.7
            )
            ending = random.choice(ENDINGS) if seconds is not None else ()
            status = await _command(folder, ledger, life, seconds, ending, calls, resumes=again)
            counts[ended_by(status)] += 1
        evidence = Evidence(
            calls=calls,
            journals=read_journals(folder / "x.db"),
            effects=ledger.effects,
            settled=True,
            replays=replayed(folder / "x.db", builder(work.WORKFLOWS)),
        )
    violations = check(evidence)
    row = evidence.journals[RUN][0]
    if row.outcome != {"output": work.expected("chain", RUN, STEPS)}:
        violations.append(Violation("promise", RUN, f"it is {row.status}: {row.outcome}"))
    return violations, counts


def ended_by(status: int) -> str:
    """Say what a command's exit status tells of its end: one that was over before the signal came was not killed."""
    if status == -signal.SIGKILL:
        return "kills of commands"
    asked = status in (INTERRUPTED, -signal.SIGTERM, -signal.SIGINT)
    return "commands that were asked to end" if asked else "commands that ended by themselves"


async def _command(
    folder: Path,
    ledger: Ledger,
    life: int,
    seconds: float | None,
    ending: tuple[int, ...],
    calls: list[Call],
    *,
    resumes: bool,
) -> int:
    """Run or resume with the command line; after so many seconds send it signals. Return the exit status."""
    place = f"{Path(work.__file__)}:chain"
    verb = ["resume", RUN] if resumes else ["run", place, "--input", f'{{"n": {STEPS}}}', "--id", RUN]
    process = await asyncio.create_subprocess_exec(
        *TENUTO,
        *verb,
        "--db",
        str(folder / "x.db"),
        env={
            **os.environ,
            work.ADDRESS: ledger.address,
            work.LIFE: str(life),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    if not resumes:
        calls.append(_call(life, "invoke"))
    killing = asyncio.create_task(_end_later(process, seconds, ending))
    said = b""
    async for line in process.stderr:
        said += line
        if line.startswith(b"run ") and not resumes and calls[-1].what == "invoke":
            calls.append(_call(life, "ok"))
    status = await process.wait()
    killing.cancel()
    if not resumes and calls[-1].what == "invoke":
        calls.append(_call(life, "info"))
    ended = (0, INTERRUPTED, *(-number for number in ending))
    if status not in ended and not (resumes and b"is over" in said):
        raise AssertionError(f"{' '.join(verb)} ended with {status}: {said.decode(errors='replace')}")
    return status


async def _end_later(
    process: asyncio.subprocess.Process, seconds: float | None, ending: tuple[int, ...]
) -> None:
    if seconds is not None:
        await asyncio.sleep(seconds)
        for number in ending:
            process.send_signal(number)
            await asyncio.sleep(0.005)


def _call(life: int, what: str) -> Call:
    value = {"workflow": "chain", "input": STEPS}
    return Call(client=life, number=1, what=what, verb="start", run=RUN, at=time.time(), value=value)  # type: ignore[arg-type]
