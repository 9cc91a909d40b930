"""The plugin page is the only promise of compatibility; a change of it shows here."""

from __future__ import annotations

import tenuto.plugin

EXPORTS = [
    "ENTRY_POINT_GROUP", "Call", "Effect", "Fault", "Faulted", "FunctionFacts", "Network", "Secret",
    "authentication_fault", "authorization_fault", "communication_fault", "configuration_fault", "facts_of",
    "function", "runtime_fault", "timeout_fault", "validation_fault",
]  # fmt: skip


def test_the_plugin_page_exports_what_it_promised() -> None:
    """Adding is a decision, removing breaks somebody's connector."""
    assert sorted(tenuto.plugin.__all__) == sorted(EXPORTS)
    assert [name for name in EXPORTS if not hasattr(tenuto.plugin, name)] == []
