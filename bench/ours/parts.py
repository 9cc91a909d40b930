"""Works of single parts: the store alone, expressions alone, going on from a stored state."""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path

from bench import commit_floor, expressions, resume
from bench.measuring import Clock, timed

STORE_ROUNDS = 3


def store(folder: Path, life: int) -> tuple[dict[str, float], Clock]:
    """Let callers wait each for their own commit, of runs with so many entries."""
    with timed() as clock:
        return commit_floor.measure(folder, STORE_ROUNDS, life), clock


def evaluation(_: Path, rounds: int) -> tuple[dict[str, float], Clock]:
    """Evaluate expressions in process, in a child, and with the jq package."""
    with timed() as clock:
        rows = asyncio.run(expressions.measure(rounds))
    common = [row for row in rows if row["common"]]
    first = [row["first"] for row in common]
    return {
        "common_us": statistics.median(first),
        "common_us_max": max(first),
        "second_lane_us": statistics.median(row["second"] for row in common),
        "jq_package_us": statistics.median(row["package"] for row in common),
    }, clock


def resuming(_: Path, events: int) -> tuple[dict[str, float], Clock]:
    """Resume a document's run from its stored state, and by folding its whole journal."""
    with timed() as clock:
        return resume.compare(events), clock
