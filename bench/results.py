"""Raw results, ready to be asked: medians, ranges, ratios of the same round."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bench.measuring import PAYLOAD_RUNS

OURS: Final = ("tenuto", "code")
LIMIT: Final = ("bare", "sqlite")
BEYOND: Final = "beyond its documentation"
NOT_COMPARED: Final = ("no engine", "not durable")
"""Marks of the limit itself, and of what does not make each step durable: shown, but no target is judged against it."""

TALKS: Final = ("client ", "callers ")
"""How marks begin that every system has: how its client talks to it."""

AT_ONCE: Final = ("in-flight", "payload")
"""Works that measure what a system can do with many at once, and its latency instead where it had only few."""

ENOUGH: Final = 0.5
"""So much of what was asked for must have been there at once to be compared."""

FEW: Final = "with so few, latency is measured, not capacity"

REASON_CHARACTERS: Final = 150

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

    def values(self, key: Key, work: str, size: int, figure: str, least: float = 0) -> list[float]:
        """Return a figure of every round that has it, and had so many at `least`; `failed` tells of the others."""
        return [
            figures[figure]
            for answer in self.answers(key, work, size)
            if figure in (figures := _figures(answer)) and _had(answer)[0] >= least
        ]

    def had(self, key: Key, work: str, size: int, least: float = 0) -> str:
        """Return how many there were in the rounds that have figures, and so many at `least`: `168 to 197`."""
        found = [_had(answer)[0] for answer in self.answers(key, work, size) if _figures(answer)]
        return _range([one for one in found if one >= least])

    def measured(self) -> list[list[Mapping[str, Any]]]:
        """Return the answers that have figures: those of one system, mode, work and size together."""
        found = ([one for one in rounds.values() if _figures(one)] for rounds in self._found.values())
        return [answers for answers in found if answers]

    def ratios(self, key: Key, other: Key, work: str, size: int, figure: str) -> list[float]:
        """Return how many times one system's figure is another's, round by round.

        Where one of them did less than the other only figures of each second or step can be compared, and no round in which one
        had too few at once.
        """
        mine, theirs = (self._found.get((one, work, size), {}) for one in (key, other))
        return [
            _figures(mine[number])[figure] / _figures(theirs[number])[figure]
            for number in sorted(mine.keys() & theirs.keys())
            if figure in _figures(mine[number])
            and _figures(theirs[number]).get(figure)
            and not (_few(mine[number]) or _few(theirs[number]))
            and (_of_each(figure) or _done(mine[number]) == _done(theirs[number]))
        ]

    def failed(self, key: Key, work: str, size: int, figure: str = "") -> str:
        """Return which rounds have no figures and why: `2 of 3 rounds failed: a lost result`; only why if all have none."""
        answers = self.answers(key, work, size)
        bad = [one for one in answers if not (figure in _figures(one) if figure else _figures(one))]
        reasons = dict.fromkeys(_reason(one) or f"no figure {figure}".strip() for one in bad)
        if len(bad) < len(answers):
            reasons = dict.fromkeys(reason.removeprefix("it failed: ") for reason in reasons)
        many = f"{len(bad)} of {len(answers)} rounds failed: " if len(bad) < len(answers) else ""
        return many + "; ".join(reasons) if bad else ""

    def less(self, key: Key, work: str, size: int) -> str:
        """Return how much was done where it is less than was asked for: `3,000 of 100,000`."""
        done = [_done(answer) for answer in self.answers(key, work, size) if _figures(answer)]
        return "; ".join(_merged([f"{one:,} of {size:,}" for one in done if one != size]))

    def notes(self, key: Key, work: str, size: int) -> list[str]:
        """Return what a reader must know of a system's figures of one work, and how its client talks to it."""
        short = [part.partition(":")[0] for mark in self.marks(key) for part in mark.split("; ")]
        answers = self.answers(key, work, size)
        own = [str(answer["note"]) for answer in answers if answer.get("note")]
        there = [answer for answer in answers if _figures(answer)]
        told = [
            *dict.fromkeys(short),
            self.failed(key, work, size),
            self.less(key, work, size),
            *_merged(own),
            f"rounds differ in size: {self.had(key, work, size)}" if _differ(there) else "",
            FEW if any(map(_few, there)) else "",
        ]
        return [note for note in told if note]

    def caveats(self, key: Key, work: str, size: int) -> list[str]:
        """Return those of the notes that limit what the figures say."""
        return [note for note in self.notes(key, work, size) if not note.startswith(TALKS)]

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

    def rivals(self, systems: Sequence[str], work: str, size: int, modes: str = "") -> list[Key]:
        """Return the durable modes, set up as documented, that were given a work; of some systems, or of all others.

        With `modes` only those whose name begins so.
        """
        return [
            key
            for key in self.keys(work)
            if key[0] in (systems or self.peers())
            and key[1].startswith(modes)
            and self.comparable(key)
            and BEYOND not in self.marks(key)
            and self.answers(key, work, size)
        ]

    def best(self, rivals: Iterable[Key], work: str, size: int, figure: str, *, most: bool) -> Key | None:
        """Return which of these has the best median."""
        found = {
            key: statistics.median(values)
            for key in rivals
            if (values := self.values(key, work, size, figure))
        }
        return (max if most else min)(found, key=found.__getitem__, default=None)

    def peers(self) -> list[str]:
        """Return the other systems whose steps are durable, also those that were not measured."""
        return [name for name in self.data["systems"] if name != OURS[0] and self.comparable((name, ""))]


