"""Run commands and copy files on other machines over SSH.

The server has to prove who it is: `host_key` or `known_hosts` says which keys are right.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Annotated, Any, Final, Literal

import asyncssh
import msgspec

from tenuto.connectors.child import tail
from tenuto.connectors.sockets import answers_of, open_socket
from tenuto.plugin import (
    Call,
    Secret,
    authentication_fault,
    authorization_fault,
    communication_fault,
    configuration_fault,
    function,
    runtime_fault,
    validation_fault,
)

VERSION = "1.0.0"

DEFAULT_TIMEOUT_SECONDS: Final = 60.0
DEFAULT_OUTPUT_LIMIT_BYTES: Final = 1024 * 1024  # of each of stdout and stderr
DEFAULT_FILE_LIMIT_BYTES: Final = 4 * 1024 * 1024
DETAIL_CHARACTERS: Final = 500  # how much of stderr a fault shows
MAX_UNDO_BYTES: Final = 1024 * 1024  # a former content up to this size can be restored
_MODE: Final = re.compile(r"[0-7]{3}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Encoding = Literal["text", "base64"]


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The machine, the account, and how both prove who they are."""

    host: Annotated[str, msgspec.Meta(description="The machine's name.")]
    user: Annotated[str, msgspec.Meta(description="The account.")]
    port: Annotated[int, msgspec.Meta(description="Where its SSH server listens.")] = 22
    private_key: Annotated[Secret | None, msgspec.Meta(description="As in the file `id_ed25519`.")] = None
    passphrase: Annotated[Secret | None, msgspec.Meta(description="What the private key is locked with.")] = (
        None
    )
    password: Annotated[Secret | None, msgspec.Meta(description="The account's password.")] = None
    host_key: Annotated[
        str | None, msgspec.Meta(description="The server's public key, as `ssh-ed25519 AAAA...`.")
    ] = None
    known_hosts: Annotated[str | None, msgspec.Meta(description="The lines of a file `known_hosts`.")] = None


