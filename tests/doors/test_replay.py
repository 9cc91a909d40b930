"""`tenuto export` and `tenuto check-replay`: recorded histories on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tenuto.operations.recorded import read_history
from tenuto.testing import check_replay
from tests.doors.conftest import Called, Tenuto

HEAD = "document: {dsl: '1.0.3', namespace: test, name: doc, version: '1.0.0'}\n"
CODE = """
from tenuto import step, workflow

@step
async def greet(name: str) -> str:
    return "Hello, " + name

@workflow
async def hello(name: str) -> str:
    return await greet(name)
"""


@pytest.fixture
def played(
    tenuto: Tenuto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Called]]:
    """A run of Python code whose history was exported; then the command."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "replayed_hello.py").write_text(CODE)
    assert tenuto("run", "replayed_hello.py", "--input", '{"name": "Adelaide"}').status == 0
    exported = tenuto("export", "--output", "histories/hello.jsonl", "--mask", "/name")
    assert (exported.status, exported.out) == (0, "")
    assert "histories/hello.jsonl is written: default/hello:1.0.0, 2 entries." in exported.err
    yield tenuto
    for name in ("replayed_hello", "changed_hello", "other_hello"):
        sys.modules.pop(name, None)


def test_histories_are_exported_and_checked(played: Tenuto, tmp_path: Path) -> None:
    """The code is found where the history says, or where the user does."""
    assert "Adelaide" not in (tmp_path / "histories/hello.jsonl").read_text()
    for code in ([], ["--code", "replayed_hello"], ["--code", "replayed_hello.py:hello"]):
        called = played("check-replay", "histories/hello.jsonl", *code)

        assert (called.status, called.err) == (0, "")
        assert called.out == "fits  histories/hello.jsonl  default/hello:1.0.0, 2 entries\n"


def test_changed_code_is_noticed_on_the_command_line(played: Tenuto, tmp_path: Path) -> None:
    """Exit status 1, with the difference; as JSON too."""
    (tmp_path / "changed_hello.py").write_text(CODE.replace("greet(name", "salute(name"))
    called = played("check-replay", "histories/hello.jsonl", "--code", "changed_hello.py")
    assert called.status == 1
    assert "- started /greet (step)" in called.out
    assert "+ started /salute (step)" in called.out
    verdict = played(
        "check-replay", "histories/hello.jsonl", "--code", "changed_hello.py", "--format", "json"
    ).json[0]

    assert (verdict["workflow"], verdict["unknown"]) == ("default/hello:1.0.0", False)


def test_what_cannot_be_checked_is_status_two(played: Tenuto, tmp_path: Path) -> None:
    """No file, no history, no code, nothing at all."""
    (tmp_path / "other_hello.py").write_text(CODE.replace('"Hello', '"Hi').replace("def hello", "def hi"))
    (tmp_path / "junk.jsonl").write_text("junk")
    for arguments in (["nowhere.jsonl"], ["junk.jsonl"], []):
        assert played("check-replay", *arguments).status == 2
    called = played("export", "--mask", "/nope")
    assert (called.status, called.err) == (
        2,
        "error: the run's input has nothing at '/nope'\nhint: there are: name\n",
    )


def test_open_runs_of_a_database_are_checked(tenuto: Tenuto, tmp_path: Path) -> None:
    """Before a deployment, straight from the database."""
    (tmp_path / "open.yaml").write_text(
        HEAD + "do:\n  - l: {listen: {to: {one: {with: {type: never}}}}}\n  - m: {set: {a: 1}}\n"
    )
    assert tenuto("run", "open.yaml", "--id", "mine").status == 3
    called = tenuto("check-replay", "--open")
    assert (called.status, called.out) == (0, "fits  mine  test/doc:1.0.0, 1 entry\n")
    (tmp_path / "changed.yaml").write_text(HEAD + "do:\n  - other: {wait: P1D}\n")
    called = tenuto("check-replay", "--open", "--code", "changed.yaml")

    assert called.status == 1
    assert "+ started /do/0/other" in called.out


def test_an_export_to_standard_output_is_the_history_alone(tenuto: Tenuto, tmp_path: Path) -> None:
    """So that it can be piped."""
    (tmp_path / "small.yaml").write_text(HEAD + "do: [{a: {set: {x: 1}}}]\n")
    assert tenuto("run", "small.yaml").status == 0
    called = tenuto("export")

    assert (called.status, called.err) == (0, "")
    history = read_history(called.out.encode(), "x")
    assert (history.workflow, history.run.status) == ("test/doc:1.0.0", "completed")
    check_replay(history)


def test_a_history_runs_no_file_that_it_names(played: Tenuto, tmp_path: Path) -> None:
    """Histories come from elsewhere: only what the user names is imported from a path."""
    (tmp_path / "planted.py").write_text("raise SystemExit('was run')\n")
    history = tmp_path / "histories/hello.jsonl"
    text = history.read_text()
    named = text.replace('"module":"replayed_hello"', f'"module":"{tmp_path}/planted.py"')
    assert named != text
    history.write_text(named)

    called = played("check-replay", "histories/hello.jsonl")

    assert (called.status, called.err) == (2, "")
    assert "which is no name in Python" in called.out
    assert "hint: say which code it is played over: --code module" in called.out
