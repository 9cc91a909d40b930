"""The catalog: functions are found by name, loaded when needed, and called with checked data."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import msgspec
import pytest

from tenuto.errors import Fault, Faulted, Invalid, NotFound
from tenuto.plugin import Call, Secret, communication_fault, function
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.network import SystemNetwork


@pytest.fixture
def call() -> Call:
    """Return a call."""
    return Call(run="run-1", task="/do/0/a", attempt=1, idempotency_key="key-1", network=SystemNetwork())


def module_of(
    name: str = "sample", version: Any = "1.2.3", doc: Any = "A sample.", **members: Any
) -> ModuleType:
    """Return a connector's module with these functions."""
    module = ModuleType(name, doc)
    module.__dict__["VERSION"] = version
    for attribute, value in members.items():
        value.__module__ = name
        value.__name__ = attribute
        module.__dict__[attribute] = value
    return module


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks."""

    user: Annotated[str, msgspec.Meta(description="The name.")]
    password: Secret


@dataclass
class Answer:
    """What a function may return."""

    day: date
    sizes: tuple[int, ...]


@function(effect="write", idempotent=True, undo="unset", transient=(ConnectionResetError,))
async def setting(
    call: Call,
    *,
    name: str,
    from_: int = 3,
    account: Account | None = None,
    fail: str | None = None,
) -> Any:
    """Set something.

    More about it.

    Args:
        name: What to set,
            over two lines.
        from_: Where it comes from.
    """
    raised: dict[str | None, BaseException] = {
        "lost": ConnectionResetError("peer gone"),
        "bug": KeyError("x"),
        "told": Faulted(Fault("https://example.org/own", 418, "Teapot", "with s3cret inside")),
        "secret": ValueError("password s3cret for postgresql://ada:other@host/db is wrong"),
        "stop": asyncio.CancelledError(),
    }
    if fail == "wrapped":
        try:
            raise raised["lost"]
        except ConnectionResetError as error:
            raise communication_fault("no answer") from error
    if fail is not None:
        raise raised[fail]
    return {"name": name, "from": from_, "answer": Answer(date(2026, 1, 2), (1, 2))}


@function(effect="write")
async def unset(call: Call, *, name: str) -> None:
    """Take it back."""


@pytest.fixture
def catalog() -> Catalog:
    """Return a catalog with one sample connector and one that cannot be imported."""

    def missing() -> ModuleType:
        raise ModuleNotFoundError("No module named 'pagerlib'")

    return Catalog({"sample": module_of(setting=setting, unset=unset), "pager": missing})


# ── finding ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name", ["sample.setting", "sample.setting:1.2.3", "sample.setting:1.2", "sample.setting:1"]
)
def test_a_function_is_found_by_name_and_version(catalog: Catalog, name: str) -> None:
    """The version may be left out, or given by its first parts."""
    found = catalog.find(name)

    assert ("sample.setting", "1.2.3") == (found.name, found.version)
    assert catalog.knows(name)


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("sampel.setting", "no connector `sampel`", "did you mean `sample`?"),
        ("sample.seting", "no function `seting`", "did you mean `sample.setting`?"),
        ("sample.xyz", "no function `xyz`", "the functions are: sample.setting, sample.unset"),
        ("sample.setting:2", "in version 1.2.3, not 2", "write `sample.setting:1.2.3`"),
        ("sample.setting:1.2.30", "not 1.2.30", "install a version that fits"),
        ("sample.setting:1.", "not 1.", "write"),
        ("log", "no connector `core`", "the connectors are: pager, sample"),
    ],
)
def test_what_is_not_there_is_told_with_the_nearest_name(
    catalog: Catalog, name: str, message: str, hint: str
) -> None:
    """One clear error, and what to write instead."""
    with pytest.raises(NotFound, match=message) as caught:
        catalog.find(name)

    assert hint in str(caught.value.hint)
    assert not catalog.knows(name)


def test_a_connector_whose_library_is_missing_is_known_but_cannot_be_called(catalog: Catalog) -> None:
    """Validation lets its functions pass; calling one says what to install; the others still work."""
    with pytest.raises(NotFound, match="No module named 'pagerlib'"):
        catalog.find("pager.page")

    assert catalog.knows("pager.page")
    listed = {connector.name: connector.problem for connector in catalog.connectors()}
    assert listed["sample"] is None
    assert "pagerlib" in str(listed["pager"])


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a built-in connector the hint is the command that installs what it needs."""
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    monkeypatch.delitem(sys.modules, "tenuto.connectors.ssh", raising=False)

    with pytest.raises(NotFound) as caught:
        Catalog.discover().find("ssh.run")

    assert 'install what it needs: pip install "tenuto[ssh]"' == caught.value.hint


