"""Everything that runs workflows and steps in Python, in one process: loaded only where there are some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tenuto.authoring.declare import Step, Workflow
from tenuto.engine.ports import DocumentRow
from tenuto.runtime.actions import Functions as Finding
from tenuto.runtime.code import Code
from tenuto.runtime.guard import Guard
from tenuto.runtime.hot import Definition
from tenuto.runtime.steps import Functions, Steps
from tenuto.runtime.watchdog import Watchdog

Held = tuple[Iterable[Workflow[..., Any]], Iterable[Step[..., Any]]]


class Python:
    """The workflows and steps that a process knows, watched while they run.

    `origins` says under which name or file a module can be found again, if not under its own name.
    `seek` returns what the module holds that a stored workflow came from; it raises `TenutoError`.
    """

    def __init__(
        self,
        workflows: Iterable[Workflow[..., Any]],
        steps: Iterable[Step[..., Any]],
        catalog: Finding,
        *,
        origins: Mapping[str, str] | None = None,
        seek: Callable[[str], Held] | None = None,
    ) -> None:
        self._steps = Steps()
        # Asked for each action: without a method in between.
        self.find = Functions(self._steps, catalog).find
        self.admit = self._steps.admit
        self._guard = Guard()
        self._seek = seek
        self._code = Code(workflows, self._steps.know, self._guard, origins or {})
        for step in steps:
            self._steps.know(step)
        self._watchdog = Watchdog(self._guard)
        self._watchdog.start()

    def documents(self) -> list[DocumentRow]:
        """Return the workflows as they are stored."""
        return self._code.documents()

    def add(self, workflow: Workflow[..., Any]) -> None:
        """Know one more workflow; raises `Invalid` if another one has its name and version."""
        self._code.add(workflow)

    def build(self, row: DocumentRow) -> Definition:
        """Make a workflow ready to run; raises `NotFound` if its code is not at hand."""
        if self._seek is not None and row.origin is not None and not self._code.has(row):
            workflows, steps = self._seek(row.origin)
            self._code.add_more(workflows)
            for step in steps:
                self._steps.know(step)
        return self._code.build(row)

    def undo_of(self, name: str) -> str | None:
        """Return the function that undoes a step; None if there is none."""
        found = self._steps.find(name)
        return None if found is None or found.step.undo is None else found.step.undo.called

    async def close(self) -> None:
        """Stop what runs beside the event loop."""
        self._watchdog.stop()
        await self._steps.close()
