"""`openapi.call`: operations of OpenAPI 3.x and Swagger 2.0 documents, against a real server."""

from __future__ import annotations

import base64
import email
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tenuto.connectors import openapi
from tenuto.errors import ERROR_BASE, Faulted
from tenuto.plugin import Call

PETSTORE = {
    "swagger": "2.0",
    "host": "api.example",
    "basePath": "/v2",
    "schemes": ["https", "http"],
    "securityDefinitions": {"key": {"type": "apiKey", "name": "api_key", "in": "header"}},
    "paths": {
        "/pet/findByStatus": {
            "get": {
                "operationId": "findPetsByStatus",
                "parameters": [
                    {
                        "name": "status",
                        "in": "query",
                        "required": True,
                        "type": "array",
                        "items": {"type": "string"},
                        "collectionFormat": "multi",
                    }
                ],
            }
        },
        "/pet/{petId}": {
            "parameters": [{"$ref": "#/parameters/petId"}],
            "get": {"operationId": "getPetById"},
            "post": {
                "operationId": "updatePetWithForm",
                "consumes": ["application/x-www-form-urlencoded"],
                "parameters": [
                    {"name": "name", "in": "formData", "type": "string"},
                    {"name": "status", "in": "formData", "type": "string", "default": "sold"},
                ],
            },
        },
        "/pet/{petId}/image": {
            "post": {
                "operationId": "uploadFile",
                "consumes": ["multipart/form-data"],
                "parameters": [
                    {"$ref": "#/parameters/petId"},
                    {"name": "note", "in": "formData", "type": "string"},
                    {"name": "file", "in": "formData", "type": "file"},
                ],
            }
        },
        "/pet": {
            "post": {
                "operationId": "addPet",
                "consumes": ["application/json", "application/xml"],
                "parameters": [
                    {"name": "body", "in": "body", "required": True, "schema": {"type": "object"}}
                ],
            }
        },
    },
    "parameters": {"petId": {"name": "petId", "in": "path", "required": True, "type": "integer"}},
}

STORE_YAML = """
openapi: 3.1.0
servers:
  - url: /{stage}/v1
    variables: { stage: { default: test } }
paths:
  /orders/{id}:
    parameters:
      - { name: id, in: path, required: true, schema: { type: string } }
      - { name: trace, in: header, schema: { type: string } }
    get:
      operationId: getOrder
      parameters:
        - $ref: '#/components/parameters/Fields'
        - { name: filter, in: query, style: deepObject, schema: { type: object } }
        - { name: session, in: cookie, schema: { type: string } }
        - { name: limit, in: query, schema: { type: integer, default: 10 } }
        - { name: Authorization, in: header, required: true, schema: { type: string } }
    put:
      operationId: putOrder
      requestBody: { $ref: '#/components/requestBodies/Order' }
  /upload:
    servers: [{ url: 'https://api.example/files/' }]
    post:
      operationId: upload
      requestBody:
        required: true
        content:
          multipart/form-data:
            schema:
              properties:
                picture: { type: string, format: binary }
                meta: { type: object }
                title: { type: string }
  /raw:
    post:
      operationId: raw
      requestBody: { content: { application/octet-stream: {} } }
  /text:
    post:
      operationId: text
      requestBody: { content: { text/plain: {} } }
components:
  parameters:
    Fields: { name: fields, in: query, explode: false, schema: { type: array } }
  requestBodies:
    Order:
      required: true
      content:
        application/xml: {}
        application/json: { schema: { $ref: '#/components/schemas/Order' } }
  schemas:
    Order: { type: object, properties: { item: { type: string } } }
  securitySchemes:
    key: { type: apiKey, in: query, name: key }
"""


@pytest.fixture
def petstore(server: Any) -> str:
    """Serve the Swagger document and give its URI."""
    server.routes["/v2/swagger.json"] = lambda request, received: PETSTORE
    return "https://api.example/v2/swagger.json"


