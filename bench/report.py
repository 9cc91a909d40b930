"""Writes `RESULTS.md` from raw results, and lets `bench.plots` draw: nothing in either is written by hand."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.environments import ROOT, CannotInstall, make
from bench.results import OURS, Key, Results, name, spread, told
from bench.targets import FORMER, TARGETS, Target

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
    text = "\n".join(_page(Results(data), plots))
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


def _page(results: Results, plots: Sequence[str]) -> Iterator[str]:
    yield HEAD
    yield from _machine(results)
    yield from _targets("Targets", TARGETS, results)
    yield from _targets("Targets of before", FORMER, results)
    if plots:
        yield "In the plots, what is hatched is no engine, or does not make each step durable; a star means that the table has a note.\n"
    for file in plots:
        yield f"![{file.removesuffix('.svg').replace('-', ' ')}](plots/{file})\n"
    yield "## Side by side\n"
    for work in TITLES:
        for size in results.sizes(work):
            yield from _beside(results, work, size)
    yield "## Tenuto alone\n"
    yield from _alone(results)
    yield "## Who was measured\n"
    yield from _systems(results)


def _machine(results: Results) -> Iterator[str]:
    machine, floors = results.data["machine"], results.data["floors_ms"]
    hours, minutes = divmod(round((results.data["ended"] - results.data["began"]) / 60), 60)
    rounds = max(answer["round"] for answer in results.data["answers"])
    yield "| | |\n| --- | --- |"
    for what, value in (
        ("commit", f"`{machine['commit']}`"),
        ("measured", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(results.data["began"]))),
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
    yield f"## {title}\n"
    yield "| | | asked | measured | |\n| --- | --- | --- | --- | --- |"
    for target in targets:
        measured, verdict = target.judged(results)
        yield f"| {target.letter} | {target.text} | {target.asked()} | {measured} | {verdict} |"
    yield ""


def _beside(results: Results, work: str, size: int) -> Iterator[str]:
    figures = SHOWN[work]
    rows = [row for key in results.keys(work) if (row := _row(results, key, work, size))]
    if not rows:
        return
    compared = NAMES[figures[0]].partition(",")[0]
    yield f"### {TITLES[work].format(size=f'{size:,}')}\n"
    yield f"| | {' | '.join(NAMES[figure] for figure in figures)} | {compared}: Tenuto's Python is better, times | |"
    yield f"| --- |{' --- |' * (len(figures) + 2)}"
    yield from rows
    yield ""


def _row(results: Results, key: Key, work: str, size: int) -> str:
    figures = SHOWN[work]
    answers = results.answers(key, work, size)
    if not answers:
        return ""
    cells = [spread(results.values(key, work, size, figure)) for figure in figures]
    if not any(answer.get("figures") for answer in answers):
        return f"| {name(key)} |{' – |' * (len(figures) + 1)} {_reason(answers)} |"
    more, less = (OURS, key) if figures[0].endswith("_per_second") else (key, OURS)
    ratios = [] if key == OURS else results.ratios(more, less, work, size, figures[0])
    better = told(statistics.median(ratios)) if ratios else ""
    notes = [*results.marks(key), *dict.fromkeys(answer["note"] for answer in answers if answer.get("note"))]
    return f"| {name(key)} | {' | '.join(cells)} | {better} | {'; '.join(notes)} |"


def _reason(answers: Sequence[Mapping[str, Any]]) -> str:
    """Return why there are no figures, in one line."""
    reasons = dict.fromkeys(str(answer.get("reason", "")) for answer in answers)
    return "; ".join(" ".join(reason.split())[-300:].replace("|", "/") for reason in reasons)


def _alone(results: Results) -> Iterator[str]:
    yield "Every figure of every work.\n\n| work | figure | Python | document |\n| --- | --- | --- | --- |"
    for work in results.works():
        for size in results.sizes(work):
            found: dict[str, list[str]] = {}
            for column, mode in enumerate(("code", "document")):
                for answer in results.answers(("tenuto", mode), work, size)[:1]:
                    for figure in answer.get("figures", {}):
                        values = results.values(("tenuto", mode), work, size, figure)
                        found.setdefault(figure, ["", ""])[column] = spread(values)
            for figure, cells in found.items():
                yield f"| {work} {size:,} | `{figure}` | {' | '.join(cells)} |"
    yield ""


def _systems(results: Results) -> Iterator[str]:
    yield "| system, mode | version | what durability rests on, read back | licence | |\n| --- | --- | --- | --- | --- |"
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
        yield f"| {name(key)} | {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"
    for system, reason in results.data["missing"].items():
        yield f"| {system} | not installed | | | {' '.join(reason.split()).replace('|', '/')} |"
    yield ""
