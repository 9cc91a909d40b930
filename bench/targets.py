"""What Tenuto's speed is held to, and whether it is met."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.results import LIMIT, MODES, NAMES, OURS, Key, Results, name, spread, told

DOCUMENT: Final = ("tenuto", "document")
WHY: Final = "[why](../docs/performance.md)"


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured for a target: a value for each round, or the reason why it cannot be judged."""

    values: Sequence[float] = ()
    reason: str = ""
    against: str = ""
    """Whom Tenuto is compared with, and who is left out."""
    rounds: int = 0
    """How many rounds there were; fewer values than that are told."""


@dataclass(frozen=True, slots=True)
class Target:
    """One bound: `find` finds what was measured, which must be at most, or at least, the bound in the median.

    Without a bound it only tells more of the one above it, and has no verdict.
    """

    letter: str
    text: str
    bound: float | None
    most: bool
    find: Callable[[Results], Found]
    unit: str = ""

    def asked(self) -> str:
        """Write the bound."""
        if self.bound is None:
            return "–"
        return f"at {'most' if self.most else 'least'} {told(self.bound)}{self.unit}"

    def judged(self, results: Results) -> tuple[str, str]:
        """Write what was measured, and `met`, `missed` or `not measured` with the reason."""
        found = self.find(results)
        if found.reason or not found.values:
            return "–", f"not measured: {found.reason}" if found.reason else "not measured"
        measured = spread(found.values, self.unit, found.rounds)
        return f"{measured}, {found.against}" if found.against else measured, self._verdict(found.values)

    def _verdict(self, values: Sequence[float]) -> str:
        if self.bound is None:
            return "–"
        median = statistics.median(values)
        met = median <= self.bound if self.most else median >= self.bound
        return "met" if met else f"**missed**: {WHY}"


def _spoilt(results: Results, key: Key, work: str, size: int, figure: str) -> str:
    """Return why Tenuto's own figure does not count: a round failed, or less was done than the target says."""
    return results.failed(key, work, size, figure) or results.less(key, work, size)


def _figure(key: Key, work: str, size: int, figure: str) -> Callable[[Results], Found]:
    return lambda results: Found(
        results.values(key, work, size, figure), _spoilt(results, key, work, size, figure)
    )


def _grown(key: Key, size: int) -> Callable[[Results], Found]:
    def find(results: Results) -> Found:
        names = ("us_per_step_start", "us_per_step_end")
        if reason := next(filter(None, (_spoilt(results, key, "long-run", size, one) for one in names)), ""):
            return Found(reason=reason)
        ends = (results.values(key, "long-run", size, one) for one in names)
        return Found([end / start for start, end in zip(*ends, strict=True)])

    return find


def _times(
    systems: Sequence[str], work: str, size: int, figure: str, *, most: bool, modes: str = ""
) -> Callable[[Results], Found]:
    """Find how many times better Tenuto's code is than the best documented mode of some systems, or of all peers."""

    def find(results: Results) -> Found:
        rivals = results.rivals(systems, work, size, modes)
        there = {system for system, _ in rivals}
        absent = [one for one in systems or results.peers() if one not in there]
        return _against(results, rivals, absent, (work, size, figure), most=most)

    return find


def _against(
    results: Results, rivals: Sequence[Key], absent: Sequence[str], what: tuple[str, int, str], *, most: bool
) -> Found:
    """Compare Tenuto's code with the best of its rivals, and say who could not be one."""
    if reason := _spoilt(results, OURS, *what):
        return Found(reason=reason)
    if not results.answers(OURS, *what[:2]):
        return Found()
    failed = [key for key in rivals if not results.values(key, *what)]
    best = results.best(rivals, *what, most=most)
    if best is None:
        reasons = [f"{name(key)}: {results.failed(key, *what)}" for key in failed]
        return Found(
            reason="; ".join([*reasons, *(f"{NAMES.get(one, one)} was not measured" for one in absent)])
        )
    told = [
        f"against {name(best)}",
        *(f"without {name(key)}, which failed" for key in failed),
        *(f"without {NAMES.get(one, one)}, which was not measured" for one in absent),
    ]
    ours, theirs = (OURS, best) if most else (best, OURS)
    return Found(
        results.ratios(ours, theirs, *what),
        against="; ".join(told),
        rounds=len(results.answers(OURS, *what[:2])),
    )


