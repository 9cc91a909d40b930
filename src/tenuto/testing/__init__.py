"""Tests of workflows: virtual time, answers for the world, crashes everywhere, recorded histories.

    from tenuto.testing import Environment

    async def test_a_paid_order_is_shipped() -> None:
        async with Environment() as env:
            env.replace(charge, Receipt("r1"))
            assert await env.run(order_flow, Order(7)) == Shipped(7)

With pytest the fixture `tenuto_env` gives an environment. Everything here is loaded when it is first
asked for, because pytest loads this package in every project that has Tenuto installed.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tenuto.testing.answers import NEVER, After, Error
    from tenuto.testing.clock import START_TIME
    from tenuto.testing.crashing import CrashReport, Driver, crash_everywhere
    from tenuto.testing.doubles import Recorded, UnexpectedCall
    from tenuto.testing.environment import Environment
    from tenuto.testing.passing import Stalled
    from tenuto.testing.replay import ReplayMismatch, check_replay

_PLACES: Final[dict[str, str]] = {
    "answers": "NEVER After Error",
    "clock": "START_TIME",
    "crashing": "CrashReport Driver crash_everywhere",
    "doubles": "Recorded UnexpectedCall",
    "environment": "Environment",
    "passing": "Stalled",
    "replay": "ReplayMismatch check_replay",
}
_MODULES: Final = {name: module for module, names in _PLACES.items() for name in names.split()}

__all__ = [
    "NEVER",
    "START_TIME",
    "After",
    "CrashReport",
    "Driver",
    "Environment",
    "Error",
    "Recorded",
    "ReplayMismatch",
    "Stalled",
    "UnexpectedCall",
    "check_replay",
    "crash_everywhere",
]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'tenuto.testing' has no attribute {name!r}")
    value = getattr(import_module(f"tenuto.testing.{module}"), name)
    setattr(sys.modules[__name__], name, value)
    return value


def __dir__() -> list[str]:
    return list(__all__)
