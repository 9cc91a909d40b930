"""When a program cannot take what was recorded: nothing happens, the run is kept."""

from __future__ import annotations

from collections.abc import Sequence


class Stuck(BaseException):
    """The code cannot go on from here; `hint` says how to mend it. The run is kept."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}"


class HistoryMismatch(Stuck):
    """Workflow code asks for something else than it did when the run's history was recorded.

    `seq` is the entry at which it does (0 while it is not known); `recorded` and `asked` are what the
    entry says and what the code does now, as lines for people.
    """

    def __init__(self, recorded: Sequence[str], asked: Sequence[str], seq: int = 0) -> None:
        same = 0
        while same < min(len(recorded), len(asked)) and recorded[same] == asked[same]:
            same += 1
        diff = [f"  {line}" for line in recorded[:same]]
        diff += [f"- {line}" for line in recorded[same:]] or ["- nothing more"]
        diff += [f"+ {line}" for line in asked[same:]] or ["+ nothing more"]
        where = f" at entry {seq}" if seq else ""
        super().__init__(
            f"the workflow's code does not fit the run's history{where} (-: recorded, +: asked for now)\n"
            + "\n".join(diff),
            "bring back the code that the run was started with, give the new one a new version"
            ' (@workflow(version="...")), or change it in place behind `if patched("..."):`;'
            " then `tenuto resume` goes on",
        )
        self.seq = seq
        self.recorded = tuple(recorded)
        self.asked = tuple(asked)
