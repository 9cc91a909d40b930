"""Raw results, ready to be asked: medians, ranges, ratios of the same round."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

OURS: Final = ("tenuto", "code")
LIMIT: Final = ("bare", "sqlite")
BEYOND: Final = "beyond its documentation"
NOT_COMPARED: Final = ("no engine", "not durable")
"""Marks of the limit itself, and of what does not make each step durable: shown, but no target is judged against it."""

Key = tuple[str, str]
"""A system and a mode."""

NAMES: Final[Mapping[str, str]] = {
    "tenuto": "Tenuto",
    "bare": "bare limit",
    "dbos": "DBOS",
    "restate": "Restate",
    "temporal": "Temporal",
    "prefect": "Prefect",
    "airflow": "Airflow",
    "celery": "Celery",
    "spiff": "SpiffWorkflow",
}
MODES: Final[Mapping[Key, str]] = {OURS: "Python", ("tenuto", "document"): "YAML"}


class Results:
    """What a run of `make bench` has answered."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self._found: dict[tuple[Key, str, int], dict[int, Mapping[str, Any]]] = {}
        for answer in data["answers"]:
            key = (answer["system"], answer["mode"])
            self._found.setdefault((key, answer["work"], answer["size"]), {})[answer["round"]] = answer

    def answers(self, key: Key, work: str, size: int) -> list[Mapping[str, Any]]:
        """Return what a system answered, in the order of rounds."""
        return list(self._found.get((key, work, size), {}).values())

    def values(self, key: Key, work: str, size: int, figure: str) -> list[float]:
        """Return a figure of every round that has it."""
        answers = self.answers(key, work, size)
        return [answer["figures"][figure] for answer in answers if figure in answer.get("figures", {})]

    def ratios(self, key: Key, other: Key, work: str, size: int, figure: str) -> list[float]:
        """Return how many times one system's figure is another's, round by round."""
        mine, theirs = (self._found.get((one, work, size), {}) for one in (key, other))
        return [
            mine[number]["figures"][figure] / theirs[number]["figures"][figure]
            for number in sorted(mine.keys() & theirs.keys())
            if figure in mine[number].get("figures", {}) and theirs[number].get("figures", {}).get(figure)
        ]

    def keys(self, work: str) -> list[Key]:
        """Return who was given a work, in the order in which they were."""
        return list(dict.fromkeys(key for key, done, _ in self._found if done == work))

    def sizes(self, work: str) -> list[int]:
        """Return in which sizes a work was given, the smallest first."""
        return sorted({size for _, done, size in self._found if done == work})

    def works(self) -> list[str]:
        """Return the works that were given to anybody."""
        return list(dict.fromkeys(work for _, work, _ in self._found))

    def marks(self, key: Key) -> list[str]:
        """Return what a reader must know of a system's figures."""
        told = self.data["systems"].get(key[0], {})
        return [mark for mark in (told.get("mark"), told.get("mode_marks", {}).get(key[1])) if mark]

    def comparable(self, key: Key) -> bool:
        """Whether a system makes each step durable, so that it does the same as Tenuto."""
        return not any(words in mark for mark in self.marks(key) for words in NOT_COMPARED)

    def best(self, systems: Iterable[str], work: str, size: int, figure: str, *, most: bool) -> Key | None:
        """Return which durable mode of these systems, set up as documented, has the best median."""
        wanted = set(systems)
        found = {
            key: statistics.median(values)
            for key in self.keys(work)
            if key[0] in wanted
            and self.comparable(key)
            and BEYOND not in self.marks(key)
            and (values := self.values(key, work, size, figure))
        }
        return (max if most else min)(found, key=found.__getitem__, default=None)

    def peers(self) -> list[str]:
        """Return the other systems."""
        return [
            name
            for name in dict.fromkeys(answer["system"] for answer in self.data["answers"])
            if name != OURS[0]
        ]


def name(key: Key) -> str:
    """Write a system and its mode: `DBOS, sqlite-sync`."""
    system, mode = NAMES.get(key[0], key[0]), MODES.get(key, key[1])
    return f"{system}, {mode}" if mode else system


def told(value: float) -> str:
    """Write a figure with three digits that count, whole above that."""
    if value != value:  # noqa: PLR0124 - not a number
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if abs(value) < 0.1 else f"{value:.3g}"


def spread(values: Sequence[float], unit: str = "") -> str:
    """Write a median and its range: `12,500 (12,100 to 13,000)`."""
    if not values:
        return "–"
    median = told(statistics.median(values)) + unit
    low, high = told(min(values)), told(max(values))
    return median if low == high else f"{median} ({low} to {high})"