def test_undo_is_asked_for_at_the_same_version(catalog: Catalog) -> None:
    """The undo function comes with the version that the document names, or none."""
    assert "sample.unset" == catalog.undo_of("sample.setting")
    assert "sample.unset:1" == catalog.undo_of("sample.setting:1")
    assert catalog.undo_of("sample.unset") is None


def test_a_name_without_a_connector_is_one_of_core() -> None:
    """`log:1.0.0`, as the public catalog has it, is `core.log`."""
    assert "core.log" == Catalog.discover().find("log:1.0.0").name


def test_nothing_is_imported_before_it_is_needed() -> None:
    """Finding all connectors imports none of them, nor the slow importlib.metadata."""
    code = (
        "import sys; from tenuto.runtime.catalog import Catalog; Catalog.discover().find('core.noop');"
        "print([name for name in sys.modules if name.startswith('tenuto.connectors.')"
        " or name in ('asyncssh', 'aiohttp', 'importlib.metadata')])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "['tenuto.connectors.core']\n" == done.stdout


def test_every_built_in_connector_loads_and_describes_all_its_parameters() -> None:
    """No built-in connector has a problem, and every argument says what it means."""
    connectors = Catalog.discover().connectors()

    assert {"core", "files", "ldap", "smtp", "sql", "ssh"} <= {connector.name for connector in connectors}
    assert [] == [connector.problem for connector in connectors if connector.problem]
    silent = [
        f"{each.name}: {parameter.name}"
        for connector in connectors
        for each in connector.functions
        for parameter in each.parameters
        if not parameter.description
    ]
    assert [] == silent


# ── third parties ────────────────────────────────────────────────────────────────────────


def install(folder: Path, distribution: str, connector: str, source: str) -> None:
    """Lay out a distribution as an installer does."""
    module = f"{distribution}_module"
    (folder / f"{module}.py").write_text(source)
    information = folder / f"{distribution}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        f"[console_scripts]\nx = y:z\n\n[tenuto.connectors]\n{connector} = {module}\n"
    )


PAGER = '''"""Send messages to the pager."""
from tenuto.plugin import Call, function

VERSION = "0.3.1"

@function(effect="write", idempotent=True)
async def page(call: Call, *, who: str, urgent: bool = False) -> dict[str, str]:
    """Page somebody."""
    return {"who": who, "key": call.idempotency_key}
'''


async def test_a_connector_of_a_separate_package_is_found_and_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    """A distribution on the path with an entry point is all that it takes."""
    install(tmp_path, "acme_pager", "pager", PAGER)
    monkeypatch.syspath_prepend(str(tmp_path))

    found = Catalog.discover().find("pager.page:0.3")

    assert {"who": "ada", "key": "key-1"} == await found.invoke(call, {"who": "ada"})


