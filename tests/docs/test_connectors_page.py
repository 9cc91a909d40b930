"""The reference page of the connectors is what the connectors say of themselves."""

from __future__ import annotations

from types import ModuleType

from tenuto.operations.connectors import catalog_markdown
from tenuto.plugin import Call, Secret, function
from tenuto.runtime.catalog import Catalog
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "reference" / "connectors.md"
WRITE = (
    "from tenuto.operations.connectors import catalog_markdown; from tenuto.runtime.catalog import Catalog; "
    "open('docs/reference/connectors.md', 'w').write(catalog_markdown(Catalog.built_in().connectors()))"
)


def test_the_page_is_current() -> None:
    """Whoever changes a connector writes the page anew."""
    page = catalog_markdown(Catalog.built_in().connectors())

    assert page == PAGE.read_text(encoding="utf-8"), f'write it anew: .venv/bin/python -c "{WRITE}"'


@function(effect="write", undo="take")
async def give(call: Call, *, who: str | None = None, key: Secret = "a|b") -> None:
    """Give.

    Args:
        who: One | two.
    """


@function(effect="write", idempotent=True)
async def take(call: Call) -> None:
    """Take."""


def test_a_connector_becomes_a_chapter() -> None:
    """Facts, arguments, defaults; a bar in a text does not end its cell."""
    module = ModuleType("sample", "A sample.\n\nMore of it.")
    for each in (give, take):
        each.__module__ = "sample"
        setattr(module, each.__name__, each)
    module.__dict__["VERSION"] = "2.0.0"

    page = catalog_markdown(Catalog({"sample": module}).connectors())

    assert page.endswith(
        """
## sample 2.0.0

A sample.

More of it.

### sample.give

*writes, not idempotent, undone by `sample.take`*

Give.

| argument | type | default | meaning |
| --- | --- | --- | --- |
| `who` | string or null | `null` | One \\| two. |
| `key` | secret string | `"a\\|b"` |  |

### sample.take

*writes, idempotent*

Take.
"""
    )
