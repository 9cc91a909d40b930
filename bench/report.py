"""Writes `RESULTS.md` from raw results, and lets `bench.plots` draw: nothing in either is written by hand."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.environments import ROOT, CannotInstall, make
from bench.results import MODES, OURS, Key, Results, name, spread, told
from bench.results import NAMES as SHOWN_AS
from bench.targets import DOCUMENT, FORMER, TARGETS, Target

NAMES: Final[Mapping[str, str]] = {
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "max_ms": "longest, ms",
    "steps_per_second": "steps/s",
    "cpu_us_per_step": "processor with the client's, µs a step",
    "items_per_second": "items/s",
    "signals_per_second": "signals/s",
    "rss_kb_per_run": "memory, KB a run",
    "disk_kb_per_run": "disk, KB a run",
    "idle_cpu_percent": "processor while idle, %",
    "wake_lag_ms_p50": "lag p50, ms",
    "wake_lag_ms_p99": "lag p99, ms",
    "wake_lag_ms_max": "longest lag, ms",
    "us_per_step_start": "µs a step, first tenth",
    "us_per_step_end": "µs a step, last tenth",
    "steps": "steps",
    "first_progress_seconds": "first progress, s",
    "all_over_seconds": "all over, s",
    "import_ms": "import of the names used, ms",
    "start_ms": "start, ms",
    "first_result_ms": "first result, ms",
    "installed_mb": "installed, MB",
}

TITLES: Final[Mapping[str, str]] = {
    "latency": "One workflow at a time",
    "in-flight": "{size} workflows at once",
    "fan-out": "One workflow with {size} steps side by side",
    "payload": "Steps that carry {size} bytes, 50 workflows at once",
    "signals": "{size} waiting workflows, each sent a signal",
    "waiting": "{size} workflows that wait for a time",
    "waiting-event": "{size} workflows that wait for a signal or an event",
    "long-run": "One workflow of {size} steps",
    "restart": "Killed with {size} workflows open",
    "footprint": "Before anything is done",
}
"""Works that other systems are given too; the others are Tenuto's own."""

SHOWN: Final[Mapping[str, Sequence[str]]] = {
    "latency": ("p50_ms", "p99_ms", "max_ms"),
    "in-flight": ("steps_per_second", "cpu_us_per_step"),
    "fan-out": ("items_per_second",),
    "payload": ("steps_per_second",),
    "signals": ("signals_per_second",),
    "waiting": (
        "rss_kb_per_run",
        "disk_kb_per_run",
        "idle_cpu_percent",
        "wake_lag_ms_p50",
        "wake_lag_ms_p99",
        "wake_lag_ms_max",
    ),
    "waiting-event": (
        "rss_kb_per_run",
        "disk_kb_per_run",
        "idle_cpu_percent",
        "wake_lag_ms_p99",
        "wake_lag_ms_max",
    ),
    "long-run": ("us_per_step_start", "us_per_step_end", "steps"),
    "restart": ("first_progress_seconds", "all_over_seconds"),
    "footprint": ("first_result_ms", "start_ms", "import_ms", "installed_mb"),
}
"""Figures of the tables, the one that is compared first; those that nobody has are left out."""

LETTERS: Final[Mapping[str, str]] = {
    "a": "one workflow at a time",
    "b": "many at once",
    "d": "workflows that wait",
    "e": "one very long workflow",
    "f": "going on after a kill",
    "g": "start-up and size",
}
"""What the letters of targets stand for."""

CONFIGURED: Final[Sequence[Key]] = (
    ("bare", "file"),
    ("bare", "file-rounds"),
    ("restate", "h2"),
    ("restate", "h2-workers"),
    ("temporal", "sqlite"),
    ("prefect", "sqlite"),
)
"""Who cannot be asked how it syncs: what is told of these is, at least in part, only how they are set up."""

COUNTED: Final = ", by strace"
"""How ends what was counted of durability."""

HEAD: Final = """\
# Results

Written by `make bench`; do not edit. [docs/performance.md](../docs/performance.md) says what the figures mean, where the time goes and what is not
met. Figures are medians, with the range where there was more than one round; machines are noisy: compare ratios of the same run.

A workflow is ten steps, one after the other, unless a title says otherwise. *Python* means a workflow written as a function in Python, *YAML*
one written as a document. *p50* and *p99* are what 50 and 99 % of all do not pass; *steps/s* are steps of all workflows together in a second. The *bare limit*
is no system: a loop that only makes the same bytes durable.
"""


