"""Call gRPC services that a `.proto` file describes, as the standard's `call: grpc` does."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import grpc
import msgspec
from google.protobuf.descriptor import MethodDescriptor
from grpc import aio

from tenuto.connectors.arguments import object_of, text_of
from tenuto.connectors.authentication import credential_for, redacted, secrets_in
from tenuto.connectors.content import excerpt
from tenuto.connectors.http_client import Request, client_for, header_of
from tenuto.connectors.protobuf import Schema, schema_of
from tenuto.plugin import (
    Call,
    Faulted,
    authentication_fault,
    authorization_fault,
    communication_fault,
    configuration_fault,
    function,
    runtime_fault,
    timeout_fault,
)

VERSION = "1.0.0"

DEFAULT_PORT: Final = 443
GRPC_SECONDS: Final = 60.0  # for one call, a stream's last message included
GRPC_REQUEST_BYTES: Final = 4 * 1024 * 1024  # each message sent
GRPC_RESPONSE_BYTES: Final = 16 * 1024 * 1024  # each message received, and all of a stream together
GRPC_STREAM_MESSAGES: Final = 10_000

_STATUSES: Final = {  # the HTTP status for each code, and whether trying again may work
    grpc.StatusCode.CANCELLED: (499, True),
    grpc.StatusCode.UNKNOWN: (500, False),
    grpc.StatusCode.INVALID_ARGUMENT: (400, False),
    grpc.StatusCode.NOT_FOUND: (404, False),
    grpc.StatusCode.ALREADY_EXISTS: (409, False),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (429, True),
    grpc.StatusCode.FAILED_PRECONDITION: (400, False),
    grpc.StatusCode.ABORTED: (409, True),
    grpc.StatusCode.OUT_OF_RANGE: (400, False),
    grpc.StatusCode.UNIMPLEMENTED: (501, False),
    grpc.StatusCode.INTERNAL: (500, False),
    grpc.StatusCode.UNAVAILABLE: (503, True),
    grpc.StatusCode.DATA_LOSS: (500, False),
}


@function(effect="write")
async def call(
    call: Call,
    *,
    proto: str | dict[str, Any],
    service: dict[str, Any],
    method: str,
    arguments: dict[str, Any] | list[dict[str, Any]] | None = None,
) -> Any:
    """Call a method and return its answer as JSON; of a server stream, the list of all answers.

    Args:
        proto: The `.proto` text, or an external resource `{endpoint}`.
        service: `{name, host, port, authentication}`; `tls` (true or false) overrides the choice.
        method: The method's name.
        arguments: The message as JSON; for a method that takes a stream, a list of messages.
    """
    schema = await schema_of(call, proto)
    described = schema.method(text_of(service, "name", "service"), method)
    messages = _messages(schema, described, arguments)
    host, port = text_of(service, "host", "service"), _port(service)
    authentication = object_of(service, "authentication", "service") or None
    place = f"{described.containing_service.full_name}/{method} at {host}:{port}"
    metadata = await _metadata(call, authentication)
    secrets = secrets_in(authentication, metadata)
    async with _channel(call, service, host, port, secured=authentication is not None) as channel:
        try:
            answers = await _exchange(channel, described, messages, metadata, place)
        except aio.AioRpcError as error:
            raise _fault_of(error, place, secrets) from None
    decoded = [schema.decode(described.output_type, answer) for answer in answers]
    return decoded if described.server_streaming else decoded[0]


def _messages(
    schema: Schema, described: MethodDescriptor, arguments: Mapping[str, Any] | list[dict[str, Any]] | None
) -> list[bytes]:
    if isinstance(arguments, list) and not described.client_streaming:
        raise configuration_fault(
            f"`arguments` is a list, but method `{described.name}` takes one message, not a stream"
        )
    given = arguments if isinstance(arguments, list) else [arguments or {}]
    return [schema.encode(described.input_type, message) for message in given]


def _port(service: Mapping[str, Any]) -> int:
    port = service.get("port", DEFAULT_PORT)
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port <= 65535:
        raise configuration_fault(f"`service.port` must be a port from 1 to 65535, not {port!r}")
    return port


async def _metadata(call: Call, authentication: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Return the metadata to send: the idempotency key, and the credential as an HTTP call would send it."""
    metadata = [("idempotency-key", call.idempotency_key)]
    if authentication is not None:
        if "digest" in authentication:
            raise configuration_fault(
                "`service.authentication`: digest needs HTTP; gRPC takes the other schemes"
            )
        client = await client_for(call.network)
        request = Request(method="POST", uri="https://grpc.invalid/")
        request = await credential_for(call, client, authentication).first(request)
        metadata.append(("authorization", header_of(request.headers, "Authorization") or ""))
    return tuple(metadata)


