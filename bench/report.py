"""Writes `RESULTS.md` from raw results, and lets `bench.plots` draw: nothing in either is written by hand."""

from __future__ import annotations

import json
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
    "steps_per_second": "steps/s",
    "cpu_us_per_step": "processor, µs a step",
    "items_per_second": "items/s",
    "signals_per_second": "signals/s",
    "rss_kb_per_run": "memory, KB a run",
    "disk_kb_per_run": "disk, KB a run",
    "idle_cpu_percent": "processor while idle, %",
    "wake_lag_ms_p50": "lag p50, ms",
    "wake_lag_ms_p99": "lag p99, ms",
    "us_per_step_start": "µs a step, first tenth",
    "us_per_step_end": "µs a step, last tenth",
    "steps": "steps",
    "first_progress_seconds": "first progress, s",
    "all_over_seconds": "all over, s",
    "import_ms": "import, ms",
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
    "latency": ("p50_ms", "p99_ms"),
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
    ),
    "waiting-event": ("rss_kb_per_run", "disk_kb_per_run", "idle_cpu_percent", "wake_lag_ms_p99"),
    "long-run": ("us_per_step_start", "us_per_step_end", "steps"),
    "restart": ("first_progress_seconds", "all_over_seconds"),
    "footprint": ("import_ms", "start_ms", "first_result_ms", "installed_mb"),
}
"""Figures of the tables, the one that is compared first."""

HEAD: Final = """\
# Results

Written by `make bench`; do not edit. [docs/performance.md](../docs/performance.md) says what the figures mean, where the time goes and what is not
met. Figures are medians, with the range where there was more than one round; machines are noisy: compare ratios of the same run.
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
    yield from _targets("Targets of before", FORMER, results)
    if plots:
        yield "In the plots, what is hatched or dashed is no engine, or does not make each step durable; a star means that the table has a note that limits the figure.\n"
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
    rounds = max(answer["round"] for answer in results.data["answers"])
    yield "| | |\n| --- | --- |"
    for what, value in (
        ("commit", ", ".join(dict.fromkeys(f"`{one['commit']}`" for one in sittings))),
        ("measured", ", ".join(began)),
        ("took", (f"{hours} h " if hours else "") + f"{minutes} min, {rounds} round{'s' * (rounds > 1)}"),
        ("processor", f"{machine['processor']}, {machine['processors']} of them"),
        ("memory", f"{machine['memory_gib']} GiB"),
        ("system", f"{machine['system']}, {machine['file_system']}"),
        ("Python", f"{machine['python']}, SQLite {machine['sqlite']}"),
        ("one `fdatasync` after 4 KiB", spread(floors, " ms") + f", looked at {len(floors)} times"),
    ):
        yield f"| {what} | {value} |"
    yield ""


def _targets(title: str, targets: Sequence[Target], results: Results) -> Iterator[str]:
    lettered = any(target.letter for target in targets)
    yield f"## {title}\n"
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
    figures = SHOWN[work]
    keys = [key for key in results.keys(work) if results.answers(key, work, size)]
    rounds = max(len(results.answers(key, work, size)) for key in keys)
    compared = NAMES[figures[0]].partition(",")[0]
    heads = [NAMES[figure] for figure in figures]
    yield f"### {TITLES[work].format(size=f'{size:,}')}\n"
    yield f"| system, mode | {' | '.join(heads)} | times that Tenuto's Python is better, by {compared} | notes |"
    yield f"| --- |{' --- |' * (len(figures) + 2)}"
    for key in keys:
        yield _row(results, key, work, size, rounds)
    yield ""


def _row(results: Results, key: Key, work: str, size: int, rounds: int) -> str:
    """Write a system's figures; where one rests on fewer rounds than the table has, it says on how many."""
    figures = SHOWN[work]
    cells = [spread(results.values(key, work, size, figure), rounds=rounds) for figure in figures]
    more, less = (OURS, key) if figures[0].endswith("_per_second") else (key, OURS)
    ratios = [] if key == OURS else results.ratios(more, less, work, size, figures[0])
    better = told(statistics.median(ratios)) if ratios else ""
    if 0 < len(ratios) < rounds:
        better += f" ({len(ratios)} of {rounds} rounds)"
    return _line([name(key), *cells, better, "; ".join(results.notes(key, work, size))])


def _alone(results: Results) -> Iterator[str]:
    yield "Every figure of every work.\n"
    yield "| work | figure | Python | document | notes |\n| --- | --- | --- | --- | --- |"
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
    yield "| system, mode | version | what durability rests on, read back | licence | notes |\n| --- | --- | --- | --- | --- |"
    seen: dict[Key, Mapping[str, Any]] = {}
    for answer in sorted(results.data["answers"], key=lambda answer: not answer.get("durability")):
        seen.setdefault((answer["system"], answer["mode"]), answer)
    for key, answer in seen.items():
        licence = results.data["systems"].get(key[0], {}).get("licence", "")
        cells = (
            answer.get("version", ""),
            answer.get("durability", ""),
            licence,
            "; ".join(results.marks(key)),
        )
        yield _line([name(key), *cells])
    for system, reason in results.data["missing"].items():
        yield _line([SHOWN_AS.get(system, system), "not installed", "", "", reason])
    yield ""
