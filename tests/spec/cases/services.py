"""The examples that call services by a document that describes them, and functions."""

from __future__ import annotations

from typing import Any, Final

from tests.spec.cases.calls import PET
from tests.spec.cases.case import Asked, Cancelled, Case, Passes, Sleeps, Text, event, fault
from tests.spec.cases.programs import NPX
from tests.spec.hosts import Reply

# ── OpenAPI, AsyncAPI ────────────────────────────────────────────────────────────────────

FIND_PETS: Final = Case(
    replies={"get petstore.swagger.io/v2/pet/findByStatus": [[PET]]},
    output=[PET],
    asked=[
        Asked("get", "petstore.swagger.io/v2/swagger.json"),
        Asked("get", "petstore.swagger.io/v2/pet/findByStatus?status=available"),
    ],
)

ASYNCAPI: Final = {
    "asyncapi": "3.0.0",
    "info": {"title": "Pets", "version": "1.0.0"},
    "defaultContentType": "application/json",
    "servers": {
        "live": {"host": "fake.com", "protocol": "https", "pathname": "/live"},
        "staging": {"host": "fake.com", "protocol": "https", "pathname": "/staging"},
    },
    "channels": {"pets": {"address": "pets"}, "notifications": {"address": "notifications"}},
    "operations": {
        "findPetsByStatus": {"action": "receive", "channel": {"$ref": "#/channels/pets"}},
        "getNotifications": {"action": "send", "channel": {"$ref": "#/channels/notifications"}},
    },
}
ASYNCAPI_2: Final = {
    "asyncapi": "2.6.0",
    "info": {"title": "Notifications", "version": "1.0.0"},
    "servers": {"live": {"url": "https://fake.com/live", "protocol": "https"}},
    "channels": {"/notifications": {"subscribe": {"message": {"payload": {"type": "object"}}}}},
}
DOCUMENT: Final = {"get fake.com/docs/asyncapi.json": [ASYNCAPI]}
READ: Final = Asked("get", "fake.com/docs/asyncapi.json")
POLL: Final = Asked("get", "fake.com/live/notifications")


def message(text: str, **more: Any) -> dict[str, Any]:
    """A notification; without a sender it is one that the examples' filters let pass."""
    return {"payload": {"text": text, **more}, "headers": {}}


ADA: Final = {"from": {"firstName": "Ada", "lastName": "Lovelace"}}
# `$context` is null until something is exported, so nobody's first name is the one that is asked for.
NOTIFICATIONS: Final = [[message("one"), message("not for us", **ADA)], [message("two")], 204]

DESCRIBED: Final[dict[str, dict[str, Case]]] = {
    "call-openapi": {"found": FIND_PETS},
    "call-openapi-redirect": {
        "found": FIND_PETS,
        "redirect": Case(
            replies={"get petstore.swagger.io/v2/pet/findByStatus": [Reply(303, {"see": "other"})]},
            output={"see": "other"},
        ),
    },
    "call-asyncapi-publish": {
        "published": Case(
            input={"pet": {"id": 1}, "token": "abc"},
            replies={**DOCUMENT, "post fake.com/staging/pets": [Reply(202, {"accepted": True})]},
            output={"accepted": True},
            asked=[
                READ,
                Asked("post", "fake.com/staging/pets", {"petId": 1}, {"authorization": "Bearer abc"}),
            ],
        )
    },
    "call-asyncapi-subscribe-consume-amount": {
        "another protocol": Case(
            status="faulted",
            fault=fault(
                "configuration",
                400,
                "Configuration Error",
                "needs protocol ws, which this installation does not have",
                "/do/0/getNotifications",
            ),
            asked=[],
        )
    },
    "call-asyncapi-subscribe-consume-forever-foreach": {
        "for ever": Case(
            replies={**DOCUMENT, "get fake.com/live/notifications": NOTIFICATIONS},
            steps=[Sleeps(1), Sleeps(1), Cancelled()],
            status="cancelled",
            asked=[READ, *[POLL] * 5],
            emitted=[
                event(
                    "io.serverlessworkflow.samples.asyncapi.message.consumed.v1",
                    "https://open-workflow-specification.org/samples",
                    {"message": message(text)},
                )
                for text in ("one", "two")
            ],
        )
    },
    # Nobody counts in `$context.consumedMessages`, so the half hour decides.
    "call-asyncapi-subscribe-consume-until": {
        "half an hour": Case(
            replies={
                "get fake.com/docs/asyncapi.json": [ASYNCAPI_2],
                "get fake.com/live/notifications": NOTIFICATIONS,
            },
            steps=[Sleeps(1), Passes(30 * 60)],
            output=[message("one"), message("two")],
        )
    },
    "call-asyncapi-subscribe-consume-while": {
        "for ever": Case(
            replies={**DOCUMENT, "get fake.com/live/notifications": NOTIFICATIONS},
            steps=[Sleeps(1), Cancelled()],
            status="cancelled",
            asked=[READ, *[POLL] * 4],
        )
    },
}

