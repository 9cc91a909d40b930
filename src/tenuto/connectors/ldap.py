"""Read and change directories over LDAP v3: OpenLDAP, 389 Directory Server, Active Directory.

Every function takes `server`, `bind`, `start_tls` and `timeout`. Repeating a change is safe:
what is already as asked counts as done. A value that is not text is `{"base64": "..."}`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from tenuto.connectors import ldap_wire as wire
from tenuto.connectors.sockets import answers_of, open_socket, split_url
from tenuto.plugin import (
    Call,
    Faulted,
    Secret,
    authentication_fault,
    authorization_fault,
    communication_fault,
    function,
    timeout_fault,
    validation_fault,
)

VERSION = "1.0.0"

DEFAULT_TIMEOUT_SECONDS: Final = 30.0
DEFAULT_LIMIT: Final = 1000
CLOSE_SECONDS: Final = 2.0  # for the farewell
PAGE_SIZE: Final = 500
PORTS: Final = {"ldap": 389, "ldaps": 636}
UNREADABLE: Final = frozenset({"userpassword", "unicodepwd"})  # kept as a hash: never compared


class Bind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks, by name and password."""

    dn: Annotated[str, msgspec.Meta(description="The distinguished name of the account.")]
    password: Annotated[Secret, msgspec.Meta(description="Its password; an empty one is refused.")]


class Binary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value that is not text."""

    base64: bytes


Value: TypeAlias = str | int | bool | Binary
Values: TypeAlias = Value | list[Value]
Attributes: TypeAlias = dict[str, Values]
_Change: TypeAlias = tuple[str, str, list[bytes]]  # add, remove or replace; attribute; values

SUCCESS, SIZE_LIMIT, COMPARE_TRUE = 0, 4, 6
NO_SUCH_ATTRIBUTE, VALUE_EXISTS, NO_SUCH_OBJECT, ENTRY_EXISTS = 16, 20, 32, 68
_NAMES: Final = {
    1: "operationsError", 2: "protocolError", 3: "timeLimitExceeded", 4: "sizeLimitExceeded",
    8: "strongerAuthRequired", 10: "referral", 11: "adminLimitExceeded", 13: "confidentialityRequired",
    16: "noSuchAttribute", 17: "undefinedAttributeType", 19: "constraintViolation",
    20: "attributeOrValueExists", 21: "invalidAttributeSyntax", 32: "noSuchObject", 34: "invalidDNSyntax",
    48: "inappropriateAuthentication", 49: "invalidCredentials", 50: "insufficientAccessRights",
    51: "busy", 52: "unavailable", 53: "unwillingToPerform", 64: "namingViolation",
    65: "objectClassViolation", 66: "notAllowedOnNonLeaf", 67: "notAllowedOnRDN",
    68: "entryAlreadyExists", 69: "objectClassModsProhibited", 80: "other",
}  # fmt: skip
_UNAUTHENTICATED: Final = frozenset({8, 13, 48, 49})
_UNFIT: Final = frozenset({17, 19, 21, 34, 64, 65, 67, 69})


# ── functions ────────────────────────────────────────────────────────────────────────────


@function(effect="write", idempotent=True, undo="delete_entry")
async def add_entry(
    call: Call,
    *,
    server: str,
    dn: str,
    attributes: Attributes,
    bind: Bind | None = None,
    start_tls: bool = False,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Add an entry; one that is already there with these values counts as added.

    Returns `{dn, created}`. An entry of that name with other values is a fault with status 409.
    Passwords are not compared. Undoing it deletes the entry, also when it was there before.

    Args:
        server: The directory, as `ldap://host:389` or `ldaps://host:636`.
        dn: The distinguished name of the new entry.
        attributes: Its attributes: a value or a list of values each.
        bind: The account to use; without it the access is anonymous.
        start_tls: Whether to encrypt an `ldap://` connection before anything else is said.
        timeout: Seconds that everything together may take.
    """
    wanted = {name: _values(values) for name, values in attributes.items()}
    async with _session(call, server, bind, start_tls, timeout) as session:
        reply = await session.ask(wire.add_request(dn, wanted))
        if reply.code == ENTRY_EXISTS:
            if not await session.holds(dn, wanted):
                raise communication_fault(f"`{dn}` is already there, with other attributes", 409)
            return {"dn": dn, "created": False}
        session.demand(reply, f"add `{dn}`")
        return {"dn": dn, "created": True}


