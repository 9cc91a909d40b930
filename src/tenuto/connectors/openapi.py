"""Call operations that an OpenAPI 3.x or Swagger 2.0 document describes."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec

from tenuto.connectors.arguments import nearest, object_of
from tenuto.connectors.content import FORM, JSON, encode_body, form_pairs, is_json, media_type, scalar_text
from tenuto.connectors.documents import fetch_object, follow, reading
from tenuto.connectors.http import exchange
from tenuto.connectors.http_client import Request
from tenuto.connectors.http_form import place_of
from tenuto.connectors.serialization import in_header, in_path, in_query, style_of
from tenuto.plugin import Call, Faulted, configuration_fault, function, validation_fault

VERSION = "1.0.0"

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch")
_VARIABLE: Final = re.compile(r"\{([^{}]+)\}")
MULTIPART: Final = "multipart/form-data"
BINARY: Final = "application/octet-stream"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of a document, with its parameters found and their references followed."""

    document: dict[str, Any]
    uri: str
    method: str
    path: str
    item: dict[str, Any]
    definition: dict[str, Any]
    parameters: tuple[dict[str, Any], ...]

    @property
    def is_swagger(self) -> bool:
        """Tell whether the document is Swagger 2.0."""
        return "swagger" in self.document

    @property
    def label(self) -> str:
        """Return what the operation is called in messages."""
        return f"operation `{self.definition.get('operationId')}`"


@function(effect="write", idempotent=False)
async def call(
    call: Call,
    *,
    document: str | dict[str, Any],
    operationId: str,
    parameters: dict[str, Any] | None = None,
    authentication: dict[str, Any] | None = None,
    output: Literal["raw", "content", "response"] = "content",
    redirect: bool = False,
) -> Any:
    """Call an operation by its id and return what came back.

    Args:
        document: The document, as `{endpoint}` or a URI; the endpoint may have its own authentication.
        operationId: The operation's id in the document.
        parameters: Values by parameter name. What is not a declared parameter makes up the body; `body`
            is the whole body.
        authentication: The credential for the call itself.
        output: `content` (deserialized), `raw` (base64) or `response` (with status and headers).
        redirect: Whether status codes 300 to 399 are accepted. They are never followed.
    """
    endpoint = (
        document.get("endpoint") if isinstance(document, Mapping) and "endpoint" in document else document
    )
    description, uri = await fetch_object(call, endpoint, "OpenAPI")
    request = request_of(description, uri, operationId, parameters or {})
    return await exchange(call, request, authentication, output=output, redirect=redirect)


def request_of(document: dict[str, Any], uri: str, operation: str, values: Mapping[str, Any]) -> Request:
    """Return the request that calls an operation of a document with these values."""
    with reading(uri, "OpenAPI"):
        found = find_operation(document, uri, operation)
        server = server_of(found)
    try:
        return build_request(found, server, values)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise validation_fault(
            f"{found.label} cannot be called with these parameters as {place_of(uri)} describes it"
        ) from error


# ── finding the operation ────────────────────────────────────────────────────────────────


def find_operation(document: dict[str, Any], uri: str, operation_id: str) -> Operation:
    """Return an operation by id, or raise a `configuration` fault that names the nearest one."""
    if not (str(document.get("openapi", "")).startswith("3.") or str(document.get("swagger", "")) == "2.0"):
        raise configuration_fault(f"{place_of(uri)} is neither an OpenAPI 3.x nor a Swagger 2.0 document")
    known: list[str] = []
    for path, item, method, definition in _operations(document):
        name = definition.get("operationId")
        if name == operation_id:
            return Operation(
                document=document,
                uri=uri,
                method=method,
                path=path,
                item=item,
                definition=definition,
                parameters=tuple(_parameters(document, item, definition)),
            )
        if isinstance(name, str):
            known.append(name)
    raise configuration_fault(
        f"{place_of(uri)} has no operation `{operation_id}`: {nearest(operation_id, known)}"
    )


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str, dict[str, Any]]]:
    for path, reference in object_of(document, "paths", "document").items():
        item = follow(document, reference)
        if isinstance(item, dict):
            for method in _METHODS:
                if isinstance(item.get(method), dict):
                    yield path, item, method, item[method]


