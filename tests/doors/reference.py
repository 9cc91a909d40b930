"""Writes docs/reference/cli.md from the commands themselves: python -m tests.doors.reference"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import click

from tenuto.app import load_command
from tenuto.cli.commands import COMMANDS
from tenuto.cli.root import EPILOG, HELP

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"

HEAD = """\
# The command line

<!-- Made from the program by `python -m tests.doors.reference`; a test compares the two. -->
"""

TAIL = """\
## What the commands print, and where

Standard output gets the result of a command and nothing else: `tenuto run` prints what the workflow
answers, so `tenuto run flow.yaml --output json | jq .` works. Everything else goes to standard
error: progress, the outcome, where to look next, complaints. In a terminal progress is a live
tree of tasks; elsewhere, and with `TERM=dumb`, it is one line for each change. Colours are left
out when the output is no terminal or `NO_COLOR` is set.

Complaints are a line `error: ...` and, where something can be done about it, a line `hint: ...`.
When a run faults, the last line on standard error is the error as one line of JSON (RFC 7807),
alone on its line, so that a script can read it:

```text
tenuto run flow.yaml 2> errors || tail -n 1 errors | jq .status
```

## Exit status

| status | meaning |
|---|---|
| 0 | the run completed; for other commands: done |
| 1 | the run faulted; the error is the last line on standard error. A test failed, or a history does not fit |
| 2 | the document, the input, an option or what was asked for is not valid: mend it and call again |
| 3 | the run waits or is suspended; `tenuto resume` goes on |
| 4 | Tenuto itself could not go on: a disk is full, the database failed, a mistake in Tenuto |
| 130 | the run was cancelled, or the command was interrupted; an interrupted run can be resumed |

## Stopping

The first Ctrl-C (or SIGTERM) stops in order: nothing new begins, the database is closed, and the
command that goes on is printed. A second one leaves at once. Neither loses anything: what was
finished is on disk, and `tenuto resume` goes on behind it. So it does after `kill -9` or a power
failure.

`--resolve`, `--with` and `--secrets` are not stored with a run; give them to `resume` and `retry`
again. The command that is printed has them already.

## Code

`run`, `validate` and `--with` take Python code by its module, as `python -m` does (`shop.orders`), or by
its file (`shop/orders.py`). The current folder is importable, and `src` in it. A workflow is named by its
variable or its name: `shop.orders:order_flow`; the only one of a module need not be named. All
workflows and steps of the module are known, also those that it imports, so documents can call them:
`call: python.charge:1.0.0@default`.

A run remembers its module by name (a file outside of the current folder by its path). `tenuto resume`
imports it again from the current folder; where it is not found, nothing happens to the run, and
`--with` names it. So do `retry`, `suspend`, `cancel`, `signal`, `query` and `emit`, where a run's code is needed.

## One process for each database

One process at a time works on a database; a second `run` or `resume` is told who that is. `runs`
and `show` read at any time. `cancel`, `suspend`, `resume RUN`, `signal`, `emit` and `query` reach the
process that works. Where none does, `signal` and `emit` only record what runs are told; `resume` goes on.

## Completion

`tenuto completion bash|zsh|fish` prints a script that completes commands, options, ids of runs
and names of connectors; `tenuto completion --help` says where to put it.
"""


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, *_paragraphs(HELP), _overview()]
    for name in COMMANDS:
        parts += _command(name)
    assert "Exit status" in EPILOG
    return "\n".join([*parts, TAIL])


def _overview() -> str:
    rows = "\n".join(f"| [`{name}`](#tenuto-{name}) | {entry.summary} |" for name, entry in COMMANDS.items())
    return f"| command | |\n|---|---|\n{rows}\n"


def _command(name: str) -> Iterator[str]:
    command = load_command(name)
    context = click.Context(command, info_name=f"tenuto {name}")
    yield f"## tenuto {name}\n"
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
    yield from _paragraphs(command.help or "")
    records = [each.get_help_record(context) for each in command.params if isinstance(each, click.Option)]
    rows = [f"| `{_cell(names)}` | {_cell(text)} |" for names, text in filter(None, records)]
    if rows:
        yield "| option | |\n|---|---|\n" + "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.strip().split("\n\n"):
        lines = paragraph.split("\n")
        if lines[0].strip() != "\b":
            yield "\n".join(line.strip() for line in lines) + "\n"
            continue
        lines = lines[1:]
        if lines[0].strip() in {"Example:", "Examples:"}:
            yield lines[0].strip() + "\n"
            lines = lines[1:]
        yield "```text\n" + dedent("\n".join(lines)) + "\n```\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
