"""Send mail over SMTP.

Every message gets a `Message-ID` made from the action's idempotency key: all attempts send the
same one, so that mailboxes and list servers that drop repetitions see that it is one message.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import re
import socket
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Annotated, Any, Final, Literal

import aiosmtplib
import msgspec

from tenuto.connectors.content import excerpt
from tenuto.connectors.sockets import answers_of, open_socket
from tenuto.plugin import (
    Call,
    Faulted,
    Secret,
    authentication_fault,
    communication_fault,
    function,
    validation_fault,
)

VERSION = "1.0.0"

DEFAULT_TIMEOUT_SECONDS: Final = 30.0
MAX_ATTACHMENT_BYTES: Final = 25 * 1024 * 1024  # all attachments together; what common mailboxes take
MAX_MAILBOX_CHARACTERS: Final = 1000  # with its name; the address alone has 254 at most
PORTS: Final = {"none": 25, "starttls": 587, "tls": 465}

_POLICY: Final = SMTP.clone(cte_type="7bit")  # any server takes it
_LINE_BREAK: Final = re.compile(r"[\r\n]")
_MAILBOX: Final = re.compile(
    r"^\s*(?:\"?(?P<name>[^\"<>]*?)\"?\s*<(?P<bracketed>[^<>\s]+)>|(?P<bare>[^<>\s]+))\s*$"
)


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server that takes the mail."""

    host: Annotated[str, msgspec.Meta(description="Its name, which its certificate has to have.")]
    port: Annotated[int | None, msgspec.Meta(description="25, 587 or 465 by `tls` if not given.")] = None
    user: Annotated[str | None, msgspec.Meta(description="The account; without it nobody logs in.")] = None
    password: Annotated[Secret | None, msgspec.Meta(description="Its password.")] = None
    tls: Annotated[
        Literal["none", "starttls", "tls"],
        msgspec.Meta(description="Encrypt from the start (`tls`), after STARTTLS, or not at all."),
    ] = "starttls"


class Attachment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that goes with the mail."""

    name: Annotated[str, msgspec.Meta(description="The file's name.")]
    content: Annotated[bytes, msgspec.Meta(description="The content in base64.")]
    type: Annotated[
        str | None, msgspec.Meta(description="As in `application/pdf`; by name if not given.")
    ] = None


@function(effect="write", idempotent=True)
async def send(
    call: Call,
    *,
    server: Server,
    from_: str,
    to: str | list[str],
    subject: str,
    text: str | None = None,
    html: str | None = None,
    cc: str | list[str] | None = None,
    bcc: str | list[str] | None = None,
    reply_to: str | None = None,
    attachments: list[Attachment] | None = None,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Send a mail.

    Returns `{message_id, accepted}`, where `accepted` lists who will get it. If the server
    refuses one of them, nobody gets it: the fault says who was refused.

    Args:
        server: The server: host, port, user, password, and tls (`none`, `starttls` or `tls`).
        from_: Who sends it, as `ada@example.org` or `Ada Lovelace <ada@example.org>`.
        to: Who gets it: one mailbox or a list.
        subject: One line.
        text: The mail as plain text.
        html: The mail as HTML; with `text` too, the reader's program chooses.
        cc: Who gets a copy.
        bcc: Who gets a copy without the others seeing it.
        reply_to: Where answers shall go.
        attachments: Files that go with it: name, content (base64), type.
        timeout: Seconds that everything together may take.
    """
    if text is None and html is None:
        raise validation_fault("smtp.send needs `text` or `html`")
    message = EmailMessage(policy=_POLICY)
    sender = _mailboxes("from", from_)[0]
    visible = {"To": _mailboxes("to", to), "Cc": _mailboxes("cc", cc)}
    hidden = _mailboxes("bcc", bcc)
    recipients = list(dict.fromkeys(box.addr_spec for box in (*visible["To"], *visible["Cc"], *hidden)))
    if not recipients:
        raise validation_fault("smtp.send has nobody to send to: `to`, `cc` and `bcc` are empty")
    message["From"] = sender
    for header, boxes in visible.items():
        if boxes:
            message[header] = tuple(boxes)
    if reply_to is not None:
        message["Reply-To"] = _mailboxes("reply_to", reply_to)[0]
    message["Subject"] = _one_line("subject", subject)
    message["Date"] = format_datetime(datetime.now(UTC))
    message_id = _message_id(call.idempotency_key, sender.domain)
    message["Message-ID"] = message_id
    _fill(message, text, html, attachments or [])
    await _deliver(call, server, message, sender.addr_spec, recipients, timeout)
    return {"message_id": message_id, "accepted": recipients}


def _message_id(key: str, domain: str) -> str:
    digest = hashlib.sha256(key.encode()).hexdigest()[:40]
    return f"<{digest}@{domain}>"


