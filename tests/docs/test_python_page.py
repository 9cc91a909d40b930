"""The reference page of Python workflows names what there is: every public name, parameter and limit."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any, Final

import tenuto
from tenuto.authoring.step_context import PROGRESS_BYTES_MAX
from tenuto.runtime.calling import RESULT_BYTES_MAX
from tests.docs.pages import ROOT

PAGE: Final = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
LIMITS: Final = {
    "RESULT_BYTES_MAX": "tenuto.runtime.calling",
    "PROGRESS_BYTES_MAX": "tenuto.authoring.step_context",
    "PROGRESS_EVERY_SECONDS": "tenuto.runtime.attempts",
    "DEEPEST": "tenuto.authoring.data",
    "AT_ONCE": "tenuto.authoring.combining",
    "THREADS": "tenuto.runtime.threads",
    "THREADS_LEFT_MAX": "tenuto.runtime.threads",
    "RESUMED_AT_ONCE_MAX": "tenuto.authoring.execution",
    "BEGUN_AT_ONCE_MAX": "tenuto.authoring.execution",
    "BLOCKED_SECONDS": "tenuto.runtime.watchdog",
}


def chapters(page: str) -> dict[str, str]:
    """Return the text below each heading that is a name, by that name."""
    parts = re.split(r"^(#{2,3}) (.+)$", page, flags=re.MULTILINE)
    return {
        title.strip("`"): text
        for level, title, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
        if level == "###"
    }


def public(kind: type) -> list[str]:
    """Return the names of a class's own methods and slots that users may use."""
    slots = getattr(kind, "__slots__", ())
    return [name for name in (*vars(kind), *slots) if not name.startswith("_")]


def options(callable: Any) -> Iterable[str]:
    """Return the names of what a callable takes."""
    return inspect.signature(callable).parameters


def told_of() -> dict[str, list[str]]:
    """Return what has to be mentioned below each heading."""
    needed: dict[str, list[str]] = {
        "step": [name for name in options(tenuto.Step.__init__) if name not in {"self", "function"}],
        "workflow": [name for name in options(tenuto.Workflow.__init__) if name not in {"self", "function"}],
        "App": [*list(options(tenuto.App)), *set(public(tenuto.App)) - {"desk"}],
        "Handle": public(tenuto.Handle),
        "StepContext": public(tenuto.StepContext),
    }
    for kind in (tenuto.Retry, tenuto.Concurrency, tenuto.Rate):
        needed[kind.__name__] = [field.name for field in dataclasses.fields(kind)]
    for name in ("gather", "each", "run_document", "call", "wait_for_event", "log"):
        needed[name] = [each for each in options(getattr(tenuto, name)) if each != "awaitables"]
    return needed


def missing(page: str) -> list[str]:
    """Return what a page does not mention where it should, as `heading: name`."""
    there = chapters(page)
    return [
        f"{heading}: {name}"
        for heading, names in told_of().items()
        for name in names
        if not re.search(rf"\b{name}\b", there.get(heading, ""))
    ]


def test_every_public_name_has_a_heading() -> None:
    """The page has a heading for each name of `tenuto.__all__`, and none for anything else."""
    assert sorted(tenuto.__all__) == sorted(chapters(PAGE))


def test_every_parameter_is_mentioned() -> None:
    """Below its heading, each parameter, field and method of what users call."""
    assert [] == missing(PAGE)


def test_what_is_not_mentioned_is_noticed() -> None:
    """A field without a row, and a heading that is gone."""
    page = PAGE.replace("`jitter`", "").replace("### `Rate`", "### `Speed`")

    assert ["Retry: jitter", "Rate: count", "Rate: per_seconds", "Rate: key"] == missing(page)


def limits_told(page: str) -> dict[str, str]:
    """Return the default of each named limit, as the page writes it."""
    return dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \|", page, re.MULTILINE))


def test_every_limit_is_told_with_its_default() -> None:
    """The table names the limits that Python workflows have, with the numbers of the code."""
    told = limits_told(PAGE)
    numbers = {name: float(text.split()[0]) * (2**20 if "MiB" in text else 1) for name, text in told.items()}
    there = {name: float(getattr(import_module(module), name)) for name, module in LIMITS.items()}

    assert there == numbers
    assert (RESULT_BYTES_MAX, PROGRESS_BYTES_MAX) == (32 * 2**20, 2**20)


def test_another_number_is_noticed() -> None:
    """The page is read as it is written."""
    assert "64 MiB" == limits_told(PAGE.replace("32 MiB", "64 MiB"))["RESULT_BYTES_MAX"]
