"""The pytest plugin: the fixture `tenuto_env`, and `*.test.yaml` files as tests.

Every pytest of a user who has Tenuto installed loads this, so it imports nothing until it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tenuto.testing.environment import Environment


@pytest.fixture
def tenuto_env() -> Iterator[Environment]:
    """A place to test workflows in: virtual time, no outside world; see `tenuto.testing.Environment`.

    Works in async tests of any plugin that runs on asyncio, and in others through `run_sync`.
    """
    environment: Environment = import_module("tenuto.testing.environment").Environment()
    yield environment
    environment.close()


def pytest_collect_file(file_path: Any, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect `*.test.yaml` files."""
    if not file_path.name.endswith((".test.yaml", ".test.yml")):
        return None
    collector: pytest.Collector = import_module("tenuto.testing.collecting").TestFile.from_parent(
        parent, path=file_path
    )
    return collector
