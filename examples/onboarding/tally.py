"""Count what a system's request log says, so that everybody can see that nothing was done twice."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_CHANGING: Final = re.compile(r"\s*(INSERT|UPDATE|DELETE)\b.*\blaptops\b", re.IGNORECASE | re.DOTALL)
_STATEMENT: Final = re.compile(r"(?:statement|execute [^:]*): (.*)", re.DOTALL)


class Request(NamedTuple):
    """One line of a request log; `changed` tells whether the system's state changed."""

    operation: str
    target: str
    key: str | None
    refused: bool
    changed: bool


class Tally(NamedTuple):
    """How many requests there were, and how many changes were made more than once."""

    requests: int
    changes: int
    refused: int
    twice: int


def read_requests(log: Path) -> list[Request]:
    """Return a request log's lines: those of our servers, or the JSON log of PostgreSQL."""
    if not log.exists():
        return []
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    if lines and "error_severity" in lines[0]:
        return list(_statements(lines))
    return [
        Request(line["operation"], line["target"], line["key"], _is_refusal(line["result"]), line["changed"])
        for line in lines
    ]


def count_requests(log: Path) -> Tally:
    """Return the tally of a request log."""
    requests = read_requests(log)
    changes = Counter((each.operation, each.target, each.key) for each in requests if each.changed)
    return Tally(
        len(requests),
        changes.total(),
        sum(each.refused for each in requests),
        sum(count - 1 for count in changes.values()),
    )


def _is_refusal(result: str | int) -> bool:
    if isinstance(result, int):
        return result >= 400
    return result not in ("success", "compare_true", "compare_false")


def _statements(lines: list[dict[str, str]]) -> Iterator[Request]:
    """Yield the changing statements of PostgreSQL's log, with their parameters."""
    for line in lines:
        found = _STATEMENT.fullmatch(line["message"])
        if line["error_severity"] == "LOG" and found and _CHANGING.match(found[1]):
            text = " ".join(found[1].split())
            yield Request(
                text.split()[0].upper(), f"{text} {line.get('detail', '')}".strip(), None, False, True
            )
