"""The company's directory: an LDAP server (RFC 4511) with bind, search, add, modify, delete, compare."""

from __future__ import annotations

import asyncio
import hmac
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from typing import Final, NamedTuple

from onboarding.servers import ber
from onboarding.servers.ber import Element
from onboarding.servers.child import Options, announce_ready, read_options
from onboarding.servers.entries import BASE, Attributes, Code, Entries, Refused, fold_name, values_of
from onboarding.servers.request_log import RequestLog

ADMIN: Final = f"cn=admin,{BASE}"
WHO_AM_I: Final = "1.3.6.1.4.1.4203.1.11.3"
PAGED_RESULTS: Final = "1.2.840.113556.1.4.319"  # RFC 2696

BIND, UNBIND, SEARCH, MODIFY, ADD, DELETE, COMPARE, ABANDON, EXTENDED = (
    0x60,
    0x42,
    0x63,
    0x66,
    0x68,
    0x4A,
    0x6E,
    0x50,
    0x77,
)
ANSWERS: Final = {
    BIND: 0x61,
    SEARCH: 0x65,
    MODIFY: 0x67,
    ADD: 0x69,
    DELETE: 0x6B,
    COMPARE: 0x6F,
    EXTENDED: 0x78,
}
NAMES: Final = {SEARCH: "search", MODIFY: "modify", ADD: "add", DELETE: "delete", COMPARE: "compare"}
ROOT: Final[Attributes] = {
    "objectClass": ["top"],
    "namingContexts": [BASE],
    "supportedLDAPVersion": ["3"],
    "supportedExtension": [WHO_AM_I],
    "supportedControl": [PAGED_RESULTS],
    "vendorName": ["Example Company"],
}


class Directory:
    """Answers LDAP connections from one tree of entries."""

    def __init__(self, options: Options) -> None:
        self._entries = Entries(options.folder / "directory.json")
        self._log = RequestLog(options.folder / "directory.log.jsonl")
        self._secret = options.secret
        self._latency = options.latency_seconds

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer one connection until it ends."""
        session = _Session()
        try:
            while True:
                message = await ber.read_message(reader)
                identity, operation, *controls = message.parts()
                if operation.tag == UNBIND:
                    break
                if operation.tag == ABANDON:
                    continue
                answers = await self._answer(session, operation, controls)
                writer.writelines(
                    ber.wrap(ber.SEQUENCE, ber.number(identity.number()), each) for each in answers
                )
                await writer.drain()
        except (IncompleteReadError, ConnectionError, ValueError):
            pass  # the client left, or does not speak LDAP: there is nobody to answer
        finally:
            writer.close()

    async def _answer(self, session: _Session, operation: Element, controls: list[Element]) -> list[bytes]:
        tag = ANSWERS.get(operation.tag, 0x78)
        found: list[bytes] = []
        extra = control = b""
        code, message = Code.SUCCESS, ""
        try:
            page = _asked_page(controls)
            match operation.tag:
                case 0x60:
                    self._bind(session, operation)
                case 0x63:
                    found = self._search(session, operation)
                    found, control = page.cut(found) if page else (found, b"")
                case 0x77:
                    extra = _extended(session, operation)
                case 0x66 | 0x68 | 0x4A | 0x6E:
                    session.require()
                    code = await self._change(operation)
                case _:
                    raise Refused(Code.PROTOCOL_ERROR, f"operation {operation.tag:#x} is not served here")
        except Refused as refused:
            code, message = refused.code, refused.message
        if operation.tag in NAMES:
            changed = operation.tag in (MODIFY, ADD, DELETE) and code is Code.SUCCESS
            self._log.write(NAMES[operation.tag], _described(operation), None, code.name.lower(), changed)
        result = (ber.number(code, ber.ENUMERATED), ber.text(""), ber.text(message), extra)
        return [*found, ber.wrap(tag, *result) + control]

    def _bind(self, session: _Session, operation: Element) -> None:
        _version, name, secret = operation.parts()
        session.who = ""
        if secret.tag != 0x80:
            raise Refused(Code.UNWILLING, "only simple bind is served here")
        if not name.content and not secret.content:
            return
        known = fold_name(name.text()) == fold_name(ADMIN)
        if not (hmac.compare_digest(secret.content, self._secret.encode()) and known):
            raise Refused(Code.INVALID_CREDENTIALS)
        session.who = name.text()

    def _search(self, session: _Session, operation: Element) -> list[bytes]:
        base, scope, _deref, _size, _time, types_only, wanted, names = operation.parts()
        if not base.content and scope.number() == 0:
            rows = [("", ROOT)]
        else:
            session.require()
            rows = self._entries.search(base.text(), scope.number(), wanted)
        chosen = [name.text() for name in names.parts()]
        only_names = types_only.content != b"\x00"
        return [_entry(name, attributes, chosen, only_names) for name, attributes in rows]

    async def _change(self, operation: Element) -> Code:
        if operation.tag != COMPARE:
            await asyncio.sleep(self._latency)
        match operation.tag:
            case 0x4A:
                self._entries.delete(operation.text())
            case 0x68:
                name, attributes = operation.parts()
                self._entries.add(name.text(), dict(_attribute(each) for each in attributes.parts()))
            case 0x66:
                name, changes = operation.parts()
                pairs = [change.parts() for change in changes.parts()]
                self._entries.modify(
                    name.text(), [(kind.number(), *_attribute(each)) for kind, each in pairs]
                )
            case _:
                name, assertion = operation.parts()
                kind, value = (part.text() for part in assertion.parts())
                values = map(str.lower, values_of(self._entries.get(name.text())[1], kind))
                return Code.COMPARE_TRUE if value.lower() in values else Code.COMPARE_FALSE
        return Code.SUCCESS


class _Session:
    """Who speaks on one connection; nobody has the empty name."""

    def __init__(self) -> None:
        self.who = ""

    def require(self) -> None:
        if not self.who:
            raise Refused(Code.INSUFFICIENT_ACCESS, "bind first")


class _Page(NamedTuple):
    """A part of a search's entries (RFC 2696): the cookie is the place where the next page begins."""

    size: int
    start: int

    def cut(self, entries: list[bytes]) -> tuple[list[bytes], bytes]:
        """Return the page's entries and the control that says whether there are more."""
        end = self.start + self.size
        cookie = str(end) if end < len(entries) else ""
        value = ber.wrap(ber.SEQUENCE, ber.number(len(entries)), ber.text(cookie))
        control = ber.wrap(ber.SEQUENCE, ber.text(PAGED_RESULTS), ber.wrap(ber.OCTET_STRING, value))
        return entries[self.start : end], ber.wrap(0xA0, control)