def write(data: Mapping[str, Any], folder: Path, environments: Path) -> None:
    """Write `RESULTS.md` and `plots/` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = _drawn(data, folder / "plots", environments)
    text = "\n".join(page(Results(data), plots))
    (folder / "RESULTS.md").write_text(text.rstrip() + "\n", encoding="utf-8")


def _drawn(data: Mapping[str, Any], folder: Path, environments: Path) -> list[str]:
    """Draw in the environment that has the library for it; return the names of the plots, none if it cannot be had."""
    try:
        environment = make("tools", environments)
    except CannotInstall as reason:
        print(f"no plots: {reason}")
        return []
    done = subprocess.run(
        [environment.command[0], "-m", "bench.plots", str(folder)],
        cwd=ROOT,
        env=dict(environment.env),
        input=json.dumps(data),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.split()


def page(results: Results, plots: Sequence[str]) -> Iterator[str]:
    """Write the page, line by line; `plots` are the names of their files."""
    yield HEAD
    if results.data.get("quick"):
        yield "**A quick run, to see that all of it works: its figures mean nothing.**\n"
    yield from _machine(results)
    yield from _targets("Targets", TARGETS, results)
    yield from _targets("Targets that are older than these", FORMER, results)
    if plots:
        yield "In the plots, what is hatched or dashed is no engine, or does not make each step durable; a star means that the table has a note that limits the figure."
        yield "Nothing is drawn of who had less than half of the workflows in flight that were asked for, or held fewer than 10,000 that wait.\n"
    for file in plots:
        yield f"![{file.removesuffix('.svg').replace('-', ' ')}](plots/{file})\n"
    yield "## Side by side\n"
    yield "The last section says in full what the notes of a system mean. Below 1, Tenuto's Python is worse.\n"
    for work in TITLES:
        for size in results.sizes(work):
            yield from _beside(results, work, size)
    yield "## Tenuto alone\n"
    yield from _alone(results)
    yield "## Who was measured\n"
    yield from _systems(results)


def _machine(results: Results) -> Iterator[str]:
    machine, floors = results.data["machine"], results.data["floors_ms"]
    sittings = results.data["sittings"]
    hours, minutes = divmod(round(sum(one["ended"] - one["began"] for one in sittings) / 60), 60)
    began = [time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(one["began"])) for one in sittings]
    measured = results.measured()
    rounds = sorted({len(answers) for answers in measured})
    each = [one["seconds"] for answers in measured for one in answers]
    given = dict.fromkeys(f"{told(one['seconds'])} s" for one in sittings if "seconds" in one)
    yield "| | |\n| --- | --- |"
    for what, value in (
        ("commit", ", ".join(dict.fromkeys(f"`{one['commit']}`" for one in sittings))),
        ("measured", ", ".join(began)),
        ("took", (f"{hours} h " if hours else "") + f"{minutes} min"),
        ("rounds of a figure", " to ".join(dict.fromkeys(f"{one}" for one in (*rounds[:1], *rounds[-1:])))),
        (
            "each measurement",
            (f"given {' or '.join(given)}; " if given else "")
            + f"with the system's start the shortest took {told(min(each, default=math.nan))} s, the median {told(statistics.median(each or [math.nan]))} s",
        ),
        ("processor", f"{machine['processor']}, {machine['processors']} of them"),
        ("memory", f"{machine['memory_gib']} GiB"),
        ("system", f"{machine['system']}, {machine['file_system']}"),
        ("Python", f"{machine['python']}, SQLite {machine['sqlite']}"),
        (
            "one `fdatasync` after 4 KiB written over",
            spread(floors, " ms") + f", looked at {len(floors)} times",
        ),
    ):
        yield f"| {what} | {value} |"
    yield ""


def _targets(title: str, targets: Sequence[Target], results: Results) -> Iterator[str]:
    lettered = any(target.letter for target in targets)
    yield f"## {title}\n"
    if lettered:
        yield "; ".join(f"{letter}: {meaning}" for letter, meaning in LETTERS.items()) + ".\n"
    yield f"{'| | ' if lettered else '| '}target | asked | measured | verdict |"
    yield "|" + " --- |" * (4 + lettered)
    for target in targets:
        cells = [target.text, target.asked(), *target.judged(results)]
        yield _line([target.letter, *cells] if lettered else cells)
    yield ""


def _line(cells: Iterable[object]) -> str:
    """Write a row of a table; text from elsewhere may hold what would end a cell or a line."""
    return f"| {' | '.join(' '.join(str(cell).split()).replace('|', '/') for cell in cells)} |"


def _beside(results: Results, work: str, size: int) -> Iterator[str]:
    keys = [key for key in results.keys(work) if results.answers(key, work, size)]
    first, *others = SHOWN[work]
    figures = [
        first,
        *(one for one in others if any(results.values(key, work, size, one) for key in keys)),
    ]
    rounds = max(len(results.answers(key, work, size)) for key in keys)
    compared = NAMES[figures[0]].partition(",")[0]
    heads = [NAMES[figure] for figure in figures]
    yield f"### {TITLES[work].format(size=f'{size:,}')}\n"
    yield f"| system, mode | {' | '.join(heads)} | times that Tenuto's Python is better, by {compared} | notes |"
    yield f"| --- |{' --- |' * (len(figures) + 2)}"
    for key in keys:
        yield _row(results, key, work, size, figures, rounds)
    yield ""


def _row(results: Results, key: Key, work: str, size: int, figures: Sequence[str], rounds: int) -> str:
    """Write a system's figures; where one rests on fewer rounds than the table has, it says on how many."""
    cells = [spread(results.values(key, work, size, figure), rounds=rounds) for figure in figures]
    more, less = (OURS, key) if figures[0].endswith("_per_second") else (key, OURS)
    ratios = [] if key == OURS else results.ratios(more, less, work, size, figures[0])
    better = told(statistics.median(ratios)) if ratios else ""
    if 0 < len(ratios) < rounds:
        better += f" ({len(ratios)} of {rounds} rounds)"
    return _line([name(key), *cells, better, "; ".join(results.notes(key, work, size))])


