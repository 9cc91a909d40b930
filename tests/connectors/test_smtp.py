"""The smtp connector against a real SMTP server that keeps what it gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tenuto.errors import Fault
from tenuto.plugin import Call
from tests.servers.process import free_port
from tests.servers.smtp import SmtpServer

Invoke = Callable[..., Awaitable[Any]]
FaultOf = Callable[[Awaitable[Any]], Awaitable[Fault]]


@pytest.fixture
def server(smtp_server: SmtpServer) -> dict[str, Any]:
    """Return the server as an argument, encrypted after STARTTLS."""
    return {"host": smtp_server.host, "port": smtp_server.port}


MAIL = {
    "from": "Ada Lovelace <ada@example.org>",
    "to": "charles@example.org",
    "subject": "Engine",
    "text": "Hi",
}


async def test_a_mail_arrives_as_it_was_written(
    invoke: Invoke, smtp_server: SmtpServer, server: dict[str, Any]
) -> None:
    """Text, HTML, attachments and copies arrive; the hidden copy's name is in no header."""
    result = await invoke(
        "smtp.send",
        server=server,
        **{"from": "Zoë Lovelace <ada@example.org>"},
        to=["Charles <charles@example.org>", "mary@example.org"],
        cc="cc@example.org",
        bcc=["hidden@example.org", "mary@example.org"],
        reply_to="office@example.org",
        subject="Grüße",
        text="Größe\n.\nlast line",
        html="<b>Größe</b>",
        attachments=[
            {"name": "a.pdf", "content": "AP8="},
            {"name": "b", "content": "eA==", "type": "text/x-b"},
        ],
    )

    (message,) = smtp_server.messages
    everyone = ["charles@example.org", "mary@example.org", "cc@example.org", "hidden@example.org"]
    assert everyone == result["accepted"] == smtp_server.recipients[0]
    assert "hidden" not in message.as_string()
    assert "Grüße" == message["Subject"]
    assert "Zoë Lovelace <ada@example.org>" == message["From"]
    assert "office@example.org" == message["Reply-To"]
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert "Größe\n.\nlast line\n" == plain.get_content().replace("\r\n", "\n")
    assert "<b>Größe</b>" in html.get_content()
    files = [
        (part.get_filename(), part.get_content_type(), part.get_payload(decode=True))
        for part in message.iter_attachments()
    ]
    assert [("a.pdf", "application/pdf", b"\x00\xff"), ("b", "text/x-b", b"x")] == files


async def test_all_attempts_send_the_same_message_id(
    invoke: Invoke, make_call: Callable[..., Call], smtp_server: SmtpServer, server: dict[str, Any]
) -> None:
    """The id follows from the idempotency key, and another key gives another id."""
    for call in (make_call(key="one"), make_call(key="one", attempt=2), make_call(key="two")):
        await invoke("smtp.send", call=call, server=server, **MAIL)

    first, second, third = (message["Message-ID"] for message in smtp_server.messages)
    assert first == second
    assert first != third
    assert first.endswith("@example.org>")


@pytest.mark.parametrize("tls", ["none", "starttls", "tls"])
async def test_every_way_of_encrypting(invoke: Invoke, smtp_server: SmtpServer, tls: str) -> None:
    """The message comes over TLS exactly if it was asked for."""
    port = smtp_server.tls_port if tls == "tls" else smtp_server.port

    await invoke("smtp.send", server={"host": "localhost", "port": port, "tls": tls}, **MAIL)

    assert [tls != "none"] == smtp_server.encrypted


async def test_logging_in(invoke: Invoke, fault_of: FaultOf, smtp_server: SmtpServer) -> None:
    """User and password let in; a wrong or missing password is 401 and is not in the fault."""
    server = {"host": "localhost", "port": smtp_server.login_port, "user": smtp_server.user}

    await invoke("smtp.send", server={**server, "password": smtp_server.password}, **MAIL)
    wrong = await fault_of(invoke("smtp.send", server={**server, "password": "wrong-secret"}, **MAIL))
    none = await fault_of(invoke("smtp.send", server={**server, "user": None}, **MAIL))

    assert 1 == len(smtp_server.messages)
    assert [(401, False), (401, False)] == [(fault.status, fault.transient) for fault in (wrong, none)]
    assert "wrong-secret" not in str(wrong)