def test_two_distributions_cannot_offer_the_same_connector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names both; the same distribution twice on the path is no conflict."""
    install(tmp_path, "acme_pager", "pager", PAGER)
    monkeypatch.syspath_prepend(str(tmp_path))
    again = tmp_path / "again"
    again.mkdir()
    install(again, "acme_pager", "pager", PAGER)
    monkeypatch.syspath_prepend(str(again))
    assert Catalog.discover().knows("pager.page")

    install(tmp_path, "evil_pager", "pager", PAGER)
    with pytest.raises(Invalid, match=r"offer a connector `pager`: acme_pager and evil_pager"):
        Catalog.discover()


async def _not_keyword(call: Call, who: str) -> None:
    """Do."""


async def _no_type(call: Call, *, who) -> None:  # type: ignore[no-untyped-def]
    """Do."""


async def _no_docstring(call: Call, *, who: str) -> None: ...


async def _no_call(*, who: str) -> None:
    """Do."""


async def _no_json(call: Call, *, who: complex) -> None:
    """Do."""


async def _fine(call: Call, *, who: str) -> None:
    """Do."""


def _not_async(call: Call, *, who: str) -> None:
    """Do."""


mark: Callable[..., Any] = function(effect="write")


@pytest.mark.parametrize(
    ("module", "message", "hint"),
    [
        (lambda: module_of(a=mark(_not_async)), "function `a`: it is not async", "async def"),
        (lambda: module_of(a=mark(_not_keyword)), "`who` is not keyword-only", "put a `*`"),
        (lambda: module_of(a=mark(_no_type)), "`who` has no type", "`who: str`"),
        (lambda: module_of(a=mark(_no_docstring)), "it has no docstring", "say in its first line"),
        (lambda: module_of(a=mark(_no_call)), "its first parameter is not `call`", "call: Call, *"),
        (lambda: module_of(a=mark(_no_json)), "cannot become a schema", "use types that JSON can carry"),
        (lambda: module_of(setting=setting), "undo function `unset` is not there", "setting"),
        (lambda: module_of(), "has no function", "@function"),
        (lambda: module_of(version=None, a=mark(_fine)), "no usable version", 'VERSION = "1.0.0"'),
        (lambda: module_of(version="1", a=mark(_fine)), "no usable version", 'VERSION = "1.0.0"'),
        (lambda: module_of(doc=None, a=mark(_fine)), "has no docstring", "what the connector does"),
    ],
)
def test_a_connector_that_breaks_the_rules_is_refused(
    module: Callable[[], ModuleType], message: str, hint: str
) -> None:
    """One error that names the module and the function, and how to mend it."""
    catalog = Catalog({"bad": module()})

    with pytest.raises(Invalid) as caught:
        catalog.find("bad.a")

    assert "connector `bad` (module sample)" in caught.value.message
    assert message in caught.value.message
    assert hint in str(caught.value.hint)
    assert not catalog.knows("bad.a")


def test_a_connector_that_keeps_the_rules_is_not_refused() -> None:
    """The control."""
    assert "good.a" == Catalog({"good": module_of(a=mark(_fine))}).find("good.a").name


def test_a_module_that_fails_to_load_is_told() -> None:
    """A mistake in a connector's own code is its own error, not a traceback."""

    def broken() -> ModuleType:
        raise SyntaxError("invalid syntax")

    with pytest.raises(Invalid, match="connector `bad` cannot be loaded: SyntaxError: invalid syntax"):
        Catalog({"bad": broken}).find("bad.a")


# ── describing ───────────────────────────────────────────────────────────────────────────


def test_signature_and_docstring_are_the_schema(catalog: Catalog) -> None:
    """Names, types, defaults and descriptions come from the function alone."""
    found = catalog.find("sample.setting")
    schema = found.input_schema()

    assert ("Set something.", "More about it.") == (found.summary, found.details)
    assert ["name", "from", "account", "fail"] == [parameter.name for parameter in found.parameters]
    assert ["name"] == schema["required"]
    assert {"type": "string", "description": "What to set, over two lines."} == schema["properties"]["name"]
    assert {"type": "integer", "default": 3, "description": "Where it comes from."} == schema["properties"][
        "from"
    ]
    assert schema["additionalProperties"] is False
    account = found.parameters[2]
    assert [("user", "string", True, "The name."), ("password", "secret string", True, "")] == [
        (member.name, member.type, member.required, member.description) for member in account.members
    ]
    assert {"type": "null"} == catalog.find("sample.unset").output_schema()


# ── calling ──────────────────────────────────────────────────────────────────────────────


async def fault_of(catalog: Catalog, call: Call, arguments: Any) -> Fault:
    """Return the fault of a call that fails."""
    with pytest.raises(Faulted) as caught:
        await catalog.find("sample.setting").invoke(call, arguments)
    assert caught.value.__cause__ is None
    return caught.value.fault


async def test_results_become_plain_json(catalog: Catalog, call: Call) -> None:
    """Dates, tuples and dataclasses leave as JSON has them, and `from_` is `from` outside."""
    result = await catalog.find("sample.setting").invoke(call, {"name": "a", "from": 5})

    assert {"name": "a", "from": 5, "answer": {"day": "2026-01-02", "sizes": [1, 2]}} == result


