"""The workflow that carries out the plans of the reference model, and its steps."""

from __future__ import annotations

from typing import Any, Final

from tenuto import Query, Retry, Signal, child, gather, sleep, step, wait_for_event, workflow
from tests.reliability.reference import AGAIN_SECONDS

SIGNALS: Final = {name: Signal(name, int) for name in ("red", "blue")}
EVENTS: Final = ("one", "two")
at: Final = Query("at", int)
"""The stage that a run is at."""


@step
def once(tag: str, stage: int, part: int) -> int:
    """Be answered by the test."""
    raise AssertionError("a test answers")


@step(retry=Retry(attempts=2, delay_seconds=AGAIN_SECONDS, backoff="constant", jitter=0.0))
def again(tag: str, stage: int, part: int) -> int:
    """Be answered by the test, a second time if need be."""
    raise AssertionError("a test answers")


@workflow
async def script(tag: str, plan: list[Any]) -> list[Any]:
    """Carry out a plan."""
    found: list[Any] = []
    for number, stage in enumerate(plan):
        at.set(number)
        found.append(list(await gather(*[_part(tag, number, i, *part) for i, part in enumerate(stage)])))
    return found


async def _part(tag: str, stage: int, part: int, verb: str, about: Any) -> Any:
    match verb:
        case "once":
            return await once(tag, stage, part)
        case "again":
            return await again(tag, stage, part)
        case "sleep":
            return await sleep(about)
        case "signal":
            return await SIGNALS[about].receive()
        case "event":
            return (await wait_for_event(about)).get("data")
        case "child":
            return await child(script, f"{tag}.{stage}.{part}", about)
    raise AssertionError(verb)
