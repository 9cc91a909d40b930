"""What the commands need from the rest of the program: given by `app.py`, loaded when used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tenuto.settings import Settings

if TYPE_CHECKING:
    from tenuto.engine.ports import Journal
    from tenuto.language.references import Known
    from tenuto.operations.desk import Desk
    from tenuto.operations.modules import CheckedModule, Modules


class Work(Protocol):
    """Opens the database for writing, with a worker that drives its runs; only one process can.

    `modules` is the code that the user named; what else a run needs is looked for where it came from.
    With `records_only` nothing that runs want is done.
    """

    def __call__(
        self, settings: Settings, modules: Modules | None = None, *, records_only: bool = False
    ) -> AbstractAsyncContextManager[Desk]:
        """Open it."""


class Knows(Protocol):
    """Answers which functions exist: installed, as files in the folders given, as steps of modules."""

    def __call__(self, folders: Iterable[Path], modules: Modules | None = None) -> Known:
        """Return what answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """The parts behind the commands.

    `read` opens the database for reading, also while another process works on it. `ask` hands
    a request to the process that works on it (see `operations.requests`). `connectors` lists
    what can be called, as `Catalog.connectors()` gives it. `load` imports Python modules that the
    user names, `check` one to tell what is in it; `found` tells whether there is one of a name. `kit`
    loads what tests workflows, the module `tenuto.testing.kit`.
    """

    settings: Settings
    work: Work
    read: Callable[[Settings], AbstractAsyncContextManager[Journal]]
    ask: Callable[[Settings, dict[str, Any]], Awaitable[dict[str, Any]]]
    connectors: Callable[[], Any]
    known: Knows
    load: Callable[[Iterable[str]], Modules]
    check: Callable[[str], CheckedModule]
    found: Callable[[str], bool]
    kit: Callable[[], Any]