# ── gRPC, MCP, functions ─────────────────────────────────────────────────────────────────

PROTO: Final = """
syntax = "proto3";
package GreeterApi;
service Greeter { rpc SayHello (HelloRequest) returns (HelloReply); }
message HelloRequest { string name = 1; }
message HelloReply { string message = 1; }
"""
LOG: Final = """
input:
  schema:
    document:
      type: object
      properties:
        message: {type: string}
        level: {type: string, enum: [debug, information, warning, error]}
        format: {type: string}
      required: [message]
run:
  script:
    language: python
    arguments: {entry: "${ . }"}
    code: |
      text = entry["format"].replace("{TIMESTAMP}", "now").replace("{CONTEXT}", "test")
      return text.replace("{LEVEL}", entry["level"]).replace("{MESSAGE}", entry["message"])
"""
LOG_PLACE: Final = (
    "raw.githubusercontent.com/serverlessworkflow/catalog/main/functions/log/1.0.0/function.yaml"
)

FUNCTIONS: Final[dict[str, dict[str, Case]]] = {
    "call-grpc": {
        "greeted": Case(
            input={"user": {"preferredDisplayName": "Ada"}},
            files={"app/greet.proto": PROTO},
            needs="greeter",
            output={"message": "Hello Ada"},
        ),
        "nobody there": Case(
            input={"user": {"preferredDisplayName": "Ada"}},
            files={"app/greet.proto": PROTO},
            status="faulted",
            fault=fault(
                "communication",
                503,
                Text(".+"),
                Text(".*localhost:5011.*"),
                "/do/0/greet",
                transient=True,
            ),
        ),
    },
    "call-mcp": {
        "published": Case(
            programs={"npx": NPX},
            output={"content": [{"type": "text", "text": "sent"}], "isError": False},
            told=[
                {
                    "words": ["slack-mcp-serverr@latest", "--transport", "stdio"],
                    "token": "xoxp-xv6Cv3jKqNW8esm5YnsftKwIzoQHUzAP",
                    "arguments": {
                        "channel_id": "C1234567890",
                        "thread_ts": "1623456789.123456",
                        "payload": "Hello, world! :wave:",
                        "content_type": "text/markdown",
                    },
                }
            ],
        ),
        "no program": Case(
            programs={},
            status="faulted",
            fault=fault(
                "configuration", 400, "Configuration Error", Text(".*npx.*"), "/do/0/publishMessageToSlack"
            ),
        ),
    },
    "call-custom-function-cataloged": {
        "logged": Case(
            replies={f"get {LOG_PLACE}": [Reply(200, LOG, {"Content-Type": "text/plain; charset=utf-8"})]},
            output="now [information] (test): Hello, world!",
            asked=[Asked("get", LOG_PLACE)],
        ),
        "no such function": Case(
            status="faulted",
            fault=fault("communication", 404, "Not Found", Text(f".*{LOG_PLACE}.*"), "/do/0/log"),
        ),
    },
    "call-custom-function-inline": {
        "found": Case(
            replies={"get petstore.swagger.io/v2/pet/69": [{"id": 69}]},
            output={"id": 69},
            asked=[Asked("get", "petstore.swagger.io/v2/pet/69")],
        )
    },
}

SERVICES: Final = {**DESCRIBED, **FUNCTIONS}