def _one_line(argument: str, text: str) -> str:
    if _LINE_BREAK.search(text):
        raise validation_fault(
            f"smtp.send, argument `{argument}`: it has a line break, which a header must not"
        )
    return text


def _mailboxes(argument: str, given: str | list[str] | None) -> list[Address]:
    listed = [given] if isinstance(given, str) else given or []
    return [_mailbox(argument, text) for text in listed]


def _mailbox(argument: str, text: str) -> Address:
    found = _MAILBOX.match(_one_line(argument, text)) if len(text) <= MAX_MAILBOX_CHARACTERS else None
    try:
        place = (found["bracketed"] or found["bare"]) if found else ""
        if found is None or not place.isascii():
            raise ValueError
        box = Address(found["name"] or "", addr_spec=place)
        if not box.domain or not box.username:
            raise ValueError
    except (ValueError, HeaderParseError, IndexError, AttributeError):  # the last for `a@[`, from Python
        raise validation_fault(
            f"smtp.send, argument `{argument}`: `{excerpt(text)}` is not of the form name@host or "
            "Name <name@host>; several mailboxes are a list"
        ) from None
    return box


def _fill(message: EmailMessage, text: str | None, html: str | None, attachments: list[Attachment]) -> None:
    if text is not None:
        message.set_content(text)
        if html is not None:
            message.add_alternative(html, subtype="html")
    else:
        message.set_content(html, subtype="html")
    size = sum(len(attachment.content) for attachment in attachments)
    if size > MAX_ATTACHMENT_BYTES:
        raise validation_fault(
            f"the attachments have {size} bytes; MAX_ATTACHMENT_BYTES is {MAX_ATTACHMENT_BYTES}"
        )
    for attachment in attachments:
        kind = attachment.type or mimetypes.guess_type(attachment.name)[0] or "application/octet-stream"
        main, slash, sub = kind.partition("/")
        if not slash or not re.fullmatch(r"[\w.+-]+/[\w.+-]+", kind):
            raise validation_fault(
                f"smtp.send, argument `attachments`: `{kind}` is not of the form type/subtype"
            )
        message.add_attachment(
            attachment.content, main, sub, filename=_one_line("attachments", attachment.name)
        )


async def _deliver(
    call: Call, server: Server, message: EmailMessage, sender: str, recipients: list[str], timeout: float
) -> None:
    port = server.port or PORTS[server.tls]
    name = f"{server.host}:{port}"
    with answers_of(name):
        async with asyncio.timeout(timeout):
            client = aiosmtplib.SMTP(
                hostname=server.host,
                sock=await open_socket(call, server.host, port),
                port=None,
                local_hostname=socket.gethostname(),
                use_tls=server.tls == "tls",
                start_tls=server.tls == "starttls",
                tls_context=call.network.tls() if server.tls != "none" else None,
                timeout=timeout,
            )
            try:
                await client.connect()
                if server.user is not None:
                    await client.login(server.user, server.password or "")
                await _hand_over(client, message.as_bytes(), sender, recipients)
                await client.quit()
            except aiosmtplib.SMTPException as error:
                raise _fault(error, name) from None
            finally:
                if isinstance(client.transport, asyncio.Transport):
                    client.transport.abort()
                client.close()
                # TLS, TCP and the socket are let go in a turn of the loop each; none may outlive the action.
                for _ in range(3):
                    await asyncio.sleep(0)


async def _hand_over(client: aiosmtplib.SMTP, content: bytes, sender: str, recipients: list[str]) -> None:
    """Give the message to all recipients or to none: a repetition after a refusal reaches nobody twice."""
    await client.mail(sender)
    refused = []
    for recipient in recipients:
        try:
            await client.rcpt(recipient)
        except aiosmtplib.SMTPRecipientRefused as error:
            refused.append(error)
    if refused:
        raise aiosmtplib.SMTPRecipientsRefused(refused)
    await client.data(content)


def _fault(error: aiosmtplib.SMTPException, name: str) -> Faulted:
    """Return what an answer of the server means: 4xx is worth another attempt, 5xx is not."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        listed = "; ".join(f"{each.recipient}: {each.code} {each.message}" for each in error.recipients)
        transient = all(400 <= each.code < 500 for each in error.recipients)
        return communication_fault(
            f"{name} refuses recipients: {listed}", 503 if transient else 422, transient=transient
        )
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return authentication_fault(f"{name} refuses the user or the password: {error.code} {error.message}")
    if isinstance(error, aiosmtplib.SMTPResponseException):
        detail = f"{name} answers {error.code} {error.message}"
        if error.code == 530:
            return authentication_fault(detail)
        transient = 400 <= error.code < 500
        return communication_fault(detail, 503 if transient else 500, transient=transient)
    beneath = error.__cause__ or error.__context__
    if isinstance(beneath, OSError):
        raise beneath
    lost = isinstance(error, aiosmtplib.SMTPServerDisconnected)
    return communication_fault(f"{name}: {error}", 503 if lost else 500, transient=lost)
