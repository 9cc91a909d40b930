"""What every server of the company writes down: one JSON line for each request it answered."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class RequestLog:
    """Append-only JSON lines: time, operation, target, idempotency key, result, changed.

    `changed` is true when the request changed the server's state: it is false for a refused
    request and for a repetition that the server recognised by its key.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def write(self, operation: str, target: str, key: str | None, result: str | int, changed: bool) -> None:
        """Write one line; it is in the operating system's hands when this returns."""
        line: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="microseconds"),
            "operation": operation,
            "target": target,
            "key": key,
            "result": result,
            "changed": changed,
        }
        with self._lock:
            self._file.write(json.dumps(line) + "\n")


def replace_json(path: Path, value: object) -> None:
    """Write a JSON file so that a reader, or a kill, never meets half of it."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value, indent=1), encoding="utf-8")
    new.replace(path)


def read_json(path: Path, default: Any) -> Any:
    """Return the JSON file's value, or `default` where there is no file yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default
