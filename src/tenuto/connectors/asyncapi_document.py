"""AsyncAPI documents: which URL, method and headers an operation of them means over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from tenuto.connectors.arguments import nearest, object_of
from tenuto.connectors.content import scalar_text
from tenuto.connectors.documents import follow
from tenuto.connectors.http import with_query
from tenuto.connectors.http_form import place_of
from tenuto.plugin import configuration_fault

_VARIABLE: Final = re.compile(r"\{([^{}]+)\}")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where an operation's messages go or come from, and how."""

    url: str
    method: str | None
    content_type: str | None
    correlation: str | None


def check_protocol(protocol: str) -> None:
    """Raise a `configuration` fault for every protocol but HTTP."""
    if protocol not in ("http", "https"):
        raise configuration_fault(f"needs protocol {protocol}, which this installation does not have")


class Reader2:
    """Reads AsyncAPI 2.x: operations are part of their channel, whose name is its address."""

    def __init__(self, document: dict[str, Any], uri: str) -> None:
        self.document = document
        self.where = place_of(uri)

    def target(
        self,
        channel: str | None,
        operation: str | None,
        server: Mapping[str, Any],
        protocol: str | None,
        *,
        sends: bool,
    ) -> Target:
        """Return where the named channel or operation leads."""
        name, item, definition = self.find(channel, operation, sends=sends)
        described = self.choose(self.servers_of(item), server, protocol)
        values = {str(key): str(value) for key, value in object_of(server, "variables", "server").items()}
        base = self.filled(self.url_of(described), object_of(described, "variables", "server"), values)
        address = self.address_of(name, item)
        if address is not None:
            path = self.filled(address, object_of(item, "parameters", "channel"), values)
            base = f"{base.rstrip('/')}/{path.lstrip('/')}" if path.strip("/") else base
        bindings = follow(self.document, definition.get("bindings") or {})
        http = object_of(bindings, "http", "bindings") if isinstance(bindings, Mapping) else {}
        message = self.message_of(item, definition)
        correlation = follow(self.document, message.get("correlationId") or {})
        method = http.get("method")
        return Target(
            url=with_query(base, list(self.query_of(http))),
            method=str(method).lower() if method else None,
            content_type=_text(message.get("contentType") or self.document.get("defaultContentType")),
            correlation=_text(correlation.get("location")),
        )

    def find(
        self, channel: str | None, operation: str | None, *, sends: bool
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Return a channel's name, the channel, and the operation on it."""
        channels = object_of(self.document, "channels", "document")
        wanted = "publish" if sends else "subscribe"
        if channel is not None:
            name = channel if channel in channels else channel.strip("/")
            name = name if name in channels else "/" + name
            if name not in channels:
                raise configuration_fault(
                    f"{self.where} has no channel `{channel}`: {nearest(channel, list(channels))}"
                )
            item = follow(self.document, channels[name])
            return name, item, item.get(wanted) or {}
        known: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {}
        for name, reference in channels.items():
            item = follow(self.document, reference)
            for kind in ("publish", "subscribe"):
                definition = item.get(kind)
                if isinstance(definition, Mapping) and isinstance(definition.get("operationId"), str):
                    known[definition["operationId"]] = (name, item, dict(definition))
        if operation not in known:
            raise configuration_fault(
                f"{self.where} has no operation `{operation}`: {nearest(str(operation), list(known))}"
            )
        return known[operation]

    def servers_of(self, item: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the servers of a channel by name; all of them if it names none."""
        servers = object_of(self.document, "servers", "document")
        named = [name for name in item.get("servers") or [] if name in servers] or list(servers)
        return {name: follow(self.document, servers[name]) for name in named}

    def choose(
        self, servers: Mapping[str, dict[str, Any]], server: Mapping[str, Any], protocol: str | None
    ) -> dict[str, Any]:
        """Return the server to use: by name, by protocol, or the first one; it must speak HTTP."""
        if not servers:
            raise configuration_fault(f"{self.where} names no server for this channel")
        name = server.get("name")
        if name is not None:
            if name not in servers:
                raise configuration_fault(
                    f"{self.where} has no server `{name}`: {nearest(str(name), list(servers))}"
                )
            chosen = servers[str(name)]
        elif protocol is not None:
            fits = [
                item for item in servers.values() if str(item.get("protocol")).removesuffix("s") == "http"
            ]
            if not fits:
                raise configuration_fault(f"{self.where} has no server with the protocol {protocol}")
            chosen = fits[0]
        else:
            chosen = next(iter(servers.values()))
        check_protocol(str(chosen.get("protocol", "")).lower())
        return chosen

    def url_of(self, server: Mapping[str, Any]) -> str:
        """Return a server's URL, with its scheme."""
        url = str(server.get("url", ""))
        return url if "://" in url else f"{server.get('protocol')}://{url}"

    def address_of(self, name: str, item: Mapping[str, Any]) -> str | None:
        """Return what a channel adds to the server's URL."""
        return name

    def message_of(self, item: Mapping[str, Any], definition: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the description of an operation's (first) message."""
        message = follow(self.document, definition.get("message") or {})
        if isinstance(message, Mapping) and message.get("oneOf"):
            message = follow(self.document, message["oneOf"][0])
        return message if isinstance(message, Mapping) else {}

    def query_of(self, binding: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Give the query parameters of an HTTP binding that have one possible value."""
        schema = follow(self.document, binding.get("query") or {})
        for name, reference in object_of(schema, "properties", "query").items():
            described = follow(self.document, reference)
            value = (
                described.get("const", described.get("default")) if isinstance(described, Mapping) else None
            )
            if value is not None:
                yield from _scalar_pairs(name, value)

    def filled(self, text: str, described: Mapping[str, Any], values: Mapping[str, str]) -> str:
        """Return a text with each `{variable}` replaced by its given or default value."""

        def value_of(match: re.Match[str]) -> str:
            name = match.group(1)
            variable = follow(self.document, described.get(name) or {})
            allowed = variable.get("enum") or []
            value = values.get(name, variable.get("default"))
            if value is None:
                raise configuration_fault(
                    f"the variable `{name}` of {self.where} needs a value in `server.variables`"
                )
            if allowed and value not in allowed:
                raise configuration_fault(
                    f"the variable `{name}` of {self.where} must be one of "
                    f"{', '.join(map(str, allowed))}, not {value!r}"
                )
            return str(value)

        return _VARIABLE.sub(value_of, text)


class Reader3(Reader2):
    """Reads AsyncAPI 3.0: operations refer to channels, channels have addresses."""

    def find(
        self,
        channel: str | None,
        operation: str | None,
        *,
        sends: bool,
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Return a channel's name, the channel, and the operation on it."""
        channels = object_of(self.document, "channels", "document")
        if operation is not None:
            operations = object_of(self.document, "operations", "document")
            if operation not in operations:
                raise configuration_fault(
                    f"{self.where} has no operation `{operation}`: {nearest(operation, list(operations))}"
                )
            definition = follow(self.document, operations[operation])
            return operation, follow(self.document, definition.get("channel") or {}), definition
        for name, reference in channels.items():
            item = follow(self.document, reference)
            if channel in (name, item.get("address")):
                return name, item, {}
        raise configuration_fault(
            f"{self.where} has no channel `{channel}`: {nearest(str(channel), list(channels))}"
        )

    def servers_of(self, item: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the servers of a channel by name; all of them if it refers to none."""
        servers = object_of(self.document, "servers", "document")
        named = [str(reference.get("$ref", "")).rpartition("/")[2] for reference in item.get("servers") or []]
        return {
            name: follow(self.document, servers[name])
            for name in ([name for name in named if name in servers] or list(servers))
        }

    def url_of(self, server: Mapping[str, Any]) -> str:
        """Return a server's URL, made of protocol, host and path."""
        return f"{server.get('protocol')}://{server.get('host', '')}{server.get('pathname') or ''}"

    def address_of(self, name: str, item: Mapping[str, Any]) -> str | None:
        """Return what a channel adds to the server's URL; None if it has no address."""
        address = item.get("address")
        return None if address is None else str(address)

    def message_of(self, item: Mapping[str, Any], definition: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the description of the operation's, or the channel's, first message."""
        references = definition.get("messages") or list(object_of(item, "messages", "channel").values())
        message = follow(self.document, references[0]) if references else {}
        return message if isinstance(message, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _scalar_pairs(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Give a query parameter's pairs; an array repeats the name."""
    for item in value if isinstance(value, list) else [value]:
        yield name, scalar_text(item)