@function(effect="write", idempotent=True)
async def delete_entry(
    call: Call,
    *,
    server: str,
    dn: str,
    bind: Bind | None = None,
    start_tls: bool = False,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Delete an entry; one that is not there counts as deleted.

    Returns `{dn, deleted}`.

    Args:
        server: The directory, as `ldap://host:389` or `ldaps://host:636`.
        dn: The distinguished name of the entry.
        bind: The account to use; without it the access is anonymous.
        start_tls: Whether to encrypt an `ldap://` connection before anything else is said.
        timeout: Seconds that everything together may take.
    """
    async with _session(call, server, bind, start_tls, timeout) as session:
        reply = await session.ask(wire.delete_request(dn))
        if reply.code == NO_SUCH_OBJECT:
            return {"dn": dn, "deleted": False}
        session.demand(reply, f"delete `{dn}`")
        return {"dn": dn, "deleted": True}


@function(effect="write", idempotent=True, undo="restore_attributes")
async def modify_entry(
    call: Call,
    *,
    server: str,
    dn: str,
    replace: Attributes | None = None,
    add: Attributes | None = None,
    remove: Attributes | None = None,
    bind: Bind | None = None,
    start_tls: bool = False,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Change attributes of an entry, all or none; what is already as asked stays.

    Returns `{dn, changed, before}`, where `before` has the former values of what was changed
    (none as an empty list), for undoing. Passwords are changed, but never returned.

    Args:
        server: The directory, as `ldap://host:389` or `ldaps://host:636`.
        dn: The distinguished name of the entry.
        replace: Attributes with all the values that they shall have; an empty list removes one.
        add: Values to add to attributes.
        remove: Values to remove from attributes.
        bind: The account to use; without it the access is anonymous.
        start_tls: Whether to encrypt an `ldap://` connection before anything else is said.
        timeout: Seconds that everything together may take.
    """
    wishes = [
        (change, name, _values(values))
        for change, attributes in (("replace", replace), ("add", add), ("remove", remove))
        for name, values in (attributes or {}).items()
    ]
    if not wishes:
        raise validation_fault("ldap.modify_entry needs at least one of `replace`, `add` and `remove`")
    async with _session(call, server, bind, start_tls, timeout) as session:
        before = await session.read(dn, [name for _, name, _ in wishes])
        changes = list(_differences(wishes, before))
        if changes:
            reply = await session.ask(wire.modify_request(dn, changes))
            if reply.code in (NO_SUCH_ATTRIBUTE, VALUE_EXISTS):
                # The directory takes values for equal that differ in bytes (case, spaces): ask it.
                changes = await session.open_changes(dn, changes)
                if not changes:
                    return {"dn": dn, "changed": False, "before": {}}
                reply = await session.ask(wire.modify_request(dn, changes))
            session.demand(reply, f"modify `{dn}`")
        former = {
            name: before.get(name.lower(), []) for _, name, _ in changes if name.lower() not in UNREADABLE
        }
        return {"dn": dn, "changed": bool(changes), "before": _readable(former)}


@function(effect="write", idempotent=True)
async def restore_attributes(
    call: Call,
    *,
    server: str,
    dn: str,
    result: dict[str, Any] | None = None,
    bind: Bind | None = None,
    start_tls: bool = False,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Give attributes back the values that they had before `modify_entry`.

    Args:
        server: The directory, as `ldap://host:389` or `ldaps://host:636`.
        dn: The distinguished name of the entry.
        result: What `modify_entry` returned; without it nothing is restored.
        bind: The account to use; without it the access is anonymous.
        start_tls: Whether to encrypt an `ldap://` connection before anything else is said.
        timeout: Seconds that everything together may take.
    """
    former = msgspec.convert((result or {}).get("before", {}), Attributes)
    changes = [("replace", name, _values(values)) for name, values in former.items()]
    if changes:
        async with _session(call, server, bind, start_tls, timeout) as session:
            reply = await session.ask(wire.modify_request(dn, changes))
            if reply.code == NO_SUCH_OBJECT:
                return {"dn": dn, "changed": False}
            session.demand(reply, f"restore `{dn}`")
    return {"dn": dn, "changed": bool(changes)}


@function(effect="write", idempotent=True, undo="remove_from_group")
async def add_to_group(
    call: Call,
    *,
    server: str,
    group: str,
    member: str,
    attribute: str = "member",
    bind: Bind | None = None,
    start_tls: bool = False,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Put a member into a group; one that is in it already stays.

    Returns `{group, member, changed}`. Undoing it takes the member out, also when it was in before.

    Args:
        server: The directory, as `ldap://host:389` or `ldaps://host:636`.
        group: The distinguished name of the group.
        member: The value for the group's attribute: mostly the member's distinguished name.
        attribute: The attribute that lists the members: `member`, `uniqueMember`, `memberUid`.
        bind: The account to use; without it the access is anonymous.
        start_tls: Whether to encrypt an `ldap://` connection before anything else is said.
        timeout: Seconds that everything together may take.
    """
    async with _session(call, server, bind, start_tls, timeout) as session:
        reply = await session.ask(wire.modify_request(group, [("add", attribute, [member.encode()])]))
        if reply.code != VALUE_EXISTS:
            session.demand(reply, f"add to group `{group}`")
        return {"group": group, "member": member, "changed": reply.code == SUCCESS}


@function(effect="write", idempotent=True, undo="add_to_group")
async def remove_from_group(
    call: Call,
    *,
    server: str,
    group: str,
    member: str,
    attribute: str = "member",
    bind: Bind | None = None,
    start_tls: bool = False,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Take a member out of a group; one that is not in it, or of a group that is gone, counts as out.

    Returns `{group, member, changed}`.

    Args:
        server: The directory, as `ldap://host:389` or `ldaps://host:636`.
        group: The distinguished name of the group.
        member: The value in the group's attribute: mostly the member's distinguished name.
        attribute: The attribute that lists the members: `member`, `uniqueMember`, `memberUid`.
        bind: The account to use; without it the access is anonymous.
        start_tls: Whether to encrypt an `ldap://` connection before anything else is said.
        timeout: Seconds that everything together may take.
    """
    async with _session(call, server, bind, start_tls, timeout) as session:
        reply = await session.ask(wire.modify_request(group, [("remove", attribute, [member.encode()])]))
        if reply.code not in (NO_SUCH_ATTRIBUTE, NO_SUCH_OBJECT):
            session.demand(reply, f"remove from group `{group}`")
        return {"group": group, "member": member, "changed": reply.code == SUCCESS}


@function(effect="read")
async def search(
    call: Call,
    *,
    server: str,
    base: str,
    filter: str = "(objectClass=*)",
    values: dict[str, str] | None = None,
    scope: Literal["base", "one", "subtree"] = "subtree",
    attributes: list[str] | None = None,
    limit: int = DEFAULT_LIMIT,
    bind: Bind | None = None,
    start_tls: bool = False,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Find entries.

    Returns `{entries: [{dn, attributes: {name: [value]}}], complete}`; `complete` is false when
    more entries fit than were given. A base that is not there has no entries.

    Args:
        server: The directory, as `ldap://host:389` or `ldaps://host:636`.
        base: Where to begin, as a distinguished name.
        filter: Which entries, as in `(&(objectClass=person)(uid={uid}))`; `{uid}` stands for
            the value of that name, and whatever is in the value is never taken for syntax.
        values: What the filter's places in braces stand for.
        scope: The base alone, what is directly under it, or everything under it.
        attributes: The attributes to read; all that users see if not given.
        limit: The most entries to give.
        bind: The account to use; without it the access is anonymous.
        start_tls: Whether to encrypt an `ldap://` connection before anything else is said.
        timeout: Seconds that everything together may take.
    """
    if limit < 1:
        raise validation_fault(f"ldap.search: `limit` is {limit}; it has to be at least 1")
    condition = wire.read_filter(filter, values or {})
    async with _session(call, server, bind, start_tls, timeout) as session:
        found, complete = await session.search(base, scope, condition, attributes or [], limit)
        entries = [{"dn": dn, "attributes": _readable(listed)} for dn, listed in found]
        return {"entries": entries, "complete": complete}


# ── values ───────────────────────────────────────────────────────────────────────────────


def _values(values: Values) -> list[bytes]:
    return [_bytes(value) for value in (values if isinstance(values, list) else [values])]


def _bytes(value: Value) -> bytes:
    if isinstance(value, Binary):
        return value.base64
    if isinstance(value, bool):
        return b"TRUE" if value else b"FALSE"
    return str(value).encode()


def _readable(attributes: Mapping[str, Sequence[bytes]]) -> dict[str, list[Any]]:
    return {name: [_text(value) for value in values] for name, values in attributes.items()}


def _text(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return msgspec.to_builtins(Binary(value))


def _differences(wishes: Iterable[_Change], before: Mapping[str, Sequence[bytes]]) -> Iterator[_Change]:
    """Yield what has to change so that the wishes hold; nothing for what holds already."""
    for change, name, values in wishes:
        present = before.get(name.lower(), ())
        if change == "replace":
            if name.lower() in UNREADABLE or sorted(present) != sorted(values):
                yield change, name, values
            continue
        needed = [value for value in values if (value in present) == (change == "remove")]
        if needed:
            yield change, name, needed


# ── sessions ─────────────────────────────────────────────────────────────────────────────


class _Session:
    """A connection to a directory: one question at a time, each with its answer."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._name = name
        self._reader = reader
        self._writer = writer
        self._last = 0

    async def ask(self, operation: bytes) -> wire.Reply:
        """Return the one answer to a request."""
        await self._send(operation)
        reply = await self._receive()
        if reply.kind in (wire.SEARCH_ENTRY, wire.SEARCH_REFERENCE):
            # It has no result code, so it must not pass for one that says success.
            raise communication_fault(f"{self._name} answers with what nobody searched for", 502)
        return reply

    async def search(
        self, base: str, scope: str, condition: bytes, attributes: Sequence[str], limit: int
    ) -> tuple[list[tuple[str, dict[str, list[bytes]]]], bool]:
        """Return what fits, page by page, and whether that is all."""
        entries: list[tuple[str, dict[str, list[bytes]]]] = []
        cookie = b""
        while True:
            page = min(PAGE_SIZE, limit + 1 - len(entries))
            query = wire.search_request(base, scope, condition, attributes, 0)
            await self._send(query, wire.paging(page, cookie))
            reply = await self._receive()
            while reply.kind in (wire.SEARCH_ENTRY, wire.SEARCH_REFERENCE):
                if reply.kind == wire.SEARCH_ENTRY:
                    entries.append((reply.dn, reply.attributes))
                if len(entries) > limit + PAGE_SIZE:
                    raise communication_fault(
                        f"{self._name} gives more entries than the {page} of a page", 502
                    )
                reply = await self._receive()
            if reply.code == NO_SUCH_OBJECT:
                return [], True
            if reply.code != SIZE_LIMIT:
                self.demand(reply, f"search `{base}`")
            cookie = reply.cookie
            if len(entries) > limit or reply.code == SIZE_LIMIT or not cookie:
                return entries[:limit], len(entries) <= limit and reply.code != SIZE_LIMIT

    async def read(self, dn: str, attributes: Sequence[str]) -> dict[str, list[bytes]]:
        """Return an entry's attributes, by their names in small letters."""
        found, _ = await self.search(dn, "base", wire.everything(), attributes, 1)
        if not found:
            raise communication_fault(f"there is no entry `{dn}` in {self._name}", 404)
        return {name.lower(): values for name, values in found[0][1].items()}

    async def holds(self, dn: str, wanted: Mapping[str, Sequence[bytes]]) -> bool:
        """Tell whether an entry has all these values, by bytes or else by the attribute's own rule."""
        present = await self.read(dn, list(wanted))
        missing = [
            (name, value)
            for name, values in wanted.items()
            if name.lower() not in UNREADABLE
            for value in values
            if value not in present.get(name.lower(), ())
        ]
        if not missing:
            return True
        found, _ = await self.search(dn, "base", wire.equals(missing), ["1.1"], 1)
        return bool(found)

    async def open_changes(self, dn: str, changes: Iterable[_Change]) -> list[_Change]:
        """Return what of these changes is not in place yet, by the attributes' own rules."""
        left: list[_Change] = []
        for kind, name, values in changes:
            needed = []
            for value in values:
                there = (await self.ask(wire.compare_request(dn, name, value))).code == COMPARE_TRUE
                if there == (kind == "remove"):
                    needed.append(value)
            if kind == "replace":
                left.append((kind, name, values))
            elif needed:
                left.append((kind, name, needed))
        return left

    def demand(self, reply: wire.Reply, what: str) -> None:
        """Raise the fault that a result code stands for, unless it is success."""
        if reply.code == SUCCESS:
            return
        name = _NAMES.get(reply.code, "error")
        said = f": {reply.diagnostic}" if reply.diagnostic else ""
        raise _fault(reply.code, f"{self._name} does not {what}: {name} ({reply.code}){said}")

    async def _send(self, operation: bytes, controls: bytes = b"") -> None:
        self._last += 1
        self._writer.write(wire.request(self._last, operation, controls))
        await self._writer.drain()

    async def _receive(self) -> wire.Reply:
        start = await self._reader.readexactly(2)
        try:
            while (sizes := wire.header_size(start)) is None:
                start += await self._reader.readexactly(1)
            reply = wire.read_reply(await self._reader.readexactly(sizes[1]))
            if reply.message_id != self._last:
                raise ValueError(f"answer {reply.message_id} to question {self._last}")
        except ValueError as error:
            raise communication_fault(f"{self._name} does not answer in LDAP: {error}", 502) from None
        return reply

    async def close(self) -> None:
        """Say farewell, and let go of the connection; a server that keeps it open is not waited for."""
        self._last += 1
        self._writer.write(wire.request(self._last, wire.unbind_request()))
        self._writer.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()


def _fault(code: int, detail: str) -> Faulted:
    if code in _UNAUTHENTICATED:
        return authentication_fault(detail)
    if code == 50:
        return authorization_fault(detail)
    if code in _UNFIT:
        return validation_fault(detail)
    if code == 3:
        return timeout_fault(detail)
    if code in (51, 52):
        return communication_fault(detail, 503, transient=True)
    return communication_fault(detail, {NO_SUCH_OBJECT: 404, ENTRY_EXISTS: 409}.get(code, 500))


@asynccontextmanager
async def _session(
    call: Call, server: str, bind: Bind | None, start_tls: bool, timeout: float
) -> AsyncIterator[_Session]:
    scheme, host, port = split_url(server, PORTS, "`server`")
    name = f"{host}:{port}"
    with answers_of(name):
        async with asyncio.timeout(timeout):
            connection = await open_socket(call, host, port)
            session: _Session | None = None
            try:
                if start_tls and scheme == "ldap":
                    await _start_tls(connection, name)
                secure = call.network.tls() if scheme == "ldaps" or start_tls else None
                reader, writer = await asyncio.open_connection(
                    sock=connection, ssl=secure, server_hostname=host if secure else None
                )
                session = _Session(name, reader, writer)
                if bind is not None:
                    if not bind.password:
                        # The protocol takes an empty password for anonymous access, and lets it in.
                        raise authentication_fault("`bind` has an empty password")
                    session.demand(
                        await session.ask(wire.bind_request(bind.dn, bind.password)), f"let in `{bind.dn}`"
                    )
                yield session
            finally:
                if session is None:
                    connection.close()
                else:
                    await session.close()


async def _start_tls(connection: socket.socket, name: str) -> None:
    """Ask for TLS on a bare socket, reading not one byte past the answer.

    Bytes that somebody slipped in behind the answer thus end up in the handshake, which fails.
    """
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, wire.request(1, wire.start_tls_request()))

    async def exactly(size: int) -> bytes:
        found = b""
        while len(found) < size:
            chunk = await loop.sock_recv(connection, size - len(found))
            if not chunk:
                raise EOFError
            found += chunk
        return found

    try:
        start = await exactly(2)
        while (sizes := wire.header_size(start)) is None:
            start += await exactly(1)
        reply = wire.read_reply(await exactly(sizes[1]))
    except ValueError as error:
        raise communication_fault(f"{name} does not answer in LDAP: {error}", 502) from None
    if reply.code != SUCCESS:
        raise communication_fault(f"{name} refuses StartTLS: {reply.diagnostic or reply.code}", 502)
