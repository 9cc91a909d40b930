"""How this process reaches other machines: address mapping and TLS trust, in one place.

    --resolve api.example.com:443=127.0.0.1:8443

sends what is meant for `api.example.com:443` to another address. The TLS server name and the
`Host` header stay the original host's, so certificates are checked as ever.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tenuto.errors import InvalidInput
from tenuto.numbers import port_number

Place = tuple[str, int]

_RESOLVE_FORM: Final = (
    "HOST:PORT=ADDRESS:PORT, for example api.example.com:443=127.0.0.1:8443 or a.example:80=[::1]:8080"
)


def _place(text: str, whole: str) -> Place:
    host, separator, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidInput(
            f"cannot read the mapping `{whole}`: an IPv6 address stands in brackets",
            hint=f"write {_RESOLVE_FORM}",
        )
    if not separator or not host or any(character.isspace() for character in host):
        raise InvalidInput(
            f"cannot read the mapping `{whole}`: `{text}` is not HOST:PORT", hint=f"write {_RESOLVE_FORM}"
        )
    number = port_number(port)
    if number is None:
        raise InvalidInput(
            f"cannot read the mapping `{whole}`: `{port}` is not a port (1 to 65535)",
            hint=f"write {_RESOLVE_FORM}",
        )
    return host.lower(), number


def parse_resolve(text: str) -> dict[Place, Place]:
    """Return the mappings that one `--resolve` or `TENUTO_RESOLVE` text names, comma separated.

    >>> parse_resolve("a.example:443=127.0.0.1:8443, b.example:80=[::1]:8080")
    {('a.example', 443): ('127.0.0.1', 8443), ('b.example', 80): ('::1', 8080)}
    """
    mapping: dict[Place, Place] = {}
    for part in (item.strip() for item in text.split(",")):
        if not part:
            continue
        source, separator, target = part.partition("=")
        if not separator:
            raise InvalidInput(
                f"cannot read the mapping `{part}`: there is no `=`", hint=f"write {_RESOLVE_FORM}"
            )
        place = _place(source, part)
        if place in mapping:
            raise InvalidInput(
                f"`{source.strip()}` is mapped twice", hint="keep one mapping for each host and port"
            )
        mapping[place] = _place(target, part)
    return mapping


class SystemNetwork:
    """The network as this machine sees it, apart from what the user mapped.

    `trust_file` and `trust_folder` (what `SSL_CERT_FILE` and `SSL_CERT_DIR` name) replace the
    system's certificate authorities; without them the system's are used.
    """

    def __init__(
        self,
        resolve: Mapping[Place, Place] | Iterable[str] = (),
        *,
        trust_file: str | Path | None = None,
        trust_folder: str | Path | None = None,
    ) -> None:
        if isinstance(resolve, Mapping):
            self._mapping = {(host.lower(), port): target for (host, port), target in resolve.items()}
        else:
            self._mapping = parse_resolve(",".join(resolve))
        self._trust_file = trust_file
        self._trust_folder = trust_folder
        self._context: ssl.SSLContext | None = None

    def address(self, host: str, port: int) -> Place:
        """Return where to connect for `host:port`; the same pair unless the user mapped it."""
        return self._mapping.get((host.lower().rstrip("."), port), (host, port))

    def tls(self) -> ssl.SSLContext:
        """Return the client TLS context (TLS 1.2 and newer, names checked), made once."""
        if self._context is None:
            self._context = self._make_context()
        return self._context

    def _make_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._trust_file is None and self._trust_folder is None:
            context.load_default_certs()
            return context
        try:
            context.load_verify_locations(self._trust_file, self._trust_folder)
        except (OSError, ssl.SSLError) as error:
            named = self._trust_file or self._trust_folder
            raise InvalidInput(
                f"cannot read the certificate authorities in `{named}`: {error.strerror or error}",
                hint="SSL_CERT_FILE names a PEM file, SSL_CERT_DIR a folder made by c_rehash",
            ) from error
        return context
