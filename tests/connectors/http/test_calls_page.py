"""The reference page of calls: its documents are valid, its limits are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tenuto.connectors import asyncapi, documents, http_client, http_form, messages, oauth
from tenuto.language.load import load
from tenuto.language.validate import validate

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reference" / "calls.md").read_text(encoding="utf-8")
LIMITS = {
    "http_request_bytes": http_client.REQUEST_LIMIT_BYTES,
    "http_response_bytes": http_client.RESPONSE_LIMIT_BYTES,
    "http_seconds": http_client.TIMEOUT_SECONDS,
    "uri_characters": http_form.URI_LIMIT_CHARACTERS,
    "document_bytes": documents.DOCUMENT_LIMIT_BYTES,
    "document_depth": documents.DEPTH_LIMIT,
    "stream_line_bytes": messages.LINE_LIMIT_BYTES,
    "asyncapi_poll_seconds": asyncapi.POLL_SECONDS,
    "asyncapi_poll_messages": asyncapi.MESSAGE_LIMIT,
    "http_connections": http_client.CONNECTION_LIMIT,
    "token_response_bytes": oauth.TOKEN_RESPONSE_LIMIT_BYTES,
}


@pytest.mark.parametrize("text", re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
def test_every_workflow_on_the_page_is_valid(text: str) -> None:
    """What the page shows can be copied and validated as it stands."""
    assert [] == validate(load(text))


def test_every_limit_is_on_the_page_with_its_value() -> None:
    """The page's table of limits is the code's, and every limit that a message names is in it."""
    table = PAGE.partition("## Limits")[2]
    shown = {
        name: float(value) for name, value in re.findall(r"^\| `(\w+)` \| (\d+) \|", table, re.MULTILINE)
    }
    named = {
        name
        for module in (asyncapi, documents, http_client, http_form, messages, oauth)
        for name in re.findall(r"limit `(\w+)`", Path(str(module.__file__)).read_text(encoding="utf-8"))
    }

    assert LIMITS == shown
    assert named <= shown.keys()
