"""Connecting to servers, with the errors of the network told as faults: the same for every connector."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tenuto.numbers import PORT_MAX, port_number
from tenuto.plugin import Call, communication_fault, configuration_fault


@contextmanager
def answers_of(server: str) -> Iterator[None]:
    """Tell the errors of the network inside as faults that name the server (`smtp.example.org:25`).

    A refused or lost connection is a communication fault 503, no answer in time is 504, both
    transient; an unknown host is 502 and a failed TLS handshake 502, not transient.
    """
    try:
        yield
    except TimeoutError:
        raise communication_fault(f"{server} did not answer in time", 504, transient=True) from None
    except ssl.SSLCertVerificationError as error:
        raise communication_fault(
            f"{server} shows a certificate that is not trusted: {error.verify_message}; "
            "SSL_CERT_FILE names the authorities to trust",
            502,
        ) from None
    except ssl.SSLError as error:
        raise communication_fault(
            f"TLS with {server} failed: {error.reason or error}; does this port speak TLS?", 502
        ) from None
    except socket.gaierror as error:
        again = error.errno == socket.EAI_AGAIN
        raise communication_fault(
            f"cannot find the host of {server}: {error.strerror}", 503 if again else 502, transient=again
        ) from None
    except (OSError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "connection lost"
        raise communication_fault(f"cannot talk to {server}: {reason}", 503, transient=True) from None


async def open_socket(call: Call, host: str, port: int) -> socket.socket:
    """Return a connected, non-blocking TCP socket to where the network maps `host:port`."""
    if not 1 <= port <= PORT_MAX:
        # The resolver would make another port of it, where credentials do not belong.
        raise configuration_fault(f"`{host}:{port}` cannot be: ports are 1 to {PORT_MAX}")
    loop = asyncio.get_running_loop()
    place, place_port = call.network.address(host, port)
    failure: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(
        place, place_port, type=socket.SOCK_STREAM
    ):
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        try:
            await loop.sock_connect(connection, address)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure


def tls_named(context: ssl.SSLContext, name: str) -> ssl.SSLContext:
    """Return a context that checks certificates against `name`, whatever host a library connects to.

    For libraries that take the TLS name from the address that they were given to connect to.
    """
    named = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    named.under = context
    named.name = name
    return named


class _NamedContext(ssl.SSLContext):
    under: ssl.SSLContext
    name: str

    def wrap_bio(self, incoming: Any, outgoing: Any, *_: Any, **__: Any) -> ssl.SSLObject:
        return self.under.wrap_bio(incoming, outgoing, server_hostname=self.name)


def split_url(url: str, ports: dict[str, int], what: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL such as `ldap://host:389`; `ports` has each scheme's default."""
    scheme, separator, rest = url.partition("://")
    place = rest.rstrip("/")
    host, port = place, ""
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        port = port.removeprefix(":")
    elif ":" in place:
        host, _, port = place.rpartition(":")
    number = port_number(port) if port else ports.get(scheme)
    if not separator or scheme not in ports or not host or "@" in host or number is None:
        known = " or ".join(f"{name}://host:{number}" for name, number in ports.items())
        raise configuration_fault(f"{what} is not of the form {known}")
    return scheme, host, number