@pytest.fixture
def store(server: Any) -> dict[str, Any]:
    """Serve the OpenAPI document and give it as an external resource."""
    server.routes["/docs/store.yaml"] = lambda request, received: web.Response(
        text=STORE_YAML, content_type="application/yaml"
    )
    return {"name": "store", "endpoint": {"uri": server.url("/docs/store.yaml")}}


async def fault_of(awaitable: Any) -> Any:
    """Return the fault that the awaitable raises."""
    with pytest.raises(Faulted) as caught:
        await awaitable
    return caught.value.fault


async def test_a_swagger_operation_is_called(server: Any, call: Call, petstore: str) -> None:
    """Host, base path and scheme come from the document, the path and query from the parameters."""
    pet = await openapi.call(
        call,
        document={"endpoint": petstore},
        operationId="getPetById",
        parameters={"petId": 1, "api_key": "k"},
    )
    found = await openapi.call(
        call,
        document={"endpoint": petstore},
        operationId="findPetsByStatus",
        parameters={"status": ["available", "sold"]},
        output="response",
    )

    assert ("GET", "/v2/pet/1", "k") == (pet["method"], pet["path"], pet["headers"]["api_key"])
    assert "/v2/pet/findByStatus?status=available&status=sold" == found["content"]["path"]
    assert 200 == found["statusCode"]
    assert 1 == server.paths().count("/v2/swagger.json")


@pytest.mark.parametrize("parameters", [{"body": {"name": "Milou"}}, {"name": "Milou"}])
async def test_a_swagger_body_is_given_whole_or_by_property(
    server: Any, call: Call, petstore: str, parameters: dict[str, Any]
) -> None:
    """The body's own name takes the whole body; otherwise what is not declared makes it up."""
    answer = await openapi.call(call, document=petstore, operationId="addPet", parameters=parameters)

    assert {"name": "Milou"} == json.loads(answer["body"])
    assert "application/json" == answer["headers"]["content-type"]


async def test_a_swagger_form_is_urlencoded(server: Any, call: Call, petstore: str) -> None:
    """Form parameters go as a form; one with a default is sent unasked."""
    answer = await openapi.call(
        call, document=petstore, operationId="updatePetWithForm", parameters={"petId": 2, "name": "a b"}
    )

    assert ("/v2/pet/2", "name=a+b&status=sold") == (answer["path"], answer["body"])


