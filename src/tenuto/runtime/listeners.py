"""Which runs want to hear of which events."""

from __future__ import annotations

from tenuto.engine.model import SIGNAL
from tenuto.events.lifecycle import LIFECYCLE_PREFIX


class Listeners:
    """Runs by the event types that they can take; the runs themselves decide what they do take."""

    def __init__(self) -> None:
        self._by_type: dict[str, dict[str, None]] = {}
        self._any: dict[str, None] = {}
        self._types: dict[str, set[str]] = {}
        self.lifecycle_subscriptions = 0
        """How many times a run listens for lifecycle events."""

    def add(self, run: str, types: tuple[str, ...] | None) -> None:
        """Let a run hear of events of these types; None: of all but lifecycle events."""
        if types is None:
            self._any[run] = None
            return
        for kind in types:
            if kind == SIGNAL:
                continue  # Signals come to one run alone: whoever publishes an event cannot send any.
            if run not in self._by_type.setdefault(kind, {}):
                self._by_type[kind][run] = None
                self._types.setdefault(run, set()).add(kind)
                self.lifecycle_subscriptions += kind.startswith(LIFECYCLE_PREFIX)

    def remove(self, run: str) -> None:
        """Let a run hear nothing more."""
        self._any.pop(run, None)
        for kind in self._types.pop(run, ()):
            self.lifecycle_subscriptions -= kind.startswith(LIFECYCLE_PREFIX)
            self._by_type[kind].pop(run, None)
            if not self._by_type[kind]:
                del self._by_type[kind]

    def hears_lifecycle_events(self, run: str) -> bool:
        """Whether a run listens for lifecycle events."""
        return any(kind.startswith(LIFECYCLE_PREFIX) for kind in self._types.get(run, ()))

    def named(self, kind: str) -> list[str]:
        """Return the runs that listen for just this type."""
        return list(self._by_type.get(kind, ()))

    def all(self, kind: str) -> list[str]:
        """Return the runs that listen for this type, or for all."""
        return list(dict.fromkeys([*self._by_type.get(kind, ()), *self._any]))
