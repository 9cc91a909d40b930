"""The Restate service that `restate_steps.py` measures: ten steps, each journalled with `ctx.run_typed`."""

from __future__ import annotations

import restate

STEPS = 10
steps = restate.Service("Steps")


async def plus_one(value: int) -> int:
    """Be a step that does as good as nothing."""
    return value + 1


@steps.handler()
async def ten(ctx: restate.Context, value: int) -> int:
    """Run the steps one after the other, each with the answer of the one before."""
    for number in range(STEPS):
        value = await ctx.run_typed(f"step{number}", plus_one, value=value)
    return value


app = restate.app(services=[steps])
