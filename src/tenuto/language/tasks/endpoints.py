"""The standard's own calls: the functions behind them, and where in their arguments endpoints stand."""

from __future__ import annotations

from typing import Final

from tenuto.engine.model import Json
from tenuto.language.fold import Fold
from tenuto.language.state import TaskFrame
from tenuto.language.uri_template import expand

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
            resolved[name] = _expand(fold, frame, resolved[name], written.get(name), data)
    if "authentication" in resolved:
        resolved["authentication"] = fold.authentication(frame, resolved["authentication"])
    transport = resolved.get("transport")
    if isinstance(transport, dict) and isinstance(transport.get("http"), dict):
        http = dict(transport["http"])
        if "endpoint" in http:
            source = written.get("transport", {}).get("http", {}).get("endpoint")
            http["endpoint"] = _expand(fold, frame, http["endpoint"], source, data)
        resolved["transport"] = {**transport, "http": http}
    return resolved


def _expand(fold: Fold, frame: TaskFrame, value: Json, written: Json, data: Json) -> Json:
    if isinstance(value, str):
        is_template = value == written and "{" in value
        return expand(value, data) if is_template else value
    if not isinstance(value, dict):
        return value
    inner = written if isinstance(written, dict) else {}
    result = {
        name: _expand(fold, frame, item, inner.get(name), data) if name in ("uri", "endpoint") else item
        for name, item in value.items()
    }
    return fold.endpoint(frame, result)
