"""The gate: secrets go out in calls, and come back in nothing: no result, no fault, no log."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

import pytest

from tenuto.engine.model import Perform
from tenuto.errors import Fault
from tenuto.plugin import Call, function, runtime_fault
from tenuto.runtime.actions import Gate
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.network import SystemNetwork
from tenuto.settings import Secrets

CANARY = "canary-4711-xyz"
SECRETS = {
    "token": CANARY,
    "db": {"pin": 48151623, "port": 22, "names": ["canary-list"]},
    "a.b": "dotted-canary",
}


@function(effect="read")
async def echo(call: Call, *, value: Any) -> Any:
    """Return the value."""
    return value


@function(effect="read")
async def refuse(call: Call, *, value: str) -> None:
    """Fail with an excerpt of the value, cut at both ends."""
    raise runtime_fault(f"the server said: {value[:-3]}… and …{value[3:]}", title=f"No {value}")


def gate() -> Gate:
    """Return a gate to the functions above and to those that are installed."""
    module = ModuleType("sample", "A sample.")
    for name, member in (("VERSION", "1.0.0"), ("echo", echo), ("refuse", refuse)):
        module.__dict__[name] = member
    echo.__module__ = refuse.__module__ = "sample"
    return Gate(Catalog({"sample": module}), SystemNetwork(), Secrets(SECRETS))


def reference(path: str) -> str:
    """Return a reference to a secret."""
    return f"\x01n:{path}\x01"


async def perform(
    name: str, arguments: dict[str, Any], *, nonce: str = "n", through: Gate | None = None
) -> Any:
    """Carry out one action; return its result, or its fault."""
    outcome = await (through or gate()).perform(
        "run", Perform(1, "/do/0/a", name, arguments, "key", nonce=nonce), ()
    )
    return outcome if isinstance(outcome, Fault) else outcome[0]


async def test_no_part_of_a_secret_comes_back() -> None:
    """Texts and numbers, alone and inside texts; a short number is data like any other."""
    sent = {
        "a": reference("token"),
        "b": f"x {reference('token')}",
        "c": reference("db"),
        "d": f":{reference('db.pin')}",
    }

    result = await perform("sample.echo", {"value": sent})

    assert {
        "a": "***",
        "b": "x ***",
        "c": {"pin": "***", "port": 22, "names": ["***"]},
        "d": ":***",
    } == result


async def test_what_is_no_secret_comes_back() -> None:
    """The same numbers and texts are data where the call did not use the secret."""
    assert {"a": 48151623, "b": CANARY} == await perform(
        "sample.echo", {"value": {"a": 48151623, "b": CANARY}}
    )


async def test_an_excerpt_in_a_fault_holds_no_piece_of_a_secret() -> None:
    """An ellipsis may cut a secret in two; what is left of it is masked as well."""
    fault = await perform("sample.refuse", {"value": reference("token")})

    assert "No ***" == fault.title
    assert "the server said: ***… and …***" == fault.detail


async def test_a_log_has_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """The connector writes it itself, so it masks it itself."""
    installed = Gate(Catalog.discover(), SystemNetwork(), SECRETS)
    with caplog.at_level(logging.DEBUG, "tenuto"):
        await perform("core.log", {"message": f"sent {reference('token')}"}, through=installed)

    assert caplog.records[0].getMessage().endswith(": sent ***")
    assert CANARY not in caplog.text


async def test_an_unknown_secret_names_the_variable_that_would_give_it() -> None:
    """As the environment spells it."""
    fault = await perform("sample.echo", {"value": reference("api-token.name")})

    assert 403 == fault.status
    assert fault.detail.endswith("give it with --secrets or TENUTO_SECRET_API_TOKEN")


async def test_the_name_of_a_secret_may_have_dots() -> None:
    """They look like members in a reference, and are not."""
    assert "***" == await perform("sample.echo", {"value": reference("a%2Eb")})


async def test_every_action_has_an_outcome() -> None:
    """Data that nests too deeply to be looked through is a fault; a run is never left waiting."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    fault = await perform("sample.echo", {"value": deep})

    assert "sample.echo could not be called: RecursionError" == fault.detail
