"""The calls: HTTP, OpenAPI, gRPC, AsyncAPI, A2A, MCP, and functions by name."""

from __future__ import annotations

import re
from typing import Any, Final

from tenuto.language.grammar.components import BASE, ENDPOINT, ITERATOR, RESOURCE, TASK_SYNONYMS, task_shape
from tenuto.language.grammar.forms import CALLED, FREE, HOST, TEXT, WORD, Duration
from tenuto.language.grammar.security import AUTHENTICATION_OR_NAME
from tenuto.language.grammar.shapes import (
    Choice,
    Enumeration,
    Fields,
    Flag,
    Form,
    Formula,
    Items,
    Kind,
    Map,
    Text,
    Whole,
    Word,
)
from tenuto.language.grammar.walk import Shape

_TEXTS: Final = Map(TEXT)
_MAP_OR_FORMULA: Final = Kind(
    expected="a mapping, or one whole expression",
    text=Text(Form("a mapping, or one whole expression", re.compile(r"(?!)"), "wrong-type")),
    mapping=Map(),
)
_ARGUMENTS_OR_TEXT: Final = Kind(expected="a mapping, or one whole expression", text=TEXT, mapping=Map())
_HTTP_OUTPUT: Final = Enumeration(("raw", "content", "response"))


def _call(kind: str, shapes: dict[str, Shape], *required: str, **rest: Any) -> Fields:
    """Return the shape of a task that makes a built-in call: its `with` has these properties."""
    arguments = Fields(
        title=f"`with` of `call: {kind}`",
        anchor=f"call-{kind}",
        shapes=shapes,
        required=required,
        **rest,
    )
    return Fields(
        title=f"a `call: {kind}` task",
        anchor=f"call-{kind}",
        shapes={"call": WORD, "with": arguments, **BASE},
        required=("call", "with"),
        synonyms=TASK_SYNONYMS,
    )


_PROTOCOLS: Final = (
    "amqp", "amqp1", "anypointmq", "googlepubsub", "http", "ibmmq", "jms", "kafka", "mercure", "mqtt",
    "mqtt5", "nats", "pulsar", "redis", "sns", "solace", "sqs", "stomp", "ws",
)  # fmt: skip
_CONSUMPTION: Final = Fields(
    title="`consume`",
    anchor="call-asyncapi",
    shapes={
        "for": Duration(),
        "amount": Whole(),
        "while": Formula(wrapped=True),
        "until": Formula(wrapped=True),
    },
    choices=(Choice(("amount", "while", "until")),),
)
_ASYNCAPI: Final[dict[str, Shape]] = {
    "document": RESOURCE,
    "channel": TEXT,
    "operation": TEXT,
    "server": Fields(
        title="the server",
        anchor="call-asyncapi",
        shapes={"name": TEXT, "variables": Map()},
        required=("name",),
    ),
    "protocol": Enumeration(_PROTOCOLS),
    "message": Fields(
        title="the message", anchor="call-asyncapi", shapes={"payload": Map(), "headers": Map()}
    ),
    "subscription": Fields(
        title="the subscription",
        anchor="call-asyncapi",
        shapes={"filter": Formula(wrapped=True), "consume": _CONSUMPTION, "foreach": ITERATOR},
        required=("consume",),
    ),
    "authentication": AUTHENTICATION_OR_NAME,
}
_A2A_METHODS: Final = (
    "message/send",
    "message/stream",
    "tasks/get",
    "tasks/list",
    "tasks/cancel",
    "tasks/resubscribe",
    "tasks/pushNotificationConfig/set",
    "tasks/pushNotificationConfig/get",
    "tasks/pushNotificationConfig/list",
    "tasks/pushNotificationConfig/delete",
    "agent/getAuthenticatedExtendedCard",
)
_MCP_METHODS: Final = (
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/read",
    "resources/templates/list",
)
_MCP_TRANSPORT: Final = Fields(
    title="the transport",
    anchor="call-mcp",
    shapes={
        "http": Fields(
            title="the HTTP transport",
            anchor="call-mcp",
            shapes={"endpoint": ENDPOINT, "headers": _TEXTS},
            required=("endpoint",),
            open=True,
        ),
        "stdio": Fields(
            title="the stdio transport",
            anchor="call-mcp",
            shapes={"command": TEXT, "arguments": Items(TEXT), "environment": _TEXTS},
            required=("command",),
            open=True,
        ),
        "options": _TEXTS,
    },
    choices=(Choice(("http", "stdio")),),
    open=True,
)
CALLS: Final[dict[str, Fields]] = {
    "http": _call(
        "http",
        {
            "method": TEXT,
            "endpoint": ENDPOINT,
            "headers": _MAP_OR_FORMULA,
            "body": FREE,
            "query": _MAP_OR_FORMULA,
            "output": _HTTP_OUTPUT,
            "redirect": Flag(),
        },
        "method",
        "endpoint",
        synonyms={
            "url": "endpoint",
            "uri": "endpoint",
            "params": "query",
            "parameters": "query",
            "data": "body",
        },
    ),
    "openapi": _call(
        "openapi",
        {
            "document": RESOURCE,
            "operationId": TEXT,
            "parameters": Map(),
            "authentication": AUTHENTICATION_OR_NAME,
            "output": _HTTP_OUTPUT,
            "redirect": Flag(),
        },
        "document",
        "operationId",
    ),
    "grpc": _call(
        "grpc",
        {
            "proto": RESOURCE,
            "service": Fields(
                title="the service",
                anchor="call-grpc",
                shapes={
                    "name": TEXT,
                    "host": Word(HOST),
                    "port": Whole(0, 65535),
                    "authentication": AUTHENTICATION_OR_NAME,
                },
                required=("name", "host"),
            ),
            "method": TEXT,
            "arguments": Map(),
        },
        "proto",
        "service",
        "method",
    ),
    "asyncapi": _call(
        "asyncapi",
        _ASYNCAPI,
        "document",
        choices=(Choice(("operation", "channel")), Choice(("message", "subscription"))),
    ),
    "a2a": _call(
        "a2a",
        {
            "agentCard": RESOURCE,
            "server": ENDPOINT,
            "method": Enumeration(_A2A_METHODS),
            "parameters": Kind(
                expected="a mapping, or one whole expression", text=TEXT, mapping=Map(at_least=1)
            ),
        },
        "method",
    ),
    "mcp": _call(
        "mcp",
        {
            "protocolVersion": TEXT,
            "method": Enumeration(_MCP_METHODS),
            "parameters": _ARGUMENTS_OR_TEXT,
            "timeout": Duration("warning"),
            "transport": _MCP_TRANSPORT,
            "client": Fields(
                title="the client",
                anchor="call-mcp",
                shapes={"name": TEXT, "version": TEXT},
                required=("name", "version"),
                open=True,
            ),
        },
        "method",
        "transport",
        open=True,
    ),
}
FUNCTION_CALL: Final = task_shape("call", {"call": CALLED, "with": Map()}, anchor="call-function")
