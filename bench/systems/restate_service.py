"""The service that `bench.systems.restate` measures; Hypercorn serves `app`.

What handlers note goes to the file that the environment variable `BENCH_NOTES` names, a line each. With `BENCH_HOLD`, gated
steps never come back: that process is to be killed.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from datetime import timedelta
from typing import Final

import restate

from bench.measuring import STEPS, collect_seldom

HOLDS: Final = "BENCH_HOLD" in os.environ

steps = restate.Service("Steps")
_notes = os.open(os.environ.get("BENCH_NOTES", os.devnull), os.O_CREAT | os.O_APPEND | os.O_WRONLY)


def note(*words: object) -> None:
    """Write a line."""
    os.write(_notes, (" ".join(map(str, words)) + "\n").encode())


async def plus_one(value: int) -> int:
    """Be a step that does as good as nothing."""
    return value + 1


async def echo(text: str) -> str:
    """Answer what is given."""
    return text


async def noting(value: int) -> int:
    """Note when it runs."""
    note("step", time.time())
    return value + 1


async def woken(since: float) -> float:
    """Note how late it runs."""
    note("lag", time.time() - since)
    return since


async def gated(value: int) -> int:
    """Never come back in a process that is to be killed; do as good as nothing in the next."""
    if HOLDS:
        await asyncio.Event().wait()
    note("step", time.time())
    return value + 1


@steps.handler()
async def ten(ctx: restate.Context, value: int) -> int:
    """Run the steps one after the other, each with the answer of the one before."""
    for number in range(STEPS):
        value = await ctx.run_typed(f"step{number}", plus_one, value=value)
    return value


@steps.handler()
async def texts(ctx: restate.Context, text: str) -> str:
    """Run steps that carry a text."""
    for number in range(STEPS):
        text = await ctx.run_typed(f"step{number}", echo, text=text)
    return text


@steps.handler()
async def held(ctx: restate.Context, value: int) -> int:
    """Run steps that may hang."""
    for number in range(STEPS):
        value = await ctx.run_typed(f"step{number}", gated, value=value)
    note("over")
    return value


@steps.handler()
async def side_by_side(ctx: restate.Context, count: int) -> int:
    """Run a step for each item, all at once.

    Awaited one after the other, as its documentation has it too: `restate.gather` takes time by the square of their number.
    """
    futures = [ctx.run_typed(f"step{number}", plus_one, value=number) for number in range(count)]
    return sum([await future for future in futures])


@steps.handler()
async def long(ctx: restate.Context, count: int) -> int:
    """Run very many steps, one after the other."""
    value = 0
    for number in range(count):
        value = await ctx.run_typed(f"step{number}", noting, value=value)
    return value


@steps.handler()
async def sleeper(ctx: restate.Context, due: float) -> float:
    """Wait for a time, then run a step."""
    await ctx.sleep(timedelta(seconds=max(0.0, due - time.time())))
    await ctx.run_typed("woken", woken, since=due)
    note("over")
    return due


@steps.handler()
async def receiver(ctx: restate.Context, number: int) -> float:
    """Wait for somebody to resolve an awakeable, then run a step."""
    name, promise = ctx.awakeable(type_hint=float)
    note("awaits", name)
    since = await promise
    await ctx.run_typed("woken", woken, since=since)
    note("over")
    return since


@steps.handler()
async def collect(_: restate.Context, generation: int) -> int:
    """Collect garbage, so that memory can be read; answer how much there was."""
    return gc.collect(generation)


app = restate.app(services=[steps])
collect_seldom()
