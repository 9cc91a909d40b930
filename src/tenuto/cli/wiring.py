"""What the commands need from the rest of the program: given by `app.py`, loaded when used."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenuto.settings import Settings

if TYPE_CHECKING:
    from tenuto.engine.ports import Journal
    from tenuto.operations.desk import Desk


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """The parts behind the commands.

    `work` opens the database for writing, with a worker that drives its runs; only one
    process can. `read` opens it for reading, also while another process works on it.
    `connectors` lists what can be called, as `Catalog.connectors()` gives it; `knows` tells
    whether a function of that name exists.
    """

    settings: Settings
    work: Callable[[Settings], AbstractAsyncContextManager[Desk]]
    read: Callable[[Settings], AbstractAsyncContextManager[Journal]]
    connectors: Callable[[], Any]
    knows: Callable[[str], bool]
