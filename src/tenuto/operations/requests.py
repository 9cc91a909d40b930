"""What another process may ask of the one that works on a database.

{"verb": "cancel", "run": "4f1c", "reason": "too late"}   ->   {"status": "cancelled"}
"""

from __future__ import annotations

from typing import Any

from tenuto.errors import InvalidInput
from tenuto.operations.desk import Desk
from tenuto.operations.runs import (
    cancel_run,
    emit_event,
    query_run,
    resume_run,
    send_signal,
    suspend_run,
)


async def answer(desk: Desk, request: dict[str, Any]) -> dict[str, Any]:
    """Do what was asked, and return the run's new status, or what was asked for."""
    match request:
        case {"verb": "cancel", "run": str(run)}:
            return {"status": (await cancel_run(desk, run, request.get("reason"))).status}
        case {"verb": "suspend", "run": str(run)}:
            await suspend_run(desk, run)
            return {"status": "suspended"}
        case {"verb": "resume", "run": str(run)}:
            await resume_run(desk, run)
            return {"status": "running"}
        case {"verb": "signal", "run": str(run), "name": str(name)}:
            return {"status": await send_signal(desk, run, name, request.get("data"))}
        case {"verb": "query", "run": str(run), "name": str(name)}:
            return {"value": await query_run(desk, run, name)}
        case {"verb": "emit", "type": str(type), "attributes": dict(attributes)}:
            return {"runs": await emit_event(desk, type, request.get("data"), attributes)}
        case _:
            raise InvalidInput(
                "this request is not known", hint="use the same version of Tenuto on both sides"
            )
