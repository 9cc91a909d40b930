"""What the operations work with: made once by `app.py` and handed to each of them."""

from __future__ import annotations

from dataclasses import dataclass

from tenuto.engine.ports import Chance, Clock, Journal, Runner


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The ports behind every operation that drives runs."""

    journal: Journal
    runner: Runner
    clock: Clock
    chance: Chance