@pytest.mark.parametrize("argument", ["from", "to", "cc", "bcc", "reply_to", "subject"])
async def test_a_line_break_in_a_header_is_refused(
    invoke: Invoke, fault_of: FaultOf, smtp_server: SmtpServer, server: dict[str, Any], argument: str
) -> None:
    """No argument can add a header or a recipient."""
    evil = {**MAIL, argument: "ada@example.org\r\nBcc: victim@example.org"}

    fault = await fault_of(invoke("smtp.send", server=server, **evil))

    assert 400 == fault.status
    assert f"argument `{argument}`" in str(fault.detail)
    assert [] == smtp_server.messages


@pytest.mark.parametrize("box", ["ada", "ada@", "a@b, c@d", "a b@example.org", "ä@example.org", ""])
async def test_what_is_no_mailbox_is_refused(
    invoke: Invoke, fault_of: FaultOf, server: dict[str, Any], box: str
) -> None:
    """The fault shows the right form."""
    fault = await fault_of(invoke("smtp.send", server=server, **{**MAIL, "to": box}))

    assert "is not of the form name@host or Name <name@host>" in str(fault.detail)


@pytest.mark.parametrize(("box", "status", "transient"), [("nobody", 422, False), ("later", 503, True)])
async def test_a_refused_recipient_means_that_nobody_gets_it(
    invoke: Invoke,
    fault_of: FaultOf,
    smtp_server: SmtpServer,
    server: dict[str, Any],
    box: str,
    status: int,
    transient: bool,
) -> None:
    """550 is final, 451 is worth another attempt, and no other recipient got the mail meanwhile."""
    mail = {**MAIL, "to": ["charles@example.org", f"{box}@example.org"]}

    fault = await fault_of(invoke("smtp.send", server=server, **mail))

    assert (status, transient) == (fault.status, fault.transient)
    assert f"{box}@example.org" in str(fault.detail)
    assert [] == smtp_server.messages


async def test_faults_of_the_connection(
    invoke: Invoke, fault_of: FaultOf, make_call: Callable[..., Call], smtp_server: SmtpServer
) -> None:
    """A server that is down is transient; a certificate of another name is not."""
    call = make_call(resolve=(f"mail.example:25=127.0.0.1:{smtp_server.port}",))

    down = await fault_of(invoke("smtp.send", server={"host": "localhost", "port": free_port()}, **MAIL))
    other = await fault_of(
        invoke("smtp.send", call=call, server={"host": "mail.example", "port": 25}, **MAIL)
    )

    assert (503, True) == (down.status, down.transient)
    assert (502, False) == (other.status, other.transient)
    assert "certificate" in str(other.detail)


async def test_a_mail_needs_content_and_somebody(
    invoke: Invoke, fault_of: FaultOf, server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither content nor recipients, and too much to attach, are told before anything is sent."""
    monkeypatch.setattr("tenuto.connectors.smtp.MAX_ATTACHMENT_BYTES", 1)
    big = {"attachments": [{"name": "a", "content": "eHg="}]}

    faults = [
        await fault_of(invoke("smtp.send", server=server, **{**MAIL, **change}))
        for change in ({"text": None}, {"to": []}, big)
    ]

    assert ["needs `text` or `html`", "nobody to send to", "MAX_ATTACHMENT_BYTES is 1"] == [
        next(
            part
            for part in ("needs `text` or `html`", "nobody to send to", "MAX_ATTACHMENT_BYTES is 1")
            if part in str(fault.detail)
        )
        for fault in faults
    ]


async def test_a_port_that_cannot_be_is_told_and_nothing_is_sent(
    invoke: Invoke, fault_of: FaultOf, smtp_server: SmtpServer
) -> None:
    """The resolver takes it modulo 65536: the login would go to another port."""
    server = {"host": "localhost", "port": 65_536 + smtp_server.port, "tls": "none"}
    fault = await fault_of(invoke("smtp.send", server=server, **MAIL))

    assert fault.type.endswith("/configuration")
    assert fault.detail is not None
    assert fault.detail.endswith("cannot be: ports are 1 to 65535")
    assert smtp_server.messages == []