@pytest.mark.parametrize(
    ("arguments", "detail"),
    [
        ({}, "sample.setting needs the argument `name` (string): What to set, over two lines."),
        ({"nmae": "a"}, "sample.setting has no argument `nmae`: did you mean `name`?"),
        (
            {"name": "a", "x": 1},
            "sample.setting has no argument `x`: the arguments are: name, from, account, fail",
        ),
        ({"name": 1}, "sample.setting, argument `name`: Expected `str`, got `int` (the argument is: string)"),
        (
            {"name": "a", "account": {"user": "a"}},
            "sample.setting, argument `account`: Object missing required field `password` "
            "(the argument is: object {user, password} or null)",
        ),
        (
            {"name": "a", "account": {"user": 1, "password": ""}},
            "sample.setting, argument `account.user`: Expected `str`, got `int` "
            "(the argument is: object {user, password} or null)",
        ),
    ],
)
async def test_arguments_that_do_not_fit_are_named(
    catalog: Catalog, call: Call, arguments: Any, detail: str
) -> None:
    """A validation fault says which argument, what was expected, and the nearest name."""
    fault = await fault_of(catalog, call, arguments)

    assert ("validation", 400, detail) == (fault.type.rpartition("/")[2], fault.status, fault.detail)


@pytest.mark.parametrize(
    ("fail", "kind", "status", "transient"),
    [
        ("lost", "communication", 503, True),
        ("wrapped", "communication", 500, True),
        ("bug", "runtime", 500, False),
        ("told", "own", 418, False),
    ],
)
async def test_exceptions_become_faults(
    catalog: Catalog, call: Call, fail: str, kind: str, status: int, transient: bool
) -> None:
    """Declared exceptions are transient, also when they caused a fault; any other is a runtime fault."""
    fault = await fault_of(catalog, call, {"name": "a", "fail": fail})

    assert (kind, status, transient) == (fault.type.rpartition("/")[2], fault.status, fault.transient)


async def test_cancellation_passes_through(catalog: Catalog, call: Call) -> None:
    """Only the worker decides what a cancelled action means."""
    with pytest.raises(asyncio.CancelledError):
        await catalog.find("sample.setting").invoke(call, {"name": "a", "fail": "stop"})


@pytest.mark.parametrize("fail", ["secret", "told"])
async def test_no_secret_gets_into_a_fault(catalog: Catalog, call: Call, fail: str) -> None:
    """What a parameter marks as secret, and credentials in URLs, are struck out of every detail."""
    account = {"user": "ada", "password": "s3cret"}

    with_secret = await fault_of(catalog, call, {"name": "a", "fail": fail, "account": account})
    without = await fault_of(catalog, call, {"name": "a", "fail": fail})

    assert "s3cret" not in str(with_secret)
    assert "***" in str(with_secret.detail)
    assert "s3cret" in str(without.detail)  # the control: only what is marked is a secret
    assert "ada:other" not in str(without.detail)


async def test_a_result_that_json_cannot_carry_is_a_fault(call: Call) -> None:
    """The fault names the function."""

    @function(effect="read")
    async def odd(call: Call) -> Any:
        """Return an object of no known kind."""
        return {"a": object()}

    with pytest.raises(Faulted, match=r"bad\.odd returned what JSON cannot carry"):
        await Catalog({"bad": module_of(odd=odd)}).find("bad.odd").invoke(call, {})


async def test_a_call_costs_less_than_ten_microseconds(call: Call) -> None:
    """The best of several rounds, so that a busy machine does not count."""
    invoke = Catalog.discover().find("core.noop").invoke
    rounds = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(200):
            await invoke(call, {"value": {"a": [1, 2, 3]}})
        rounds.append((time.perf_counter() - start) / 200)

    assert min(rounds) < 10e-6


# ── core ─────────────────────────────────────────────────────────────────────────────────


async def test_log_writes_one_line(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    """Places are filled once: a place inside the message stays as it is."""
    log = Catalog.discover().find("core.log")
    with caplog.at_level(logging.DEBUG, "tenuto"):
        full = await log.invoke(call, {"message": {"a": 1}, "level": "warning"})
        short = await log.invoke(
            call, {"message": "{LEVEL}", "timestamp": False, "format": "{TIMESTAMP} {MESSAGE}"}
        )

    assert "{LEVEL}" == short
    assert full.endswith(' [warning] (run-1/do/0/a): {"a":1}')
    assert [(logging.WARNING, full), (logging.INFO, short)] == [
        (record.levelno, record.getMessage()) for record in caplog.records
    ]
