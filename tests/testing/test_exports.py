"""What users import from `tenuto.testing`: everything is there, explained, and loaded late."""

from __future__ import annotations

from pathlib import Path

import pytest

import tenuto.testing

PAGE = Path(__file__).parents[2] / "docs/how-to/test-workflows.md"


def test_every_name_is_there_and_explained() -> None:
    """On the page about tests."""
    page = PAGE.read_text()

    assert [] == [name for name in tenuto.testing.__all__ if not hasattr(tenuto.testing, name)]
    assert [] == [name for name in tenuto.testing.__all__ if f"`{name}" not in page]
    assert sorted(tenuto.testing.__all__) == sorted(dir(tenuto.testing))


def test_another_name_is_not_there() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'Enviroment'"):
        _ = tenuto.testing.Enviroment