def parts_of(received: Any) -> dict[str, tuple[str, str | None, bytes]]:
    """Return name to (content type, file name, data) of a multipart body, read by another parser."""
    message = email.message_from_bytes(
        b"Content-Type: " + received.headers["content-type"].encode() + b"\r\n\r\n" + received.body
    )
    return {
        str(part.get_param("name", header="content-disposition")): (
            part.get_content_type(),
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.get_payload()
    }


async def test_files_are_sent_as_multipart(
    server: Any, call: Call, petstore: str, store: dict[str, Any]
) -> None:
    """Files are given as base64 and go as bytes, in both versions; objects go as JSON parts."""
    data = bytes(range(256))
    encoded = base64.b64encode(data).decode()

    await openapi.call(
        call,
        document=petstore,
        operationId="uploadFile",
        parameters={"petId": 1, "note": "n", "file": encoded},
    )
    await openapi.call(
        call,
        document=store,
        operationId="upload",
        parameters={"picture": encoded, "meta": {"a": 1}, "title": "t"},
    )

    uploads = [received for received in server.received if received.method == "POST"]
    assert ["/v2/pet/1/image", "/files/upload"] == [received.path for received in uploads]
    assert {
        "note": ("text/plain", None, b"n"),
        "file": ("application/octet-stream", "file", data),
    } == parts_of(uploads[0])
    assert {
        "picture": ("application/octet-stream", "picture", data),
        "meta": ("application/json", None, b'{"a":1}'),
        "title": ("text/plain", None, b"t"),
    } == parts_of(uploads[1])


async def test_an_openapi_operation_is_called(server: Any, call: Call, store: dict[str, Any]) -> None:
    """Every place and style is filled; the relative server is found from the document's own URI."""
    answer = await openapi.call(
        call,
        document=store,
        operationId="getOrder",
        parameters={
            "id": "a/1",
            "fields": ["x", "y"],
            "filter": {"state": "open"},
            "session": "s1",
            "trace": "t1",
            "key": "k1",
            "Authorization": "ignored",
        },
        authentication={"bearer": {"token": "abc"}},
    )

    assert "/test/v1/orders/a%2F1?fields=x,y&filter%5Bstate%5D=open&limit=10&key=k1" == answer["path"]
    assert ("session=s1", "t1", "Bearer abc") == (
        answer["headers"]["cookie"],
        answer["headers"]["trace"],
        answer["headers"]["authorization"],
    )


@pytest.mark.parametrize(
    ("operation", "parameters", "kind", "body"),
    [
        ("putOrder", {"id": "1", "item": "x"}, "application/json", '{"item":"x"}'),
        ("putOrder", {"id": "1", "body": ["x"]}, "application/json", '["x"]'),
        ("putOrder", {"id": "1", "body": "x"}, "application/json", '"x"'),
        ("raw", {"body": "aGk="}, "application/octet-stream", "hi"),
        ("text", {"body": "hi"}, "text/plain", "hi"),
    ],
)
async def test_a_body_goes_in_the_documents_type(
    call: Call, store: dict[str, Any], operation: str, parameters: dict[str, Any], kind: str, body: str
) -> None:
    """JSON is preferred among the types that an operation takes; binary bodies are given as base64."""
    answer = await openapi.call(call, document=store, operationId=operation, parameters=parameters)

    assert (kind, body) == (answer["headers"]["content-type"], answer["body"])


@pytest.mark.parametrize(
    ("operation", "parameters", "kind", "words"),
    [
        ("getOrdre", {}, "configuration", "did you mean `getOrder`?"),
        ("nothing alike", {}, "configuration", "there are: getOrder, putOrder, upload"),
        ("getOrder", {}, "validation", "needs the parameter `id`"),
        ("getOrder", {"id": "1", "fild": 1}, "validation", "no parameter `fild`"),
        ("getOrder", {"id": "1", "filter": "x"}, "validation", "`filter` must be an object"),
        ("putOrder", {"id": "1"}, "validation", "needs a body"),
        ("putOrder", {"id": "1", "body": {}, "more": 1}, "validation", "no parameter `more`"),
        ("raw", {"body": "no base64!"}, "validation", "base64"),
    ],
)
async def test_a_call_that_does_not_fit_is_one_clear_fault(
    call: Call, store: dict[str, Any], operation: str, parameters: dict[str, Any], kind: str, words: str
) -> None:
    """Unknown operations and parameters, missing and wrong values are named before anything is sent."""
    fault = await fault_of(openapi.call(call, document=store, operationId=operation, parameters=parameters))

    assert ERROR_BASE + kind == fault.type
    assert words in fault.detail


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"openapi": "2.9"}, "neither an OpenAPI"),
        ([1], "not an object"),
        ({"openapi": "3.0.0", "paths": {"/a/{b}": {"get": {"operationId": "x"}}}}, "no path parameter `b`"),
        ({"openapi": "3.0.0", "paths": {"/a": {"$ref": "other.yaml#/a"}}}, "only local ones"),
        ({"openapi": "3.0.0", "paths": {"/a": {"$ref": "#/nowhere"}}}, "leads nowhere"),
        ({"openapi": "3.0.0", "paths": {"/a": {"$ref": "#/paths/~1a"}}}, "circle"),
        (
            {
                "openapi": "3.0.0",
                "servers": [{"url": "/{v}"}],
                "paths": {"/a": {"get": {"operationId": "x"}}},
            },
            "server variable `v`",
        ),
    ],
)
async def test_a_document_that_cannot_be_used_says_why(
    server: Any, call: Call, document: Any, words: str
) -> None:
    """A document of another kind, with references that lead nowhere or with gaps, is a clear fault."""
    server.routes["/doc"] = lambda request, received: web.json_response(document)

    fault = await fault_of(openapi.call(call, document=server.url("/doc"), operationId="x"))

    assert words in fault.detail
    assert ["/doc"] == server.paths()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"servers": [1]}, "/servers/0 is not an object"),
        ({"servers": {"url": 2}}, "/servers is not an array"),
        ({"servers": [{"url": 2}]}, "/servers/0/url is not a text"),
        ({"paths": {"/a": {"get": {"operationId": "x", "servers": [1]}}}}, "/paths/~1a/get/servers/0 is not"),
        ({"paths": {"/a": {"servers": "s", "get": {"operationId": "x"}}}}, "/paths/~1a/servers is not"),
        ({"paths": {"/a": {"get": {"operationId": "x", "parameters": 1}}}}, "is no valid OpenAPI document"),
        ({"components": {"securitySchemes": {"a": 1}}}, "operation `x` cannot be called with these"),
    ],
)
async def test_a_document_built_otherwise_is_told_in_the_words_of_its_kind(
    server: Any, call: Call, document: Any, words: str
) -> None:
    """Where, if that is known; what Python says of it helps nobody."""
    paths = {"/a": {"get": {"operationId": "x"}}}
    server.routes["/doc"] = lambda request, received: web.json_response(
        {"openapi": "3.0.0", "paths": paths, **document}
    )

    with pytest.raises(Faulted) as caught:
        await openapi.call(call, document=server.url("/doc"), operationId="x")

    assert caught.value.fault.type.endswith("/validation")
    assert words in str(caught.value.fault.detail)
    assert "object has no attribute" not in str(caught.value.fault.detail)


