"""The company's mail server: SMTP, every accepted message a file in `outbox/`."""

from __future__ import annotations

import asyncio
import hashlib
from email import message_from_bytes
from email.policy import default as modern

from aiosmtpd.smtp import SMTP, Envelope, Session

from onboarding.servers.child import Options, announce_ready, read_options
from onboarding.servers.request_log import RequestLog


class Outbox:
    """Keeps each message once, by its Message-ID."""

    def __init__(self, options: Options) -> None:
        self._folder = options.folder / "outbox"
        self._folder.mkdir(exist_ok=True)
        self._log = RequestLog(options.folder / "mail.log.jsonl")
        self._latency = options.latency_seconds

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Store one message; the same Message-ID again is accepted and not stored twice."""
        await asyncio.sleep(self._latency)
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        identity = message_from_bytes(content, policy=modern)["Message-ID"]
        name = hashlib.sha256(str(identity or content).encode()).hexdigest()[:16]
        path = self._folder / f"{name}.eml"
        changed = not path.exists()
        if changed:
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.replace(path)
        self._log.write("message", ", ".join(envelope.rcpt_tos), identity and str(identity), 250, changed)
        return "250 2.0.0 accepted"


async def main(options: Options) -> None:
    """Serve until the parent process ends."""
    outbox = Outbox(options)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(outbox, hostname="mail.example.org", ident="Example Company", enable_SMTPUTF8=True),
        "127.0.0.1",
        options.port,
    )
    announce_ready()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(read_options()))