def _alone(results: Results) -> Iterator[str]:
    yield "Every figure of every work.\n"
    yield "| work | figure | Python | YAML | notes |\n| --- | --- | --- | --- | --- |"
    for work in results.works():
        for size in results.sizes(work):
            yield from _every_figure(results, work, size)
    yield ""


def _every_figure(results: Results, work: str, size: int) -> Iterator[str]:
    keys = (OURS, DOCUMENT)
    rounds = max(len(results.answers(key, work, size)) for key in keys)
    notes = "; ".join(f"{MODES[key]}: {note}" for key in keys for note in results.caveats(key, work, size))
    names = dict.fromkeys(
        figure
        for key in keys
        for answer in results.answers(key, work, size)
        for figure in answer.get("figures", {})
    )
    for figure in names or ([""] if notes else []):
        cells = [
            spread(values, rounds=rounds) if (values := results.values(key, work, size, figure)) else ""
            for key in keys
        ]
        yield _line([f"{work} {size:,}", f"`{figure}`" if figure else "–", *cells, notes])
        notes = ""


def _systems(results: Results) -> Iterator[str]:
    yield "*Read back* is what the running system answers, *configured* what it is set to where it cannot be asked, *counted* the calls that had the disk sync.\n"
    yield "| system, mode | version | what durability rests on | licence | notes |\n| --- | --- | --- | --- | --- |"
    answers: dict[Key, list[Mapping[str, Any]]] = {}
    for one in results.data["answers"]:
        answers.setdefault((one["system"], one["mode"]), []).append(one)
    for key, some in answers.items():
        answer = min(some, key=_says_less)
        licence = results.data["systems"].get(key[0], {}).get("licence", "")
        cells = (
            answer.get("version", ""),
            _rests_on(key, answer.get("durability", "")),
            licence,
            "; ".join(results.marks(key)),
        )
        yield _line([name(key), *cells])
    for system, reason in results.data["missing"].items():
        yield _line([SHOWN_AS.get(system, system), "not installed", "", "", reason])
    yield ""


def _says_less(answer: Mapping[str, Any]) -> int:
    """Order answers by what they say of durability: what was counted first, nothing last."""
    durability = answer.get("durability", "")
    return 0 if durability.endswith(COUNTED) else 1 if durability else 2


def _rests_on(key: Key, durability: str) -> str:
    """Say of each part of what a system's durability rests on how it is known."""
    if not durability:
        return ""
    settings, _, counted = (
        durability.rpartition("; ") if durability.endswith(COUNTED) else (durability, "", "")
    )
    known = f"{'configured' if key in CONFIGURED else 'read back'}: {settings}"
    return f"{known}; counted: {counted}" if counted else known
