"""Measure Tenuto: one JSON line; `bench.measuring` says what is asked and answered.

    python -m bench.systems.tenuto --work in-flight --size 500 --mode code|document --folder DIR

`code` is a workflow in Python, set up as the reference says: an `App` with a database file, coroutines for workflow and
steps, garbage collected seldom. `document` is the same workflow as a YAML document, whose steps are calls of the function `core.noop`.
The settings that durability rests on are read on the connections that the journal itself opened; in the work `in-flight`,
the syncs of one workflow alone are counted too, by strace.
"""

from __future__ import annotations

import asyncio
import sqlite3
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from bench.fitting import NotApplicable, play
from bench.measuring import Answer, Clock, options
from bench.ours import parts, restart, steps, waiting
from bench.ours.flows import Opened, kept_open
from bench.ours.footprint import footprint
from tenuto import __version__

Figures = tuple[dict[str, float], Clock]

OPENED: Final[Mapping[str, Callable[[asyncio.Runner, Opened, Namespace, Answer], None]]] = {
    "latency": steps.latency,
    "in-flight": steps.in_flight,
    "fan-out": steps.fan_out,
    "payload": steps.payload,
    "long-run": steps.long_run,
    "waiting": waiting.on_timers,
    "waiting-event": waiting.on_events,
    "signals": waiting.signals,
}
ALONE: Final[Mapping[str, Callable[[Path, int], Figures]]] = {
    "footprint": footprint,
    "store": parts.store,
    "expressions": parts.evaluation,
    "resume": parts.resuming,
}
TAKEN_UP: Final[Mapping[str, Callable[[Path, str, int], tuple[dict[str, float], Clock, str]]]] = {
    "restart": restart.killed,
    "replay": restart.replay,
}
NOT_IN_DOCUMENTS: Final[Mapping[str, str]] = {
    "fan-out": "the language's `for` takes one item after the other, and `fork` has as many branches as are written down",
    "signals": "documents hear events, which go to all who listen, not signals to one run",
    "replay": "a document goes on from its stored state; its journal is not replayed",
}


def work(given: Namespace, answer: Answer) -> None:
    """Do the work that is given: with an App that is open before it begins, or without one."""
    if given.mode == "document" and given.work in NOT_IN_DOCUMENTS:
        raise NotApplicable(NOT_IN_DOCUMENTS[given.work])
    if given.work in OPENED:
        with kept_open(given.folder, given.mode) as (loop, there):
            answer.durability = there.connections.durability()
            OPENED[given.work](loop, there, given, answer)
        return
    if given.work in ALONE:
        answer.figures, clock = ALONE[given.work](given.folder, given.size)
    else:
        found = TAKEN_UP[given.work](given.folder, given.mode, given.size)
        answer.figures, clock, answer.durability = found
    answer.window = clock.window


if __name__ == "__main__":
    works = dict.fromkeys((*OPENED, *TAKEN_UP, *ALONE), work)
    version = f"tenuto {__version__}, SQLite {sqlite3.sqlite_version}"
    play("tenuto", version, works, options(__doc__, ("code", "document"), tuple(works)))
