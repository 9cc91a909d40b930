"""What runs and the runs that they start tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from tenuto.engine.model import Answered, CancelRequested, Failed, Finish, StartRun
from tenuto.engine.ports import RunRow
from tenuto.engine.rules import derived_id
from tenuto.errors import Fault, runtime_fault
from tenuto.runtime.hot import Hot

NOT_NEEDED: Final = "its parent no longer needs it"

# How many runs may wait for one another in a row: a workflow that calls itself has to end somewhere.
NESTED_RUNS_MAX: Final = 100


def child_of(run: str, command: int) -> str:
    """Return the id of the run that a command of a run starts; always the same, so that it starts once."""
    return derived_id(run, str(command))


def no_longer_needed(time: float) -> CancelRequested:
    """Return what a child is told when its parent does not wait for it any more."""
    return CancelRequested(time, NOT_NEEDED)


def told_parent(row: RunRow, finish: Finish, time: float) -> Answered | Failed | None:
    """Return what a run's parent is told at its end; None if nobody waits for it."""
    if row.parent_command is None:
        return None
    if finish.status == "completed":
        return Answered(time, row.parent_command, finish.output)
    fault = finish.fault or _cancelled(row.id)
    return Failed(time, row.parent_command, msgspec.structs.replace(fault, instance=None))


def told_later(row: RunRow, command: StartRun, time: float) -> Answered | Failed:
    """Return what a parent is told of a child that is over, or need not be waited for, already."""
    outcome = row.outcome or {}
    if row.status == "completed" or not command.wait:
        return Answered(time, command.id, outcome.get("output"))
    error = outcome.get("error")
    fault = Fault(**error) if error else _cancelled(row.id)
    return Failed(time, command.id, msgspec.structs.replace(fault, instance=None))


def rests(hot: Hot, runs: Mapping[str, Hot]) -> bool:
    """Whether nothing is under way for a run, nor for the children that it waits for."""
    if hot.unwritten or hot.run is None:
        return False
    for command in hot.run.open.values():
        task = hot.active.get(command.id)
        if task is not None and not task.done():
            return False
        child = runs.get(child_of(hot.row.id, command.id)) if isinstance(command, StartRun) else None
        if child is not None and not rests(child, runs):
            return False
    return True


def nesting(hot: Hot, runs: Mapping[str, Hot]) -> int:
    """Return how many runs wait for a run, one for the other."""
    depth = 0
    above: Hot | None = hot
    while above is not None and above.row.parent_command is not None:
        depth += 1
        above = runs.get(above.row.parent or "")
    return depth


def _cancelled(run: str) -> Fault:
    return runtime_fault(f"the run {run} was cancelled").fault
