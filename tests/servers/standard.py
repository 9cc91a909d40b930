"""The standard's own documents, where they are to be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.provision import CannotRun

STANDARD = Path(__file__).resolve().parents[3] / "shared" / "ows"


@contextmanager
def language_standard() -> Iterator[Path]:
    """Give the folder; raises CannotRun where it is not."""
    if not STANDARD.is_dir():
        raise CannotRun("the standard's data for tests is not at ../shared/ows")
    yield STANDARD
