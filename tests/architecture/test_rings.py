"""Words → decisions → doers → doors: who may import whom."""

from __future__ import annotations

from collections.abc import Iterator

from tests.architecture.modules import Module, modules, parse

DECISIONS = {"engine", "events", "language", "authoring", "governance", "plugin"}
WORDS = {"errors", "numbers", "settings"}

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "numbers": set(),
    "settings": {"errors", "numbers"},
    "engine": {"errors"},
    "events": {"errors", "engine"},
    "language": {"errors", "engine"},
    "authoring": {"errors", "engine"},
    "governance": {"errors", "engine"},
    "plugin": {"errors", "engine"},
    "operations": DECISIONS | WORDS,
    "runtime": DECISIONS | WORDS,
    "storage": {"errors", "settings", "engine", "events", "governance"},
    "connectors": {"errors", "numbers", "plugin"},
    "cli": DECISIONS | WORDS | {"operations"},
    "__main__": {"app"},
    "opening": DECISIONS | WORDS | {"operations", "runtime", "storage"},
    "wiring": DECISIONS | WORDS | {"operations", "runtime", "opening"},
    "application": DECISIONS | WORDS | {"operations", "wiring"},
    "testing": DECISIONS | WORDS | {"operations", "runtime", "storage", "opening", "wiring", "application"},
    "app": DECISIONS
    | WORDS
    | {"operations", "runtime", "storage", "cli", "connectors", "opening", "testing"},
}


def violations(module: Module) -> Iterator[str]:
    """Yield the imports of a module that the table does not allow."""
    if not module.part:
        return
    allowed = MAY_IMPORT.get(module.part)
    assert allowed is not None, f"the part {module.part!r} is not in the table"
    for name, line in module.imports():
        root, _, rest = name.partition(".")
        part = rest.partition(".")[0]
        if root == "tenuto" and part and part != module.part and part not in allowed:
            yield f"{module.name}:{line} imports {name}"


def test_imports_point_down() -> None:
    """Every import is in the table."""
    assert [found for module in modules() for found in violations(module)] == []


def test_an_upward_import_is_noticed() -> None:
    """The guard can fail."""
    upward = parse("engine.model", "from tenuto.runtime.worker import Worker\n")
    sideways = parse("storage.journal", "import tenuto.language.load\n")

    assert list(violations(upward)) == ["engine.model:1 imports tenuto.runtime.worker"]
    assert list(violations(sideways)) == ["storage.journal:1 imports tenuto.language.load"]


def test_only_the_entry_point_imports_late() -> None:
    """Imports stand at the top; `app` may import late, so that help is fast."""
    late = [f"{m.name}:{line}" for m in modules() if m.name != "app" for line in m.late_imports()]

    assert late == []
    assert list(parse("x", "def f():\n    import os\n").late_imports()) == [2]
