"""The standard's own documents, where they are to be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.plugin import start_or_tell
from tests.servers.provision import CannotRun

STANDARD = Path(__file__).resolve().parents[3] / "shared" / "ows"


@contextmanager
def _standard() -> Iterator[Path]:
    if not STANDARD.is_dir():
        raise CannotRun("the standard's data for tests is not at ../shared/ows")
    yield STANDARD


@pytest.fixture(scope="session")
def standard(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Return the folder with the standard's examples, invalid documents and JSON Schema."""
    yield from start_or_tell(request, "language standard", _standard())
