"""What an `App` is made of: its code, and in tests time and chance, put behind the worker."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tenuto.authoring.declare import Step, Workflow
from tenuto.engine.ports import Chance, Clock
from tenuto.opening import opened as open_database
from tenuto.operations.desk import Desk
from tenuto.runtime.python import Python
from tenuto.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a process brings besides its settings: code, and in tests time and chance."""

    workflows: tuple[Workflow[..., Any], ...] = ()
    steps: tuple[Step[..., Any], ...] = ()
    clock: Clock | None = None
    chance: Chance | None = None


def opened(settings: Settings, parts: Parts, command: str) -> AbstractAsyncContextManager[Desk]:
    """Open the database for writing, with a worker that drives its runs.

    `command` is how the holder of the database is called, when another process asks for it.
    """
    return open_database(
        settings,
        command,
        partial(Python, parts.workflows, parts.steps),
        at_once=True,
        clock=parts.clock,
        chance=parts.chance,
    )