def _asked_page(controls: list[Element]) -> _Page | None:
    """Return the page that the controls ask for; refuse a control that must be honoured and is unknown."""
    page = None
    for control in (each for group in controls for each in group.parts()):
        name, *rest = control.parts()
        critical = bool(rest) and rest[0].tag == ber.BOOLEAN and rest[0].content != b"\x00"
        if name.text() == PAGED_RESULTS:
            size, cookie = ber.take(rest[-1].content)[0].parts()
            page = _Page(size.number(), int(cookie.text() or 0))
        elif critical:
            raise Refused(Code.CRITICAL_EXTENSION_UNAVAILABLE, f"control {name.text()} is not served here")
    return page


def _extended(session: _Session, operation: Element) -> bytes:
    asked = operation.parts()[0].text()
    if asked != WHO_AM_I:
        raise Refused(Code.PROTOCOL_ERROR, f"extended operation {asked} is not served here")
    return ber.text(f"dn:{session.who}" if session.who else "", 0x8B)


def _attribute(element: Element) -> tuple[str, list[str]]:
    kind, values = element.parts()
    return kind.text(), [value.text() for value in values.parts()]


def _entry(name: str, attributes: Attributes, chosen: list[str], only_names: bool) -> bytes:
    lower = [each.lower() for each in chosen]
    everything = not lower or "*" in lower
    shown = {kind: values for kind, values in attributes.items() if everything or kind.lower() in lower}
    rows = [
        ber.wrap(
            ber.SEQUENCE,
            ber.text(kind),
            ber.wrap(ber.SET, *([] if only_names else [ber.text(value) for value in values])),
        )
        for kind, values in shown.items()
    ]
    return ber.wrap(0x64, ber.text(name), ber.wrap(ber.SEQUENCE, *rows))


def _described(operation: Element) -> str:
    if operation.tag == DELETE:
        return operation.text()
    parts = operation.parts()
    if operation.tag != MODIFY:
        return parts[0].text()
    verbs = ("add", "delete", "replace")
    changes = []
    for change in parts[1].parts():
        verb, attribute = change.parts()
        kind, values = _attribute(attribute)
        changes.append(f"{verbs[verb.number()]} {kind} {' '.join(values)}")
    return f"{parts[0].text()}: {', '.join(changes)}"


async def main(options: Options) -> None:
    """Serve until the parent process ends."""
    server = await asyncio.start_server(Directory(options).serve, "127.0.0.1", options.port)
    announce_ready()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(read_options()))
