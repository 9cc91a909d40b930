"""An SMTP server that keeps what it is given, with STARTTLS and authentication."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from tests.servers.authority import Authority
from tests.servers.process import folder_of, free_port

USER = "mailer"
PASSWORD = "mail-secret"


class _Sink:
    """Accepts all mail except to addresses that begin with `nobody` (550), `later` (451)."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.encrypted: list[bool] = []

    async def handle_RCPT(  # the name that the server looks for
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody"):
            return "550 no such mailbox"
        if address.startswith("later"):
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        return "250 kept"


class SmtpServer:
    """Where mail can be sent to, and what came."""

    user = USER
    password = PASSWORD
    host = "localhost"

    def __init__(self, sink: _Sink, port: int, tls_port: int, login_port: int) -> None:
        self._sink = sink
        self.port = port  # plain, offers STARTTLS
        self.tls_port = tls_port  # TLS from the start
        self.login_port = login_port  # STARTTLS, then the user has to log in

    @property
    def recipients(self) -> list[list[str]]:
        """Return who got each message, in order of arrival."""
        return [list(envelope.rcpt_tos) for envelope in self._sink.envelopes]

    @property
    def messages(self) -> list[EmailMessage]:
        """Return the messages in order of arrival."""
        parsed: list[Any] = [
            message_from_bytes(envelope.original_content or b"", policy=policy.default)
            for envelope in self._sink.envelopes
        ]
        return parsed

    @property
    def encrypted(self) -> list[bool]:
        """Tell for each message whether it came over TLS."""
        return list(self._sink.encrypted)

    def clear(self) -> None:
        """Forget all messages."""
        self._sink.envelopes.clear()
        self._sink.encrypted.clear()


def _log_in(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    fits = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=fits, handled=False)


@contextmanager
def smtp_server(authority: Authority) -> Iterator[SmtpServer]:
    """Run the server on three ports, one for each way of using TLS."""
    sink = _Sink()
    with folder_of(None) as folder:
        certificate, key = authority.issue(folder, "localhost", "127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        plain = Controller(sink, hostname="127.0.0.1", port=free_port(), tls_context=context)
        tls = Controller(sink, hostname="127.0.0.1", port=free_port(), ssl_context=context)
        login = Controller(
            sink,
            hostname="127.0.0.1",
            port=free_port(),
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            authenticator=_log_in,
        )
        controllers = (plain, tls, login)
        for controller in controllers:
            controller.start()
        try:
            yield SmtpServer(sink, plain.port, tls.port, login.port)
        finally:
            for controller in controllers:
                controller.stop()
