"""What Tenuto's speed is held to, and whether it is met."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.results import BEYOND, LIMIT, OURS, Results, spread, told

DOCUMENT: Final = ("tenuto", "document")


@dataclass(frozen=True, slots=True)
class Target:
    """One bound: `values` finds what was measured, which must be at most, or at least, the bound in the median."""

    letter: str
    text: str
    bound: float
    most: bool
    values: Callable[[Results], Sequence[float]]
    unit: str = ""

    def asked(self) -> str:
        """Write the bound."""
        return f"at {'most' if self.most else 'least'} {told(self.bound)}{self.unit}"

    def judged(self, results: Results) -> tuple[str, str]:
        """Write what was measured, and `met`, `missed` or `not measured`."""
        values = self.values(results)
        if not values:
            return "–", "not measured"
        median = statistics.median(values)
        met = median <= self.bound if self.most else median >= self.bound
        return spread(values, self.unit), "met" if met else "**missed**"


def _figure(key: tuple[str, str], work: str, size: int, figure: str) -> Callable[[Results], Sequence[float]]:
    return lambda results: results.values(key, work, size, figure)


def _times(
    systems: Sequence[str] | None, work: str, size: int, figure: str, *, most: bool
) -> Callable[[Results], Sequence[float]]:
    """Return how many times better Tenuto's code is than the best documented mode of some systems, or of all peers."""

    def values(results: Results) -> Sequence[float]:
        best = results.best(systems or results.peers(), work, size, figure, most=most)
        if best is None:
            return []
        ours, theirs = (OURS, best) if most else (best, OURS)
        return results.ratios(ours, theirs, work, size, figure)

    return values


def _grown(key: tuple[str, str], size: int) -> Callable[[Results], Sequence[float]]:
    def values(results: Results) -> Sequence[float]:
        ends = (results.values(key, "long-run", size, f"us_per_step_{end}") for end in ("start", "end"))
        return [end / start for start, end in zip(*ends, strict=True)]

    return values


def _dbos_on_sqlite(results: Results) -> Sequence[float]:
    """Compare with the fastest of DBOS's documented set-ups on SQLite, not with those on PostgreSQL."""
    found = [
        results.ratios(OURS, key, "in-flight", 500, "steps_per_second")
        for key in results.keys("in-flight")
        if key[0] == "dbos" and key[1].startswith("sqlite") and BEYOND not in results.marks(key)
    ]
    return min((ratios for ratios in found if ratios), key=statistics.median, default=[])


def _of_limit(results: Results) -> Sequence[float]:
    return results.ratios(OURS, LIMIT, "in-flight", 500, "steps_per_second")


def _waiting(key: tuple[str, str], what: str) -> list[Target]:
    work = "waiting" if what == "a timer" else "waiting-event"
    name = f"100,000 runs that wait for {what} ({key[1]})"
    found = [
        Target(
            "d",
            f"{name}: memory of each beyond its row",
            1.5,
            True,
            _figure(key, work, 100_000, "rss_kb_per_run"),
            " KB",
        ),
        Target(
            "d",
            f"{name}: processor while idle",
            1.0,
            True,
            _figure(key, work, 100_000, "idle_cpu_percent"),
            " %",
        ),
    ]
    if (key, what) != (DOCUMENT, "an event"):
        lag = _figure(key, work, 100_000, "wake_lag_ms_p99")
        found.append(Target("d", f"{name}: lag p99", 100.0, True, lag, " ms"))
    return found


TARGETS: Final[Sequence[Target]] = (
    Target(
        "a",
        "one run of 10 steps, against 12 `fdatasync` calls (code)",
        2.5,
        True,
        _figure(OURS, "latency", 300, "ratio"),
        " times",
    ),
    Target("a", "the same (document)", 2.5, True, _figure(DOCUMENT, "latency", 300, "ratio"), " times"),
    Target(
        "a",
        "p50 of the fastest other system, against Tenuto's",
        1.0,
        False,
        _times(None, "latency", 300, "p50_ms", most=False),
        " times",
    ),
    Target(
        "b",
        "steps/s, 500 in flight (code)",
        20_000,
        False,
        _figure(OURS, "in-flight", 500, "steps_per_second"),
    ),
    Target(
        "b",
        "steps/s, 500 in flight (document)",
        12_000,
        False,
        _figure(DOCUMENT, "in-flight", 500, "steps_per_second"),
    ),
    Target("b", "against DBOS on SQLite", 50, False, _dbos_on_sqlite, " times"),
    Target(
        "b",
        "against Restate",
        15,
        False,
        _times(["restate"], "in-flight", 500, "steps_per_second", most=True),
        " times",
    ),
    Target("b", "of the bare limit on SQLite", 0.25, False, _of_limit),
    *_waiting(OURS, "a timer"),
    *_waiting(OURS, "an event"),
    *_waiting(DOCUMENT, "a timer"),
    *_waiting(DOCUMENT, "an event"),
    Target(
        "e", "1,000,000 steps: last tenth against first (code)", 1.1, True, _grown(OURS, 1_000_000), " times"
    ),
    Target(
        "e",
        "1,000,000 steps: last tenth against first (document)",
        1.1,
        True,
        _grown(DOCUMENT, 1_000_000),
        " times",
    ),
    Target(
        "f",
        "100,000 open runs: first progress (code)",
        3,
        True,
        _figure(OURS, "restart", 100_000, "first_progress_seconds"),
        " s",
    ),
    Target(
        "f",
        "100,000 open runs: first progress (document)",
        3,
        True,
        _figure(DOCUMENT, "restart", 100_000, "first_progress_seconds"),
        " s",
    ),
    Target("g", "base install", 40, True, _figure(OURS, "footprint", 1, "installed_mb"), " MB"),
    Target("g", "`import tenuto`", 100, True, _figure(OURS, "footprint", 1, "import_ms"), " ms"),
    Target(
        "g",
        "`from tenuto import App, Signal, step, workflow`",
        100,
        True,
        _figure(OURS, "footprint", 1, "import_names_ms"),
        " ms",
    ),
)
"""Those of the speed programme, by its letters."""

FORMER: Final[Sequence[Target]] = (
    Target("", "whole process `tenuto --help`", 150, True, _figure(OURS, "footprint", 1, "help_ms"), " ms"),
    Target(
        "", "whole process `tenuto validate`", 300, True, _figure(OURS, "footprint", 1, "validate_ms"), " ms"
    ),
    Target(
        "",
        "whole process `tenuto run` of one step",
        400,
        True,
        _figure(OURS, "footprint", 1, "run_ms"),
        " ms",
    ),
    Target(
        "",
        "10,000 runs under way at `kill -9`: first progress",
        2,
        True,
        _figure(DOCUMENT, "restart", 10_000, "first_progress_seconds"),
        " s",
    ),
    Target(
        "",
        "and all of them over, 100,000 steps",
        15,
        True,
        _figure(DOCUMENT, "restart", 10_000, "all_over_seconds"),
        " s",
    ),
    Target(
        "",
        "replay of a run in Python of 100,000 steps, recorded steps/s",
        200_000,
        False,
        _figure(OURS, "replay", 100_000, "replayed_steps_per_second"),
    ),
    Target(
        "",
        "`each` over 10,000 items, items/s",
        10_000,
        False,
        _figure(OURS, "fan-out", 10_000, "items_per_second"),
    ),
    Target(
        "",
        "the slowest of the commonest expressions, in process",
        1,
        True,
        _figure(OURS, "expressions", 5, "common_us_max"),
        " µs",
    ),
)
"""Those that were set before."""
