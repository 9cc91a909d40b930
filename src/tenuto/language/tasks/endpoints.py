"""The standard's own calls: the functions behind them, and where in their arguments endpoints stand."""

from __future__ import annotations

from typing import Final

from tenuto.engine.model import Json
from tenuto.language.fold import Fold
from tenuto.language.state import TaskFrame

# The functions behind the standard's own calls, by the name that `call` gives.
STANDARD_CALLS: Final = {
    "http": "http.request",
    "openapi": "openapi.call",
    "grpc": "grpc.call",
    "asyncapi": "asyncapi.publish",
    "a2a": "a2a.call",
    "mcp": "mcp.call",
}
_WITH_ENDPOINTS: Final = ("endpoint", "document", "proto", "agentCard", "server", "service")


def resolve_endpoints(
    fold: Fold, frame: TaskFrame, arguments: dict[str, Json], definition: Json, data: Json
) -> dict[str, Json]:
    """Expand URI templates with `data`, and reusable authentications, where the standard's calls have them.

    Only text that stands in the document is a template: the result of an expression is data.
    """
    resolved = dict(arguments)
    written = definition if isinstance(definition, dict) else {}
    for name in _WITH_ENDPOINTS:
        if name in resolved:
            resolved[name] = fold.endpoint(frame, resolved[name], written.get(name), data)
    if "authentication" in resolved:
        given = written.get("authentication")
        resolved["authentication"] = fold.authentication(frame, resolved["authentication"], given, data)
    transport = resolved.get("transport")
    if isinstance(transport, dict) and isinstance(transport.get("http"), dict):
        source = written.get("transport", {}).get("http")
        http = fold.endpoint(frame, transport["http"], source, data)
        resolved["transport"] = {**transport, "http": http}
    return resolved