# ── the channel ──────────────────────────────────────────────────────────────────────────


def _channel(call: Call, service: Mapping[str, Any], host: str, port: int, *, secured: bool) -> aio.Channel:
    """Return a channel: TLS for port 443 and wherever a credential would cross a network in the clear."""
    address, address_port = call.network.address(host, port)
    options: list[tuple[str, Any]] = [
        ("grpc.primary_user_agent", "tenuto"),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),  # retries are the workflow's own, recorded each
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.max_send_message_length", GRPC_REQUEST_BYTES),
        ("grpc.max_receive_message_length", GRPC_RESPONSE_BYTES),
    ]
    tls = service.get("tls", port == DEFAULT_PORT or (secured and not _is_here(host)))
    if (address, address_port) != (host, port):
        options.append(("grpc.default_authority", host if tls and port == DEFAULT_PORT else f"{host}:{port}"))
        if tls:
            options.append(("grpc.ssl_target_name_override", host))
    target = _target(address, address_port)
    if not tls:
        return aio.insecure_channel(target, options)
    roots = _roots(call.network.tls())
    return aio.secure_channel(target, grpc.ssl_channel_credentials(roots), options)


def _target(address: str, port: int) -> str:
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return f"dns:///{address}:{port}"
    return f"ipv6:[{address}]:{port}" if version == 6 else f"ipv4:{address}:{port}"


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _roots(context: ssl.SSLContext) -> bytes | None:
    """Return the authorities of a context as PEM, which is how gRPC takes them."""
    trusted = [ssl.DER_cert_to_PEM_cert(one) for one in context.get_ca_certs(binary_form=True)]
    if trusted:
        return "".join(trusted).encode()
    # A context reads a folder of authorities certificate by certificate, so it cannot list them.
    folder = ssl.get_default_verify_paths().capath
    if folder is None:
        return None
    whole = Path(folder) / "ca-certificates.crt"  # Debian keeps all of them in one file too
    if whole.is_file():
        return whole.read_bytes()
    files = [Path(folder) / name for name in sorted(os.listdir(folder)) if name.endswith((".pem", ".crt"))]
    return b"\n".join(file.read_bytes() for file in files if file.is_file()) or None


# ── the exchange ─────────────────────────────────────────────────────────────────────────


async def _exchange(
    channel: aio.Channel,
    described: MethodDescriptor,
    messages: list[bytes],
    metadata: tuple[tuple[str, str], ...],
    place: str,
) -> list[bytes]:
    path = f"/{described.containing_service.full_name}/{described.name}"
    taken: Any = messages if described.client_streaming else messages[0]
    if described.server_streaming:
        open_stream: Callable[..., Any] = (
            channel.stream_stream if described.client_streaming else channel.unary_stream
        )(path)
        return await _collected(open_stream(taken, timeout=GRPC_SECONDS, metadata=metadata), place)
    ask: Callable[..., Any] = (channel.stream_unary if described.client_streaming else channel.unary_unary)(
        path
    )
    return [await ask(taken, timeout=GRPC_SECONDS, metadata=metadata)]


async def _collected(stream: AsyncIterator[bytes], place: str) -> list[bytes]:
    answers: list[bytes] = []
    size = 0
    async for answer in stream:
        answers.append(answer)
        size += len(answer)
        if len(answers) > GRPC_STREAM_MESSAGES or size > GRPC_RESPONSE_BYTES:
            raise runtime_fault(
                f"{place} streamed more than {GRPC_STREAM_MESSAGES} messages or {GRPC_RESPONSE_BYTES} bytes "
                "(limits GRPC_STREAM_MESSAGES, GRPC_RESPONSE_BYTES)"
            )
    return answers


def _fault_of(error: aio.AioRpcError, place: str, secrets: list[str]) -> Faulted:
    code = error.code()
    said = excerpt(redacted(error.details() or "", secrets))
    detail = f"{place} answered {code.name}{': ' + said if said else ''}"
    match code:
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            late = timeout_fault(f"{detail} (limit GRPC_SECONDS: {GRPC_SECONDS:g} s)")
            return Faulted(msgspec.structs.replace(late.fault, transient=True))
        case grpc.StatusCode.UNAUTHENTICATED:
            return authentication_fault(detail)
        case grpc.StatusCode.PERMISSION_DENIED:
            return authorization_fault(detail)
        case _:
            status, transient = _STATUSES.get(code, (500, False))
            return communication_fault(detail, status, code.name, transient=transient)
