"""The whole surface that a connector's author sees, on one page.

A connector is a module of annotated async functions. The module's docstring is the
connector's summary, `VERSION` its version; each function marked with `@function` becomes
callable from a workflow as `call: <connector>.<function>:<version>@default`:

    \"\"\"Send messages to the pager.\"\"\"
    from tenuto.plugin import Call, function

    VERSION = "1.0.0"

    @function(effect="write", idempotent=True, undo="withdraw")
    async def page(call: Call, *, who: str, text: str) -> dict[str, str]:
        \"\"\"Page somebody.

        Args:
            who: The pager's address.
            text: At most 160 characters.
        \"\"\"

The signature and the docstring are the schema, the reference page and the form; nothing is
declared twice. A distribution makes its connector known with an entry point in the group
`tenuto.connectors`, whose name is the connector's name and whose value is the module.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Protocol, TypeAlias, TypeVar

import msgspec

from tenuto.errors import (
    Fault,
    Faulted,
    authentication_fault,
    authorization_fault,
    communication_fault,
    configuration_fault,
    runtime_fault,
    timeout_fault,
    validation_fault,
)

__all__ = [
    "ENTRY_POINT_GROUP",
    "Call",
    "Effect",
    "Fault",
    "Faulted",
    "FunctionFacts",
    "Network",
    "Secret",
    "authentication_fault",
    "authorization_fault",
    "communication_fault",
    "configuration_fault",
    "facts_of",
    "function",
    "runtime_fault",
    "timeout_fault",
    "validation_fault",
]

ENTRY_POINT_GROUP: Final = "tenuto.connectors"

Effect = Literal["read", "write"]

Secret: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"format": "password", "writeOnly": True})]
"""A string that must not be seen: forms hide it, and it is struck out of the errors of the call."""


class Network(Protocol):
    """How a connector reaches other machines, so that `--resolve` and `SSL_CERT_FILE` hold for all."""

    def address(self, host: str, port: int) -> tuple[str, int]:
        """Return where to connect for `host:port`; the same pair unless the user mapped it."""

    def tls(self) -> ssl.SSLContext:
        """Return the client TLS context; the TLS name stays the original host's."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one action: who asks, and what the function may use.

    `idempotency_key` is equal across all attempts of the same action, also after a crash:
    hand it to systems that can recognise a repetition.
    `folders` are where relative `file:` references are looked up, in order.
    `authorized` is told what credential was used, so that `$authorization` can be offered.
    `mask` strikes the secrets of this call out of a text: for what a connector itself writes to
    a log. Results and faults are searched for them anyway.
    `report` records how far the action is, as JSON; `progress` is what was last recorded, by an
    earlier attempt or before a crash.
    """

    run: str
    task: str
    attempt: int
    idempotency_key: str
    network: Network
    folders: tuple[Path, ...] = ()
    authorized: Callable[[str, str], None] = lambda scheme, parameter: None
    mask: Callable[[str], str] = lambda text: text
    report: Callable[[Any], None] = lambda progress: None
    progress: Any = None


class FunctionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a function declares about itself.

    `undo` names a function of the same connector that takes back what this one did. It is
    called with those of this call's arguments whose names it has, and with `result` (this
    call's result, or null if the outcome is unknown) if it has a parameter of that name; it
    must succeed when there is nothing to take back.
    """

    effect: Effect
    idempotent: bool
    undo: str | None
    transient: tuple[type[BaseException], ...]


_Function = TypeVar("_Function", bound=Callable[..., Awaitable[Any]])


def function(
    *,
    effect: Effect,
    idempotent: bool | None = None,
    undo: str | None = None,
    transient: tuple[type[BaseException], ...] = (),
) -> Callable[[_Function], _Function]:
    """Mark an async function as callable from workflows.

    Args:
        effect: `read` changes nothing outside; `write` does.
        idempotent: Whether repeating the call with the same key changes nothing more.
            Reads are; writes are not unless they say so.
        undo: The name of the function in the same module that takes this one's effect back.
        transient: Exceptions after which trying again may work; the workflow sees
            `$error.transient`.
    """
    facts = FunctionFacts(
        effect=effect,
        idempotent=effect == "read" if idempotent is None else idempotent,
        undo=undo,
        transient=transient,
    )

    def mark(implementation: _Function) -> _Function:
        implementation.__tenuto__ = facts  # type: ignore[attr-defined]
        return implementation

    return mark


def facts_of(implementation: object) -> FunctionFacts | None:
    """Return what `@function` recorded about a function, or None for any other object."""
    facts = getattr(implementation, "__tenuto__", None)
    return facts if isinstance(facts, FunctionFacts) else None