def _figures(answer: Mapping[str, Any]) -> Mapping[str, float]:
    """Return the figures of an answer; one with a reason has none that count."""
    found: Mapping[str, float] = {} if answer.get("reason") else answer.get("figures", {})
    return found


def _done(answer: Mapping[str, Any]) -> int:
    """Return how many were done, of `size` asked for; runs one after the other are a figure."""
    done: int = answer.get("done", answer["size"])
    return min(done, int(_figures(answer).get("runs", done))) if answer["work"] == "latency" else done


def _had(answer: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many there were, and how many were asked for; of workflows at once the note tells it."""
    found = re.match(r"([\d,]+) at once; ([\d,]+) would ", str(answer.get("note") or ""))
    if found is None:
        return (PAYLOAD_RUNS,) * 2 if answer["work"] == "payload" else (_done(answer), answer["size"])
    had, asked = (int(number.replace(",", "")) for number in found.groups())
    return had, asked


def _few(answer: Mapping[str, Any]) -> bool:
    """Whether too few were there at once to be compared with what had them all."""
    had, asked = _had(answer)
    return answer["work"] in AT_ONCE and had < asked * ENOUGH


def _differ(answers: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rounds differ in size for another reason than that each had as many as fitted into the same time."""
    sizes = [_had(answer) for answer in answers]
    notes = [str(answer.get("note") or "") for answer in answers]
    kinds = {
        (had >= asked, note.removeprefix(f"{had:,} at once"))
        for (had, asked), note in zip(sizes, notes, strict=True)
    }
    return len({had for had, _ in sizes}) > 1 and len(kinds) > 1


def _of_each(figure: str) -> bool:
    """Whether a figure means the same however many were done: of a second, a step, or one workflow alone."""
    return figure.endswith("_per_second") or "us_per_step" in figure or figure in ("p50_ms", "p99_ms")


def _reason(answer: Mapping[str, Any]) -> str:
    """Return why there are no figures, in one line: of a traceback only its end."""
    lines = str(answer.get("reason") or "").strip().splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  ")]
    after = lines[frames[-1] + 1 :] if frames else []
    text = " ".join(["it failed:", *after] if after else lines)
    text = " ".join(text.split())
    return text if len(text) <= REASON_CHARACTERS else f"{text[:REASON_CHARACTERS]} ..."


def _merged(notes: Iterable[str]) -> list[str]:
    """Write notes that differ only in the number that they begin with as one: `34 to 36 at once`."""
    found: dict[str, list[int]] = {}
    for note in notes:
        number = re.match(r"[\d,]*\d(?= (of|at once)\b)", note)
        numbers = found.setdefault(note[number.end() :] if number else note, [])
        numbers += [int(number.group().replace(",", ""))] if number else []
    return [_range(numbers) + rest for rest, numbers in found.items()]


def _range(numbers: Sequence[int]) -> str:
    """Write the least and the most: `34 to 36`."""
    return " to ".join(f"{one:,}" for one in sorted({min(numbers), max(numbers)})) if numbers else ""


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


def spread(values: Sequence[float], unit: str = "", rounds: int = 0) -> str:
    """Write a median and its range: `12,500 (12,100 to 13,000)`; and where it rests on fewer rounds than `rounds`, on how many."""
    if not values:
        return "–"
    low, high = told(min(values)), told(max(values))
    range_ = "" if low == high else f"{low} to {high}"
    few = f"{len(values)} of {rounds} rounds" if len(values) < rounds else ""
    inside = "; ".join(part for part in (range_, few) if part)
    return told(statistics.median(values)) + unit + (f" ({inside})" if inside else "")