@function(effect="write")
async def run(
    call: Call,
    *,
    server: Server,
    command: list[str],
    stdin: str | None = None,
    environment: dict[str, str] | None = None,
    folder: str | None = None,
    check: bool = True,
    limit: int = DEFAULT_OUTPUT_LIMIT_BYTES,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Run a program and wait for its end.

    Returns `{code, stdout, stderr}`. An exit code other than 0 is a fault, unless `check` is
    false. A program that a signal ended is always a fault. When the time is up the connection is
    closed; whether that ends the program is up to the program.

    Args:
        server: The machine (host, port), the account (user) and its `private_key` or `password`,
            and the machine's `host_key` or `known_hosts`.
        command: The program and its arguments, one item each. They are quoted: no shell
            interprets them. For a shell's features run one: `[sh, -c, "...", sh, ARGUMENT]`.
        stdin: What the program reads.
        environment: Variables for the program; they are visible on that machine, so no secrets.
        folder: Where the program starts; the account's home if not given.
        check: Whether an exit code other than 0 is a fault.
        limit: The most bytes that stdout and stderr may each have; more are a fault.
        timeout: Seconds that everything together may take.
    """
    line = _line(command, environment or {}, folder)
    async with _connected(call, server, timeout) as connection:
        process = await connection.create_process(line, encoding=None)
        with suppress(OSError):  # a program may end without having read its input
            process.stdin.write((stdin or "").encode())
            process.stdin.write_eof()
        stdout, stderr = await asyncio.gather(
            _collect(process.stdout, limit, "stdout"), _collect(process.stderr, limit, "stderr")
        )
        await process.wait_closed()
        code = process.exit_status
        if process.exit_signal is not None:
            signal = process.exit_signal[0]
            raise runtime_fault(f"`{command[0]}` on {server.host} was ended by the signal {signal}")
        if code is None:
            raise communication_fault(
                f"the connection to {server.host} was lost while `{command[0]}` ran", 503, transient=True
            )
        if check and code != 0:
            said = tail(stderr, characters=DETAIL_CHARACTERS)
            about = f": {said}" if said else ""
            raise runtime_fault(f"`{command[0]}` on {server.host} ended with {code}{about}")
        return {"code": code, "stdout": stdout, "stderr": stderr}


@function(effect="write", idempotent=True, undo="restore")
async def put(
    call: Call,
    *,
    server: Server,
    path: str,
    content: str,
    encoding: Encoding = "text",
    mode: str | None = None,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Write a file on another machine, all of it or nothing.

    Returns `{path, changed, kept, before}`, where `before` is the former content in base64, for
    undoing: `kept` is false if it had more than 1 MiB and so cannot be restored.

    Args:
        server: The machine, the account, and how both prove who they are, as for `run`.
        path: The file; relative to the account's home.
        content: What to write.
        encoding: `text` for UTF-8, `base64` for anything.
        mode: The permissions in octal digits, as in `600`; otherwise those that it has.
        timeout: Seconds that everything together may take.
    """
    wanted = _decoded(content, encoding)
    if mode is not None and not _MODE.fullmatch(mode):
        raise validation_fault(f"ssh.put, argument `mode`: `{mode}` is not of the form 600")
    permissions = None if mode is None else int(mode, 8)
    async with _connected(call, server, timeout) as connection, connection.start_sftp_client() as sftp:
        with _told(server, path):
            former = await _attributes(sftp, path)
            before = None
            kept = former is None or (former.size or 0) <= MAX_UNDO_BYTES
            if former is not None and kept:
                before = await _read(sftp, path)
            if before == wanted:
                if permissions is not None:
                    await sftp.chmod(path, permissions)
                return {"path": path, "changed": False, "kept": True, "before": None}
            if permissions is None and former is not None and former.permissions is not None:
                permissions = former.permissions & 0o777
            await _replace(sftp, path, wanted, permissions, call.idempotency_key)
        text = None if before is None else base64.b64encode(before).decode()
        return {"path": path, "changed": True, "kept": kept, "before": text}


@function(effect="write", idempotent=True)
async def restore(
    call: Call,
    *,
    server: Server,
    result: dict[str, Any] | None = None,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Give a file back what it was before `put`; delete it if it was not there.

    Args:
        server: The machine, the account, and how both prove who they are, as for `run`.
        result: What `put` returned; without it nothing is restored.
        timeout: Seconds that everything together may take.
    """
    if not result or not result.get("changed"):
        return {"changed": False}
    path = str(result.get("path"))
    if not result.get("kept"):
        raise runtime_fault(f"`{path}` had more than {MAX_UNDO_BYTES} bytes, so its content was not kept")
    before = result.get("before")
    async with _connected(call, server, timeout) as connection, connection.start_sftp_client() as sftp:
        with _told(server, path):
            former = await _attributes(sftp, path)
            if before is not None:
                permissions = former.permissions if former is not None else None
                mode = None if permissions is None else permissions & 0o777
                await _replace(sftp, path, _decoded(before, "base64"), mode, call.idempotency_key)
            elif former is not None:
                await sftp.remove(path)
    return {"changed": True}


@function(effect="read")
async def get(
    call: Call,
    *,
    server: Server,
    path: str,
    encoding: Encoding = "text",
    limit: int = DEFAULT_FILE_LIMIT_BYTES,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
) -> str:
    """Return the content of a file on another machine.

    Args:
        server: The machine, the account, and how both prove who they are, as for `run`.
        path: The file; relative to the account's home.
        encoding: `text` for UTF-8, `base64` for anything.
        limit: The most bytes that it may have.
        timeout: Seconds that everything together may take.
    """
    async with _connected(call, server, timeout) as connection, connection.start_sftp_client() as sftp:
        with _told(server, path):
            content = await _read(sftp, path, limit + 1)
    if len(content) > limit:
        raise validation_fault(f"`{path}` on {server.host} has more than {limit} bytes; raise `limit`")
    if encoding == "base64":
        return base64.b64encode(content).decode()
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise validation_fault(
            f"`{path}` on {server.host} is not UTF-8 text; get it with `encoding: base64`"
        ) from None


# ── commands ─────────────────────────────────────────────────────────────────────────────


def _line(command: list[str], environment: dict[str, str], folder: str | None) -> str:
    """Return the one string that the protocol carries, for the account's POSIX shell.

    Everything is quoted, also what looks harmless: unquoted, `A=b` or `if` would mean something.
    """
    if not command or not command[0]:
        raise validation_fault("ssh.run, argument `command`: it is empty; the first item is the program")
    if any("\0" in text for text in (*command, *environment.values(), folder or "")):
        raise validation_fault("ssh.run: a null character cannot be passed to a program")
    for name in environment:
        if not _VARIABLE.fullmatch(name):
            raise validation_fault(f"ssh.run, argument `environment`: `{name}` is no name of a variable")
    line = " ".join(
        [*(f"{name}={_quoted(value)}" for name, value in environment.items()), *map(_quoted, command)]
    )
    return line if folder is None else f"cd -- {_quoted(folder)} && {line}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


async def _collect(stream: asyncssh.SSHReader[bytes], limit: int, name: str) -> str:
    parts: list[bytes] = []
    size = 0
    while part := await stream.read(65536):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise validation_fault(f"the program wrote more than {limit} bytes to {name}; raise `limit`")
    return b"".join(parts).decode(errors="replace")


# ── files ────────────────────────────────────────────────────────────────────────────────


def _decoded(content: str, encoding: Encoding) -> bytes:
    if encoding == "text":
        return content.encode()
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise validation_fault(f"the content is not base64: {error}") from None


async def _attributes(sftp: asyncssh.SFTPClient, path: str) -> asyncssh.SFTPAttrs | None:
    try:
        return await sftp.stat(path)
    except asyncssh.SFTPNoSuchFile:
        return None


async def _read(sftp: asyncssh.SFTPClient, path: str, size: int = -1) -> bytes:
    async with sftp.open(path, "rb") as file:
        content = await file.read(size)
    return content if isinstance(content, bytes) else content.encode()


async def _replace(sftp: asyncssh.SFTPClient, path: str, content: bytes, mode: int | None, key: str) -> None:
    """Write under another name, then rename; a repetition uses the same name, so none is left over."""
    beside = f"{path}.{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    try:
        async with sftp.open(beside, "wb") as file:
            if mode is not None:
                await file.chmod(mode)
            await file.write(content)
            with suppress(asyncssh.SFTPOpUnsupported):
                await file.fsync()
        await sftp.posix_rename(beside, path)
    except asyncssh.SFTPError:
        with suppress(asyncssh.SFTPError):
            await sftp.remove(beside)
        raise


@contextmanager
def _told(server: Server, path: str) -> Iterator[None]:
    try:
        yield
    except asyncssh.SFTPError as error:
        detail = f"`{path}` on {server.host}: {error.reason}"
        if isinstance(error, asyncssh.SFTPNoSuchFile):
            raise communication_fault(detail, 404) from None
        if isinstance(error, asyncssh.SFTPPermissionDenied):
            raise authorization_fault(detail) from None
        if isinstance(error, (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)):
            raise communication_fault(detail, 503, transient=True) from None
        raise runtime_fault(detail) from None


# ── connections ──────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _connected(
    call: Call, server: Server, timeout: float
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    name = f"{server.host}:{server.port}"
    known = _trusted(server)
    # Unlocking a key takes long on purpose, so it is done beside the event loop.
    keys = [await asyncio.to_thread(_private_key, server)] if server.private_key is not None else None
    with answers_of(name):
        async with asyncio.timeout(timeout):
            connection = await _connect(call, server, name, known, keys)
            try:
                yield connection
            except (asyncssh.DisconnectError, asyncssh.ChannelOpenError) as error:
                raise communication_fault(f"{name}: {error.reason}", 503, transient=True) from None
            finally:
                connection.abort()


async def _connect(
    call: Call, server: Server, name: str, known: Any, keys: list[asyncssh.SSHKey] | None
) -> asyncssh.SSHClientConnection:
    """Connect as the arguments say and no other way: no agent, no files of this machine's user."""
    try:
        return await asyncssh.connect(
            server.host,
            server.port,
            sock=await open_socket(call, server.host, server.port),
            config=None,
            known_hosts=known,
            username=server.user,
            client_keys=keys,
            password=server.password,
            agent_path=None,
            gss_host=None,
            login_timeout=0,
        )
    except asyncssh.HostKeyNotVerifiable:
        raise communication_fault(
            f"{name} shows another host key than the ones that are trusted; it may not be that machine", 502
        ) from None
    except asyncssh.PermissionDenied:
        means = "key" if keys else "password"
        raise authentication_fault(f"{name} does not let in `{server.user}` with this {means}") from None
    except asyncssh.DisconnectError as error:
        raise communication_fault(f"{name}: {error.reason}", 503, transient=True) from None


def _trusted(server: Server) -> Any:
    """Return the host keys that are right, in the library's form."""
    try:
        if server.host_key is not None:
            return [asyncssh.import_public_key(server.host_key)], [], []
        if server.known_hosts is not None:
            return asyncssh.import_known_hosts(server.known_hosts)
    except (asyncssh.KeyImportError, ValueError) as error:
        raise configuration_fault(f"the host key of {server.host} cannot be read: {error}") from None
    raise configuration_fault(
        f"`server` says nothing of which host key {server.host} has: give `host_key` (what "
        f"`ssh-keyscan {server.host}` prints, once compared) or `known_hosts`"
    )


def _private_key(server: Server) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_private_key(server.private_key or "", server.passphrase)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise configuration_fault(f"the private key for {server.host} cannot be read: {error}") from None
