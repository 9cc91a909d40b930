"""Draws raw results as SVG files: `python -m bench.plots FOLDER < results.json`, in an environment that has matplotlib.

Each file is right on light and on dark pages: colours that stand for text, lines and the page itself are changed by a style
sheet inside of it. The same results give the same bytes.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.results import ENOUGH, NAMES, OURS, Key, Results, name, told

PAGE, TEXT, LINE = "#fdfdfc", "#1f2329", "#d5d8dc"
DARK: Final = {PAGE: "#0d1117", TEXT: "#e6edf3", LINE: "#30363d"}
COLOURS: Final[Mapping[str, str]] = {
    "tenuto": "#c2410c",
    "bare": "#8b949e",
    "dbos": "#2f6fdd",
    "restate": "#7c4ddb",
    "temporal": "#0f9d8a",
    "prefect": "#5b8c2a",
    "airflow": "#b08900",
    "celery": "#c0407f",
    "spiff": "#6b7280",
}
WIDTH: Final = 8.0
ROW: Final = 0.34
FEW_DECADES: Final = 300
WAITING_MIN: Final = 10_000
"""What each of fewer workflows takes is mostly what the system takes."""


def bars(
    results: Results, work: str, size: int, figure: str, label: str, *, most: bool, least: int = 0
) -> Callable[[], None] | None:
    """Draw one bar for each system and mode, the best at the top, on a logarithmic scale; below, who has none, and why.

    One that had not so many workflows at `least` has none; the others are labelled with how many they had.
    """
    keys = [key for key in results.keys(work) if results.answers(key, work, size)]
    found = {
        key: statistics.median(values)
        for key in keys
        if (values := results.values(key, work, size, figure, least))
    }
    above = [value for value in found.values() if value > 0]
    if not above:
        return None
    without = [key for key in keys if key not in found]
    order = without + sorted(found, key=found.__getitem__, reverse=not most)
    left = min(above) / 2.5

    def draw() -> None:
        figure_, axes = pyplot.subplots(figsize=(WIDTH, 1.0 + ROW * len(order)))
        axes.set_xscale("log")
        for row, key in enumerate(order):
            value = found.get(key, 0.0)
            if value > 0:
                axes.barh(
                    row,
                    value,
                    height=0.62,
                    color=COLOURS.get(key[0], TEXT),
                    hatch=None if results.comparable(key) else "///",
                    edgecolor=PAGE,
                    linewidth=0,
                )
            axes.annotate(
                told(value) if key in found else _without(results, key, work, size, figure),
                (max(value, left), row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                bbox={"facecolor": PAGE, "edgecolor": "none", "pad": 0.6},
            )
        names = [
            labelled(results, key, work, [size])
            + (f": {results.had(key, work, size, least)}" if least and key in found else "")
            for key in order
        ]
        axes.set_yticks(range(len(order)), names)
        axes.set_ylim(-0.6, len(order) - 0.4)
        axes.set_xlim(left, max(above) * 2.5)
        finish(axes, f"{label}; logarithmic scale", grid="x")
        figure_.tight_layout()

    return draw


def _without(results: Results, key: Key, work: str, size: int, figure: str) -> str:
    """Say why there is no bar."""
    had = results.had(key, work, size) if results.values(key, work, size, figure) else ""
    return f"not compared: had {had} of {size:,}" if had else "no figures"


def lines(results: Results, work: str, figure: str, label: str, below: str) -> Callable[[], None] | None:
    """Draw one line for each system over those sizes of a work of which it had enough, both scales logarithmic."""
    sizes = results.sizes(work)
    best = _fastest(results, work, figure)
    if not best:
        return None
    without = [NAMES.get(system, system) for system, (_, points) in best.items() if len(points) < 2]

    def draw() -> None:
        figure_, axes = pyplot.subplots(figsize=(WIDTH, 4.6))
        ends = []
        for system, (key, points) in best.items():
            if len(points) < 2:
                continue
            across, up = zip(*points, strict=True)
            colour, text = COLOURS.get(system, TEXT), labelled(results, key, work, sizes)
            style = "-" if results.comparable(key) else "--"
            axes.plot(across, up, style, marker="o", markersize=4, color=colour)
            ends.append((across[-1], up[-1], text, colour))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
        _end_labels(axes, ends, sizes[-1])
        finish(axes, f"{below}; both scales logarithmic", grid="y")
        title = label + (f"\nwithout two sizes to compare: {', '.join(without)}" if without else "")
        axes.set_title(title, loc="left", fontsize=10, color=TEXT)
        figure_.subplots_adjust(left=0.09, right=0.72, top=0.9, bottom=0.13)

    return draw


def _fastest(results: Results, work: str, figure: str) -> dict[str, tuple[Key, list[tuple[int, float]]]]:
    """Return each system's fastest mode of those that were given more than one size, and its points; Tenuto's is Python."""
    best: dict[str, tuple[Key, list[tuple[int, float]]]] = {}
    for key in results.keys(work):
        given = [size for size in results.sizes(work) if results.answers(key, work, size)]
        points = [
            (size, statistics.median(values))
            for size in given
            if (values := results.values(key, work, size, figure, size * ENOUGH))
        ]
        there = best.get(key[0])
        if len(given) > 1 and (there is None or (there[0] != OURS and _rank(points) > _rank(there[1]))):
            best[key[0]] = key, points
    return best


def _rank(points: Sequence[tuple[int, float]]) -> tuple[int, float]:
    return len(points), points[-1][1] if points else 0.0


def _end_labels(axes: Axes, ends: Sequence[tuple[int, float, str, str]], last: int) -> None:
    """Write each line's name beside its end, moved apart where two would overlap."""
    low, high = axes.get_ylim()
    low, high = low / 1.2, high * 1.2
    axes.set_ylim(low, high)
    apart = (high / low) ** (1 / 19)
    at = 0.0
    for across, value, text, colour in sorted(ends, key=lambda end: end[1]):
        at = max(value, at * apart)
        axes.annotate(
            text,
            (across, value),
            xytext=(last * 1.45, at),
            va="center",
            fontsize=9,
            color=colour,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": LINE, "linewidth": 0.8, "relpos": (0, 0.5)},
        )


