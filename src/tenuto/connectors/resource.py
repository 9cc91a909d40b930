"""Read external resources: documents over HTTP, and files in the run's folders."""

from __future__ import annotations

from typing import Any, Literal

from tenuto.connectors.documents import fetch, parse
from tenuto.plugin import Call, configuration_fault, function

VERSION = "1.0.0"


@function(effect="read")
async def read(
    call: Call, *, endpoint: str | dict[str, Any], parse_: Literal["text", "json"] = "text"
) -> dict[str, Any]:
    """Return a resource as `{content, mediaType}`.

    Args:
        endpoint: A URI (http, https, file), a path in the workflow's folders, or `{uri, authentication}`.
        parse_: `text` gives the content as a string, `json` the value of a JSON or YAML document.
    """
    if parse_ not in ("text", "json"):
        raise configuration_fault(f"`parse` must be text or json, not {parse_!r}")
    document = await fetch(call, endpoint)
    return {
        "content": await parse(document) if parse_ == "json" else document.text,
        "mediaType": document.media_type,
    }
