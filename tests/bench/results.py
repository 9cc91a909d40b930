"""Raw results that no machine has measured, for tests of what is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.results import Results

SYSTEMS: Mapping[str, Mapping[str, Any]] = {
    "tenuto": {"mark": "", "mode_marks": {}, "licence": "Apache-2.0"},
    "bare": {"mark": "no engine: only appends", "mode_marks": {}, "licence": ""},
    "dbos": {"mark": "", "mode_marks": {"sqlite-tuned": "beyond its documentation"}, "licence": "MIT"},
    "restate": {"mark": "", "mode_marks": {}, "licence": "BSL"},
    "celery": {
        "mark": "client over a socket; not durable per step: only the next message",
        "mode_marks": {},
        "licence": "BSD",
    },
}


def answers(
    system: str, mode: str, work: str, size: int, rounds: Sequence[Mapping[str, Any] | str], **more: Any
) -> list[dict[str, Any]]:
    """Return what a system answered: of each round the figures, or why there are none."""
    told = {
        "system": system,
        "mode": mode,
        "work": work,
        "size": size,
        "version": "1",
        "durability": "FULL",
        "seconds": 5.0,
    }
    return [
        {**told, **more, "round": number, **({"reason": one} if isinstance(one, str) else {"figures": one})}
        for number, one in enumerate(rounds, 1)
    ]


def rates(*values: float | str) -> list[Mapping[str, float] | str]:
    """Return rounds of the work `in-flight`: the steps of a second, or why there are none."""
    return [
        one if isinstance(one, str) else {"steps_per_second": one, "cpu_us_per_step": 1e6 / one}
        for one in values
    ]


def data(*parts: Sequence[Mapping[str, Any]], missing: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the whole of raw results."""
    machine = dict.fromkeys(
        ("processor", "processors", "memory_gib", "system", "file_system", "python", "sqlite"), "x"
    )
    return {
        "machine": machine,
        "systems": SYSTEMS,
        "missing": missing or {},
        "sittings": [{"commit": "x", "began": 0.0, "ended": 60.0}],
        "floors_ms": [0.1],
        "answers": [answer for part in parts for answer in part],
    }


def results(*parts: Sequence[Mapping[str, Any]]) -> Results:
    """Return raw results, ready to be asked."""
    return Results(data(*parts))
