"""What the commands need from the rest of the program: given by `app.py`, loaded when used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenuto.settings import Settings

if TYPE_CHECKING:
    from tenuto.engine.ports import Journal
    from tenuto.language.references import Known
    from tenuto.operations.desk import Desk


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """The parts behind the commands.

    `work` opens the database for writing, with a worker that drives its runs; only one
    process can. `read` opens it for reading, also while another process works on it.
    `ask` hands a request to the process that works on it (see `operations.requests`).
    `connectors` lists what can be called, as `Catalog.connectors()` gives it; `known`
    answers which functions exist, installed or as files in the folders given.
    """

    settings: Settings
    work: Callable[[Settings], AbstractAsyncContextManager[Desk]]
    read: Callable[[Settings], AbstractAsyncContextManager[Journal]]
    ask: Callable[[Settings, dict[str, Any]], Awaitable[dict[str, Any]]]
    connectors: Callable[[], Any]
    known: Callable[[Iterable[Path]], Known]
