"""The workflows in Python that one process knows, made ready to run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec

from tenuto.authoring.declare import Step, Workflow
from tenuto.authoring.program import PythonProgram
from tenuto.authoring.tasks import Guard
from tenuto.engine.ports import DocumentRow
from tenuto.errors import CodeMissing, Invalid
from tenuto.runtime.hot import Definition


class Code:
    """Workflows by name and version; a run keeps to the version that it was started with."""

    def __init__(
        self,
        workflows: Iterable[Workflow[..., Any]],
        know: Callable[[Step[..., Any]], None],
        guard: Guard | None,
        origins: Mapping[str, str],
    ) -> None:
        self._workflows: dict[tuple[str, str, str], Workflow[..., Any]] = {}
        self._know = know
        self._guard = guard
        self._origins = origins
        for workflow in workflows:
            self.add(workflow)

    def add(self, workflow: Workflow[..., Any]) -> None:
        """Know one more; raises `Invalid` for two of the same name and version."""
        if not isinstance(workflow, Workflow):
            raise Invalid(f"{workflow!r} is no workflow", hint="put @workflow over its `async def`")
        key = (workflow.namespace, workflow.name, workflow.version)
        there = self._workflows.setdefault(key, workflow)
        if there is not workflow:
            raise Invalid(
                f"two workflows are called {workflow.namespace}/{workflow.name}:{workflow.version}",
                hint='give one another name or version: @workflow(version="1.1.0")',
            )

    def add_more(self, workflows: Iterable[Workflow[..., Any]]) -> None:
        """Know these too, as far as none of the same name and version is known."""
        for workflow in workflows:
            self._workflows.setdefault((workflow.namespace, workflow.name, workflow.version), workflow)

    def has(self, row: DocumentRow) -> bool:
        """Tell whether the code that a row names is known."""
        return (row.namespace, row.name, row.version) in self._workflows

    def documents(self) -> list[DocumentRow]:
        """Return the workflows as they are stored."""
        rows = [workflow.document() for workflow in self._workflows.values()]
        return [
            msgspec.structs.replace(row, origin=self._origins.get(row.origin or "", row.origin))
            for row in rows
        ]

    def build(self, row: DocumentRow) -> Definition:
        """Make the workflow that a row names ready to run; raises `CodeMissing` with the way out."""
        workflow = self._workflows.get((row.namespace, row.name, row.version))
        if workflow is None:
            raise self._missing(row)
        return Definition(row, PythonProgram(workflow, self._know, self._guard), {})

    def _missing(self, row: DocumentRow) -> CodeMissing:
        name = f"{row.namespace}/{row.name}"
        versions = [version for space, other, version in self._workflows if f"{space}/{other}" == name]
        if versions:
            return CodeMissing(
                f"the code of {name}:{row.version} is not known here, only {', '.join(versions)}",
                hint="keep the old version beside the new one until its runs are over:"
                " App(workflows=[old, new]), with @workflow(version=...) on both",
            )
        known = [f"{space}/{other}" for space, other, _ in self._workflows]
        near = get_close_matches(name, known, n=1, cutoff=0.4)
        there = f"known are: {', '.join(sorted(set(known))) or 'none'}"
        renamed = near[0] if near else "the new one"
        return CodeMissing(
            f"no workflow {name}:{row.version} is known here; {there}",
            hint="give its module, or add it to App(workflows=[...]);"
            f' if it was renamed to {renamed}, keep its name: @workflow(name="{row.name}")',
        )
