"""Plays a page: writes its files, runs its commands in order in one shell, compares what they print."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.docs.documents import READERS, wrong_in_data, wrong_in_yaml
from tests.docs.pages import Block, blocks_of

PAGE_SECONDS: Final = 120
ENDING_SECONDS: Final = 2  # Between the end of the page's shell and that of all it started.
SHOWN_ONLY: Final = ("", "text", "mermaid", "svg")
LANGUAGES: Final = frozenset((*SHOWN_ONLY, *READERS, "yaml", "console", "sh"))

_MARK: Final = "~~ end of step"
# What differs from one run to the next: ids and digests, durations, points in time, free ports.
_CHANGING: Final = (
    (re.compile(r"\b[0-9a-f]{32}(?:[0-9a-f]{32})?\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)"), "TIME"),
    (re.compile(r"\b\d+(?:\.\d+)? (?:ms|s|min|h)(?: \d+ (?:ms|s|min))?(?![\w-])"), "DURATION"),
    (re.compile(r"\b127\.0\.0\.1:\d+"), "ADDRESS"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do in the page's shell; `expected` is None where only the exit status counts."""

    line: int
    script: str
    expected: str | None


def problems_of(page: str, folder: Path) -> list[str]:
    """Return what is wrong with the blocks of a page, each as `line: problem`; plays it in `folder`."""
    problems: list[str] = []
    steps: list[Step] = []
    for block in blocks_of(page):
        problems += [f"{block.line}: {wrong}" for wrong in _wrong(block)]
        if not problems and block.marker != "not run":
            steps += _steps(block)
    if not problems and steps:
        problems += _play(steps, folder)
    return problems


def _wrong(block: Block) -> list[str]:
    """Say what is wrong with a block before anything is run."""
    if block.language not in LANGUAGES:
        return [f"{block.language!r} is no language that these tests know"]
    if block.marker == "not run":
        if len(block.reason.split()) < 2:
            return ["`not run` needs a reason"]
        return wrong_in_data(block) if block.language == "python" else []
    if block.marker == "invalid" and block.language != "yaml":
        return ["only YAML can be marked as invalid"]
    if block.language == "yaml":
        return wrong_in_yaml(block)
    if block.language in READERS and ">>> " not in block.text:
        return wrong_in_data(block)
    return []


def _steps(block: Block) -> Iterator[Step]:
    if block.file:
        yield Step(block.line, _saving(block), "")
    elif block.language == "console":
        yield from _commands(block)
    elif block.language == "sh":
        yield Step(block.line, f"( set -e\n{block.text}\n)", None)
    elif block.language == "python":
        saved = Block(block.line, "", block.text, file=".block")
        tool = "-m doctest .block" if ">>> " in block.text else ".block"
        yield Step(block.line, f"{_saving(saved)}python -W error {tool}; s=$?; rm .block; (exit $s)", None)


def _saving(block: Block) -> str:
    return f"mkdir -p \"$(dirname '{block.file}')\"; cat > '{block.file}' <<'~~ END'\n{block.text}~~ END\n"


def _commands(block: Block) -> Iterator[Step]:
    """Take a console block apart: `$ ` begins a command, `> ` or a backslash before it goes on."""
    command: list[str] = []
    output: list[str] = []
    line = block.line
    for number, text in enumerate(block.text.splitlines(), block.line):
        if command and not output and (text.startswith("> ") or command[-1].endswith("\\")):
            command.append(text.removeprefix("> "))
        elif text.startswith("$ "):
            if command:
                yield Step(line, "\n".join(command), "\n".join(output))
            command, output, line = [text.removeprefix("$ ")], [], number
        else:
            output.append(text)
    yield Step(line, "\n".join(command) or "echo the block begins with no command", "\n".join(output))


def _play(steps: list[Step], folder: Path) -> list[str]:
    """Run the steps in one shell; what one leaves (files, variables, jobs) is there for the next."""
    printed, left = _run(steps, folder)
    problems = []
    outcomes = re.findall(rf"(.*?)\n{_MARK} (\d+)\n", printed, re.DOTALL)
    for step, (output, status) in zip(steps, outcomes, strict=False):
        if step.expected is None and status != "0":
            problems.append(f"{step.line}: exit status {status}:\n{output}")
        if step.expected is not None and not alike(step.expected, output):
            problems.append(f"{step.line}: expected\n{step.expected}\nbut got\n{output}")
    if len(outcomes) < len(steps):
        problems.append(
            f"{steps[len(outcomes)].line}: did not end within {PAGE_SECONDS} s:\n{printed[-2000:]}"
        )
    if left:
        problems.append(f"{steps[-1].line}: something that the page started still runs at its end")
    return problems


def _run(steps: list[Step], folder: Path) -> tuple[str, bool]:
    """Return what the shell printed, and whether processes were left (they are ended)."""
    work, plan = folder / "work", folder / "plan"
    work.mkdir()
    plan.mkdir()
    (work / ".venv").symlink_to(sys.prefix)  # Where a clone has it.
    script = []
    for number, step in enumerate(steps):
        (plan / str(number)).write_text(step.script + "\n", encoding="utf-8")
        script.append(f". {plan / str(number)} </dev/null; s=$?; printf '\\n{_MARK} %d\\n' $s; (exit $s)\n")
    alive, held = os.pipe()  # Whatever the page starts holds the second end until it ends.
    with (folder / "printed").open("w+", encoding="utf-8") as printed, open(alive, "rb") as alive_end:
        shell = subprocess.Popen(
            ["bash", "-c", "".join(script)],
            cwd=work,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[held],
        )
        os.close(held)
        try:
            shell.wait(PAGE_SECONDS)
            left = not select.select([alive_end], [], [], ENDING_SECONDS)[0]
        except subprocess.TimeoutExpired:
            left = True
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        printed.seek(0)
        return printed.read(), left


def _environment(folder: Path) -> dict[str, str]:
    programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return {"PATH": programs, "HOME": str(folder), "LANG": "C.UTF-8", "TERM": "dumb"}


def alike(expected: str, output: str) -> bool:
    """Tell whether output is as a page shows it, but for `...` and what differs from run to run.

    >>> alike("took 3 ms\\n...\\nend", "took 12 ms\\n1\\n2\\nend\\n")
    True
    """
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r"\n"
        for line in _general(expected).split("\n")
    )
    return re.fullmatch(pattern, _general(output) + "\n") is not None


def _general(text: str) -> str:
    for pattern, word in _CHANGING:
        text = pattern.sub(word, text)
    # Columns are as wide as what stands in them, so that spaces between them differ too.
    lines = (re.sub(r"(?<=\S) {2,}", "  ", line).rstrip() for line in text.strip("\n").split("\n"))
    return "\n".join(lines)
