"""What the tests of all connectors use: a call, the installed catalog, and a way to see faults."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tenuto.errors import Fault, Faulted
from tenuto.plugin import Call
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.network import SystemNetwork
from tests.servers.authority import Authority


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """Return everything that is installed."""
    return Catalog.discover()


@pytest.fixture
def make_call(authority: Authority) -> Callable[..., Call]:
    """Return a maker of calls that trust the session's certificate authority."""

    def make(
        *, key: str = "key-1", attempt: int = 1, folders: tuple[Path, ...] = (), resolve: tuple[str, ...] = ()
    ) -> Call:
        return Call(
            run="run-1",
            task="/do/0/step",
            attempt=attempt,
            idempotency_key=key,
            network=SystemNetwork(resolve, trust_file=str(authority.file)),
            folders=folders,
        )

    return make


@pytest.fixture
def invoke(catalog: Catalog, make_call: Callable[..., Call]) -> Callable[..., Awaitable[Any]]:
    """Return a shorthand: `await invoke("ldap.search", base=..., call=...)`."""

    async def run(function: str, /, call: Call | None = None, **arguments: Any) -> Any:
        return await catalog.find(function).invoke(call or make_call(), arguments)

    return run


@pytest.fixture
def fault_of() -> Callable[[Awaitable[Any]], Awaitable[Fault]]:
    """Return a way to see the fault that an awaitable ends with."""

    async def see(awaitable: Awaitable[Any]) -> Fault:
        with pytest.raises(Faulted) as caught:
            await awaitable
        return caught.value.fault

    return see