def finish(axes: Axes, label: str, grid: str) -> None:
    """Give axes their labels, a quiet grid and plain numbers."""
    axes.set_xlabel(label, fontsize=10)
    axes.grid(axis=grid, color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="both", which="both", length=0)
    scale, (low, high) = (axes.xaxis, axes.get_xlim()) if grid == "x" else (axes.yaxis, axes.get_ylim())
    # Over few decades their powers of ten alone would be hardly a scale.
    scale.set_major_locator(LogLocator(subs=(1.0,) if high / low > FEW_DECADES else (1.0, 2.0, 5.0)))
    scale.set_major_formatter(FuncFormatter(lambda value, _: told(value)))
    scale.set_minor_formatter(NullFormatter())


def labelled(results: Results, key: Key, work: str, sizes: Sequence[int]) -> str:
    """Return what a system is called in a plot; the table says what limits the figures of those with a star."""
    noted = results.comparable(key) and any(results.caveats(key, work, size) for size in sizes)
    return name(key) + (" *" if noted else "")


PLOTS: Final[Mapping[str, Callable[[Results], Callable[[], None] | None]]] = {
    "steps-per-second-500-in-flight": lambda results: bars(
        results,
        "in-flight",
        500,
        "steps_per_second",
        "steps/s, with so many workflows in flight; more is better",
        most=True,
        least=int(500 * ENOUGH),
    ),
    "steps-per-second-by-workflows-in-flight": lambda results: lines(
        results,
        "in-flight",
        "steps_per_second",
        "steps/s, each system's fastest mode of those given several sizes; more is better",
        "workflows of ten steps in flight",
    ),
    "latency-of-one-workflow": lambda results: bars(
        results,
        "latency",
        300,
        "p50_ms",
        "milliseconds for one workflow of ten steps, p50; less is better",
        most=False,
    ),
    "processor-time-per-step": lambda results: bars(
        results,
        "in-flight",
        500,
        "cpu_us_per_step",
        "µs of processor time a step, client included; less is better",
        most=False,
        least=int(500 * ENOUGH),
    ),
    "memory-of-a-waiting-workflow": lambda results: bars(
        results,
        "waiting",
        100_000,
        "rss_kb_per_run",
        "KB of memory for each of so many that wait; less is better",
        most=False,
        least=WAITING_MIN,
    ),
}


def save(path: Path) -> None:
    """Write the figure that was drawn last, for light and dark pages."""
    pyplot.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close()
    text = path.read_text(encoding="utf-8")
    rules = "".join(
        f'[style*="{kind}: {colour}"] {{ {kind}: {dark} !important }} '
        for colour, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark) {{ {rules}}}</style>"
    text = text.replace("<defs>", f"{style}\n <defs>", 1)
    path.write_text(re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE), encoding="utf-8")


def main() -> None:
    """Draw everything for which there are figures; print the names of the files."""
    data: Any = json.load(sys.stdin)
    results, folder = Results(data), Path(sys.argv[1])
    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {
            "svg.hashsalt": "tenuto",
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
            "figure.facecolor": PAGE,
            "axes.facecolor": PAGE,
            "hatch.color": PAGE,
            "hatch.linewidth": 1.0,
            **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), TEXT),
            "axes.edgecolor": LINE,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for named, make in PLOTS.items():
        draw = make(results)
        if draw is not None:
            draw()
            save(folder / f"{named}.svg")
            print(f"{named}.svg")


if __name__ == "__main__":
    main()
