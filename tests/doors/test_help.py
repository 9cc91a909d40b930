"""The overview, the reference page, completion: what the commands say about themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from tenuto import __version__
from tenuto.app import load_command
from tenuto.cli.commands import COMMANDS
from tests.doors.conftest import Tenuto
from tests.doors.reference import PAGE, page

ROOT = Path(__file__).parents[2]

# What `tenuto --help` may load of ours: nothing that reads documents or runs anything.
ALLOWED = {
    "tenuto",
    "tenuto.__main__",
    "tenuto.app",
    "tenuto.cli",
    "tenuto.cli.commands",
    "tenuto.cli.exits",
    "tenuto.cli.root",
    "tenuto.cli.streams",
    "tenuto.cli.text",
    "tenuto.cli.wiring",
    "tenuto.errors",
    "tenuto.numbers",
    "tenuto.settings",
}
HEAVY = {"asyncio", "sqlite3", "yaml", "jq", "jsonschema_rs", "ssl"}

_LIST_MODULES = """
import sys
sys.argv = ["tenuto", *sys.argv[1:]]
from tenuto.app import main
try:
    main()
except SystemExit:
    print("\\n".join(["MODULES", *sys.modules]))
"""


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a command leaves loaded, in a process of its own."""
    command = [sys.executable, "-c", _LIST_MODULES, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.partition("MODULES\n")[2].split())


def ours(modules: set[str]) -> set[str]:
    """Those of them that are Tenuto's."""
    return {name for name in modules if name == "tenuto" or name.startswith("tenuto.")}


def test_the_overview_loads_next_to_nothing() -> None:
    """`tenuto --help` stays fast because it imports no engine, no parser, no database."""
    modules = loaded_by("--help")

    assert set() == ours(modules) - ALLOWED
    assert set() == modules & HEAVY


def test_the_list_of_modules_would_show_an_engine() -> None:
    """Negative control: a command that reads documents does load more."""
    modules = loaded_by("validate", "--help")

    assert "tenuto.language.load" in ours(modules) - ALLOWED
    assert modules & HEAVY


def test_the_reference_page_is_current() -> None:
    """docs/reference/cli.md is what `python -m tests.doors.reference` writes."""
    written = PAGE.read_text(encoding="utf-8")

    assert page() == written


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_teaches_with_examples(name: str, tenuto: Tenuto) -> None:
    """The help of each command has an example that begins with its name; the summaries agree."""
    called = tenuto(name, "--help")

    assert (called.status, called.err) == (0, "")
    assert "Example" in called.out
    assert f"  tenuto {name}" in called.out
    assert load_command(name).get_short_help_str(200) == COMMANDS[name].summary


def test_a_wrong_word_gets_the_nearest_right_one(tenuto: Tenuto) -> None:
    """Typing errors are answered with a suggestion, on standard error, with status 2."""
    called = tenuto("vlaidate")

    assert called == type(called)(
        2, "", "error: there is no command 'vlaidate'\nhint: did you mean `tenuto validate`?\n"
    )


def test_no_word_at_all_gets_the_overview(tenuto: Tenuto) -> None:
    """`tenuto` alone prints what `tenuto --help` does, on standard error, with status 2."""
    called = tenuto()

    assert called == type(called)(2, "", tenuto("--help").out)


def test_a_file_in_place_of_a_command_is_understood(tenuto: Tenuto) -> None:
    """`tenuto flow.yaml` says how to run it."""
    called = tenuto("flow.yaml")

    assert called.status == 2
    assert called.err.endswith("hint: to run a workflow: tenuto run flow.yaml\n")


def test_a_wrong_option_is_one_error_and_one_hint(tenuto: Tenuto) -> None:
    """Usage errors look like all others."""
    called = tenuto("run", "--nope", "x.yaml")

    assert called.status == 2
    assert called.out == ""
    assert called.err.startswith("error: ")
    assert called.err.count("\n") == 2


def test_the_version_is_the_packages(tenuto: Tenuto) -> None:
    """`tenuto version`, `tenuto --version`, the package and pyproject.toml agree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert project == __version__
    assert tenuto("version").out.startswith(f"tenuto {project} ")
    assert tenuto("--version").out == tenuto("version").out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_program(shell: str, tenuto: Tenuto) -> None:
    """Each shell gets a script that asks `tenuto` itself."""
    called = tenuto("completion", shell)

    assert (called.status, called.err) == (0, "")
    assert "_TENUTO_COMPLETE" in called.out


def complete(words: str, folder: Path) -> list[str]:
    """What bash would offer after these words."""
    variables = {
        "PATH": os.environ["PATH"],
        "_TENUTO_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from tenuto.app import main; main()"],
        capture_output=True,
        text=True,
        check=True,
        env=variables,
        cwd=folder,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_completion_offers_commands_and_options(tmp_path: Path) -> None:
    """Bash completes the names of commands, and the options of each."""
    assert complete("tenuto sus", tmp_path) == ["suspend"]
    assert "--resolve" in complete("tenuto run --re", tmp_path)
    assert complete("tenuto show abc", tmp_path) == []


def test_no_help_line_is_wider_than_a_page(tenuto: Tenuto) -> None:
    """Help fits into 100 columns."""
    texts = [tenuto(name, "--help").out for name in COMMANDS] + [tenuto("--help").out]
    longest = max((line for text in texts for line in text.splitlines()), key=len)

    assert len(click.unstyle(longest)) <= 100, longest