def _parameters(
    document: dict[str, Any], item: dict[str, Any], definition: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the parameters of a path and operation; the operation's take the place of the path's."""
    found: dict[tuple[Any, Any], dict[str, Any]] = {}
    for level in (item, definition):
        for reference in level.get("parameters") or []:
            parameter = follow(document, reference)
            if isinstance(parameter, dict):
                found[parameter.get("in"), parameter.get("name")] = parameter
    return list(found.values())


# ── making the request ───────────────────────────────────────────────────────────────────


def build_request(operation: Operation, server: str, values: Mapping[str, Any]) -> Request:
    """Return the request that calls an operation of a server, or raise a fault naming what is wrong."""
    left = dict(values)
    path, query, headers, cookies, form = operation.path, [], [], [], {}
    missing: list[str] = []
    body_parameter: dict[str, Any] | None = None
    for parameter in _sendable(operation):
        name, place = str(parameter.get("name")), parameter.get("in")
        if place == "body":
            body_parameter = parameter
            continue
        if _is_ignored(operation, parameter):
            left.pop(name, None)
            continue
        if name in values:
            left.pop(name, None)
            value = values[name]
        else:
            value = _default(operation.document, parameter)
        if value is None:
            if parameter.get("required") or place == "path":
                missing.append(name)
            continue
        match place:
            case "path":
                path = path.replace(f"{{{name}}}", in_path(style_of(parameter), value))
            case "query":
                query += in_query(style_of(parameter), value)
            case "header":
                headers.append((name, in_header(style_of(parameter), value)))
            case "cookie":
                cookies += in_query(style_of(parameter), value)
            case "formData":
                form[name] = value
    if missing:
        raise validation_fault(
            f"{operation.label} needs the parameter{'s' if len(missing) > 1 else ''} "
            + ", ".join(f"`{name}`" for name in missing)
        )
    if cookies:
        headers.append(("Cookie", "; ".join(cookies)))
    if operation.is_swagger:
        content_type, body = _swagger_body(operation, body_parameter, form, left)
    else:
        content_type, body = _body(operation, left)
    if content_type:
        headers.append(("Content-Type", content_type))
    uri = server.rstrip("/") + _checked_path(operation, path)
    if query:
        uri += ("&" if "?" in uri else "?") + "&".join(query)
    return Request(method=operation.method, uri=uri, headers=tuple(headers), body=body)


def _is_ignored(operation: Operation, parameter: dict[str, Any]) -> bool:
    """Tell whether OpenAPI 3 says that a header parameter of this name has no effect."""
    reserved = ("accept", "authorization", "content-type")
    is_header = parameter.get("in") == "header" and not operation.is_swagger
    return is_header and str(parameter.get("name")).lower() in reserved


def _sendable(operation: Operation) -> Iterator[dict[str, Any]]:
    """Give the parameters, and those that `apiKey` security schemes amount to."""
    yield from operation.parameters
    declared = {(item.get("in"), item.get("name")) for item in operation.parameters}
    holder = (
        operation.document
        if operation.is_swagger
        else object_of(operation.document, "components", "document")
    )
    schemes = holder.get("securityDefinitions" if operation.is_swagger else "securitySchemes") or {}
    for reference in schemes.values():
        scheme = follow(operation.document, reference)
        if scheme.get("type") == "apiKey" and (scheme.get("in"), scheme.get("name")) not in declared:
            yield {"name": scheme.get("name"), "in": scheme.get("in"), "schema": {"type": "string"}}


def _default(document: dict[str, Any], parameter: dict[str, Any]) -> Any:
    if "default" in parameter:
        return parameter["default"]
    schema = follow(document, parameter.get("schema") or {})
    return schema.get("default") if isinstance(schema, Mapping) else None


def _checked_path(operation: Operation, path: str) -> str:
    unfilled = _VARIABLE.search(path)
    if unfilled:
        raise validation_fault(
            f"{operation.label} has the path {operation.path}, but its document declares no "
            f"path parameter `{unfilled.group(1)}`"
        )
    return path if path.startswith("/") else "/" + path


# ── bodies ───────────────────────────────────────────────────────────────────────────────


def _unknown(operation: Operation, left: Mapping[str, Any]) -> Faulted:
    known = [str(parameter.get("name")) for parameter in operation.parameters]
    name = next(iter(left))
    return validation_fault(
        f"{operation.label} has no parameter `{name}` and takes no body: {nearest(name, known)}"
    )


def _body(operation: Operation, left: dict[str, Any]) -> tuple[str | None, bytes | None]:
    described = follow(operation.document, operation.definition.get("requestBody"))
    if not isinstance(described, Mapping):
        if left:
            raise _unknown(operation, left)
        return None, None
    kinds = object_of(described, "content", "requestBody")
    kind = _preferred(list(kinds))
    schema = follow(operation.document, (kinds.get(kind) or {}).get("schema") or {})
    properties = object_of(schema, "properties", "schema") if isinstance(schema, Mapping) else {}
    if "body" in left and "body" not in properties:
        if len(left) > 1:
            raise _unknown(operation, {name: left[name] for name in left if name != "body"})
        body = left["body"]
    else:
        body = left or None
    if body is None:
        if described.get("required"):
            raise validation_fault(
                f"{operation.label} needs a body: give its properties, or `body`, in `parameters`"
            )
        return None, None
    return _encoded(operation, kind, body, properties)


def _swagger_body(
    operation: Operation, parameter: dict[str, Any] | None, form: dict[str, Any], left: dict[str, Any]
) -> tuple[str | None, bytes | None]:
    kinds = operation.definition.get("consumes") or operation.document.get("consumes") or []
    if parameter is not None:
        name = str(parameter.get("name"))
        if name not in left and left.keys() == {"body"}:
            name = "body"
        body = left[name] if left.keys() == {name} else (left or None)
        if body is None and parameter.get("required"):
            raise validation_fault(f"{operation.label} needs the parameter `{name}`, its body")
        return (None, None) if body is None else _encoded(operation, _preferred(kinds), body, {})
    if left:
        raise _unknown(operation, left)
    if not form:
        return None, None
    files = {
        str(item["name"]): {"format": "binary"} for item in operation.parameters if item.get("type") == "file"
    }
    kind = MULTIPART if files or kinds == [MULTIPART] else FORM
    return _encoded(operation, kind, form, files)


def _preferred(kinds: list[str]) -> str:
    """Return the content type to send, of those that an operation accepts."""
    for fits in (is_json, lambda kind: kind == FORM, lambda kind: kind == MULTIPART):
        for kind in kinds:
            if fits(media_type(kind)):
                return kind
    return next((kind for kind in kinds if "*" not in kind), JSON)


def _encoded(
    operation: Operation, kind: str, body: Any, properties: Mapping[str, Any]
) -> tuple[str | None, bytes | None]:
    base = media_type(kind)
    if base == MULTIPART and isinstance(body, Mapping):
        boundary = secrets.token_hex(16)
        return f"{MULTIPART}; boundary={boundary}", _multipart(operation, body, properties, boundary)
    if base == FORM and isinstance(body, Mapping):
        return kind, urlencode(form_pairs(dict(body))).encode()
    if base == BINARY and isinstance(body, str):
        return kind, _from_base64(operation, "body", body)
    if is_json(base):
        # Unlike in `call: http`, a string is a JSON string: the document says what the body is.
        return kind, msgspec.json.encode(body)
    data, content_type = encode_body(body, kind)
    return content_type, data


def _multipart(
    operation: Operation, body: Mapping[str, Any], properties: Mapping[str, Any], boundary: str
) -> bytes:
    """Return a form with files; a property of format `binary` is given as base64 and sent as a file."""
    parts: list[bytes] = []
    for name, value in body.items():
        label = quote(name, safe=" !#$&+-.^_`|~()[]{}@")
        schema = follow(operation.document, properties.get(name) or {})
        items = follow(operation.document, schema.get("items") or {}) if isinstance(schema, Mapping) else {}
        is_file = "binary" in (schema.get("format"), items.get("format"))
        for item in value if isinstance(value, list) else [value]:
            disposition = f'Content-Disposition: form-data; name="{label}"'
            if is_file:
                head = f'{disposition}; filename="{label}"\r\nContent-Type: {BINARY}'
                data = _from_base64(operation, name, item)
            elif isinstance(item, dict):
                head, data = f"{disposition}\r\nContent-Type: {JSON}", msgspec.json.encode(item)
            else:
                head, data = disposition, scalar_text(item).encode()
            parts.append(f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def _from_base64(operation: Operation, name: str, value: Any) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else b"?", validate=True)
    except (binascii.Error, ValueError) as error:
        raise validation_fault(
            f"{operation.label} takes `{name}` as binary data: give it as base64 text"
        ) from error


# ── servers ──────────────────────────────────────────────────────────────────────────────


def server_of(operation: Operation) -> str:
    """Return the URL under which the operation's path lies."""
    if operation.is_swagger:
        return _swagger_server(operation)
    server = _server(operation)
    variables = object_of(server, "variables", "server")

    def filled(match: re.Match[str]) -> str:
        variable = variables.get(match.group(1))
        if not isinstance(variable, Mapping) or "default" not in variable:
            raise configuration_fault(
                f"the server variable `{match.group(1)}` of {place_of(operation.uri)} has no default"
            )
        return str(variable["default"])

    url = urljoin(operation.uri, _VARIABLE.sub(filled, str(server.get("url", "/"))))
    if not url.startswith(("http://", "https://")):
        raise configuration_fault(
            f"the server `{server.get('url')}` of {place_of(operation.uri)} is relative, and the document "
            "was not fetched over HTTP: give the server an absolute URL"
        )
    return url.partition("?")[0].partition("#")[0]


def _server(operation: Operation) -> Mapping[str, Any]:
    """Return the first server of the operation, of its path, or of the document."""
    path = "/paths/" + operation.path.replace("~", "~0").replace("/", "~1")
    levels = (
        (operation.definition, f"{path}/{operation.method}/servers"),
        (operation.item, f"{path}/servers"),
        (operation.document, "/servers"),
    )
    for level, place in levels:
        servers = level.get("servers")
        if not servers:
            continue
        if not isinstance(servers, list):
            raise _misbuilt(operation, place, "an array")
        if not isinstance(servers[0], Mapping):
            raise _misbuilt(operation, f"{place}/0", "an object")
        if not isinstance(servers[0].get("url", "/"), str):
            raise _misbuilt(operation, f"{place}/0/url", "a text")
        return servers[0]
    return {}


def _misbuilt(operation: Operation, place: str, wanted: str) -> Faulted:
    return validation_fault(
        f"{place_of(operation.uri)} is no valid OpenAPI document: {place} is not {wanted}"
    )


def _swagger_server(operation: Operation) -> str:
    source = urlsplit(operation.uri)
    schemes = operation.definition.get("schemes") or operation.document.get("schemes") or [source.scheme]
    scheme = next((name for name in ("https", "http") if name in schemes), None)
    host = operation.document.get("host") or source.netloc
    if scheme is None or not host:
        raise configuration_fault(f"{place_of(operation.uri)} names no `host` with the scheme http or https")
    base = str(operation.document.get("basePath") or "/")
    return f"{scheme}://{host}/{base.strip('/')}"