async def test_a_local_document_needs_an_absolute_server(
    server: Any, tmp_path: Path, make_call: Callable[..., Call]
) -> None:
    """A document from a file has no URL that its servers could be relative to."""
    paths = {"/x": {"get": {"operationId": "x"}}}
    (tmp_path / "relative.json").write_text(json.dumps({"openapi": "3.0.0", "paths": paths}))
    (tmp_path / "absolute.json").write_text(
        json.dumps({"openapi": "3.0.0", "servers": [{"url": server.url("/base")}], "paths": paths})
    )
    call = make_call(folders=(tmp_path,))

    fault = await fault_of(openapi.call(call, document={"endpoint": "relative.json"}, operationId="x"))
    answer = await openapi.call(call, document={"endpoint": "absolute.json"}, operationId="x")

    assert "absolute URL" in fault.detail
    assert "/base/x" == answer["path"]


async def test_document_and_call_have_their_own_credentials(server: Any, call: Call) -> None:
    """The endpoint's authentication opens the document, the call's opens the operation, never crossed."""
    server.routes["/bearer/doc"] = lambda request, received: (
        {"openapi": "3.0.0", "paths": {"/x": {"get": {"operationId": "x"}}}}
        if received.headers.get("authorization") == "Bearer doc"
        else web.Response(status=401)
    )
    document = {
        "endpoint": {"uri": server.url("/bearer/doc"), "authentication": {"bearer": {"token": "doc"}}}
    }

    plain = await openapi.call(call, document=document, operationId="x")
    other = await openapi.call(
        call, document=document, operationId="x", authentication={"basic": {"username": "u", "password": "p"}}
    )

    assert "authorization" not in plain["headers"]
    assert other["headers"]["authorization"].startswith("Basic ")


async def test_an_error_status_is_the_operations_fault(server: Any, call: Call, petstore: str) -> None:
    """A status outside the accepted range is a communication fault with that status."""
    server.routes["/v2/pet/9"] = lambda request, received: web.Response(status=404)

    fault = await fault_of(
        openapi.call(call, document=petstore, operationId="getPetById", parameters={"petId": 9})
    )

    assert (ERROR_BASE + "communication", 404) == (fault.type, fault.status)
