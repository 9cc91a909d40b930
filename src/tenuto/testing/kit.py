"""What the command line does with tests: `tenuto check-replay` and `tenuto test` are made of this."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from tenuto import __version__
from tenuto.authoring.declare import Workflow
from tenuto.engine.ports import DocumentRow, Journal
from tenuto.engine.stuck import Stuck
from tenuto.errors import Invalid, TenutoError
from tenuto.operations.modules import load_module
from tenuto.operations.recorded import RunHistory, recorded_history
from tenuto.testing.cases import find_test_files, read_test_file
from tenuto.testing.junit import junit
from tenuto.testing.playing import play
from tenuto.testing.replay import Present, read, replay

__all__ = ["Replays", "Verdict", "find_test_files", "junit", "play", "read_test_file"]

OPEN_RUNS_PAGE: Final = 1_000
"""How many rows of open runs are read from the database at once."""


class Verdict(msgspec.Struct, frozen=True):
    """Whether one history fits: `problem` is None, the difference, or why that cannot be told.

    `unknown` means the latter: the history or the code for it is not at hand.
    """

    name: str
    workflow: str
    entries: int
    problem: str | None = None
    hint: str | None = None
    unknown: bool = False


class Replays:
    """Plays histories over the code and documents that a command was given."""

    def __init__(
        self, workflows: Iterable[Workflow[..., Any]], documents: Iterable[DocumentRow], folder: Path
    ) -> None:
        """Take what was given; other modules are looked for in `folder` when a history names one."""
        self._workflows = list(workflows)
        self._documents = list(documents)
        self._folder = folder
        self._loaded: set[str] = set()
        self._now: Present | None = None

    def files(self, names: Iterable[str]) -> Iterator[Verdict]:
        """Judge each of these files."""
        for name in names:
            try:
                history = read(name)
            except TenutoError as error:
                yield Verdict(name, "", 0, error.message, error.hint, unknown=True)
            else:
                yield self.judge(history, name)

    async def open_runs(self, journal: Journal, secrets: Mapping[str, Any]) -> AsyncIterator[Verdict]:
        """Judge each run of a database that is not over."""
        after = 0
        while rows := await journal.open_runs(after, OPEN_RUNS_PAGE):
            for row in rows:
                after = row.number
                history = await recorded_history(journal, row, __version__, secrets=secrets)
                yield self.judge(history, row.id)

    def judge(self, history: RunHistory, name: str) -> Verdict:
        """Play one history."""
        try:
            replay(history, self._present(history).program(history), name)
        except Stuck as stuck:
            return Verdict(name, history.workflow, len(history.entries), stuck.message, stuck.hint)
        except TenutoError as error:
            return Verdict(
                name, history.workflow, len(history.entries), error.message, error.hint, unknown=True
            )
        return Verdict(name, history.workflow, len(history.entries))

    def _present(self, history: RunHistory) -> Present:
        module = history.run.module
        if module is not None and not all(map(str.isidentifier, module.split("."))):
            # Histories come from elsewhere: they may name what can be imported here, and no files.
            raise Invalid(
                f"the history names the module {module!r}, which is no name in Python",
                hint="say which code it is played over: --code module",
            )
        if module is not None and module not in self._loaded and not self._is_given(history):
            self._loaded.add(module)
            self._workflows += load_module(module, self._folder).workflows.values()
            self._now = None
        if self._now is None:
            self._now = Present(self._workflows, self._documents)
        return self._now

    def _is_given(self, history: RunHistory) -> bool:
        run = history.run
        named = ((workflow.namespace, workflow.name) for workflow in self._workflows)
        return (run.namespace, run.name) in named