def _of_limit(results: Results) -> Found:
    return _against(results, [LIMIT], [], ("in-flight", 500, "steps_per_second"), most=True)


def _waiting(key: Key, what: str) -> list[Target]:
    work = "waiting" if what == "a timer" else "waiting-event"
    runs = f"100,000 runs that wait for {what} ({MODES[key]})"
    found = [
        Target(
            "d",
            f"{runs}: memory of each beyond its row",
            1.5,
            True,
            _figure(key, work, 100_000, "rss_kb_per_run"),
            " KB",
        ),
        Target(
            "d",
            f"{runs}: processor while idle",
            1.0,
            True,
            _figure(key, work, 100_000, "idle_cpu_percent"),
            " %",
        ),
    ]
    # Documents know no signals: the event goes to all of them at once.
    lag = "lag p99, all by one event" if (key, what) == (DOCUMENT, "an event") else "lag p99"
    late = _figure(key, work, 100_000, "wake_lag_ms_p99")
    return [*found, Target("d", f"{runs}: {lag}", 100.0, True, late, " ms")]


def _over_syncs(key: Key) -> list[Target]:
    """The target is judged against what no sync can have less to do than; a growing file is told beside it."""
    run = f"one run of 10 steps ({MODES[key]}), against eleven `fdatasync`"
    over, growing = (_figure(key, "latency", 300, figure) for figure in ("ratio", "ratio_growing"))
    return [
        Target("a", f"{run} of blocks written over", 2.5, True, over, " times"),
        Target("a", f"{run} of a growing file", None, True, growing, " times"),
    ]


TARGETS: Final[Sequence[Target]] = (
    *_over_syncs(OURS),
    *_over_syncs(DOCUMENT),
    Target(
        "a",
        "p50 of the fastest other system, against Tenuto's",
        1.0,
        False,
        _times([], "latency", 300, "p50_ms", most=False),
        " times",
    ),
    Target(
        "b",
        "steps/s, 500 in flight (Python)",
        20_000,
        False,
        _figure(OURS, "in-flight", 500, "steps_per_second"),
    ),
    Target(
        "b",
        "steps/s, 500 in flight (YAML)",
        12_000,
        False,
        _figure(DOCUMENT, "in-flight", 500, "steps_per_second"),
    ),
    Target(
        "b",
        "the same (Python), against DBOS on SQLite",
        50,
        False,
        _times(["dbos"], "in-flight", 500, "steps_per_second", most=True, modes="sqlite"),
        " times",
    ),
    Target(
        "b",
        "the same (Python), against Restate",
        15,
        False,
        _times(["restate"], "in-flight", 500, "steps_per_second", most=True),
        " times",
    ),
    Target("b", "the same (Python), as a part of the bare limit on SQLite", 0.25, False, _of_limit),
    *_waiting(OURS, "a timer"),
    *_waiting(OURS, "an event"),
    *_waiting(DOCUMENT, "a timer"),
    *_waiting(DOCUMENT, "an event"),
    Target(
        "e",
        "1,000,000 steps: last tenth against first (Python)",
        1.1,
        True,
        _grown(OURS, 1_000_000),
        " times",
    ),
    Target(
        "e",
        "1,000,000 steps: last tenth against first (YAML)",
        1.1,
        True,
        _grown(DOCUMENT, 1_000_000),
        " times",
    ),
    Target(
        "f",
        "100,000 open runs: first progress (Python)",
        3,
        True,
        _figure(OURS, "restart", 100_000, "first_progress_seconds"),
        " s",
    ),
    Target(
        "f",
        "100,000 open runs: first progress (YAML)",
        3,
        True,
        _figure(DOCUMENT, "restart", 100_000, "first_progress_seconds"),
        " s",
    ),
    Target("g", "base install", 40, True, _figure(OURS, "footprint", 1, "installed_mb"), " MB"),
    Target("g", "`import tenuto`", 100, True, _figure(OURS, "footprint", 1, "import_lazy_ms"), " ms"),
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
