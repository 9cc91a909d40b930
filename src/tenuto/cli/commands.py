"""The list of commands: enough to print `tenuto --help` without loading any of them."""

from __future__ import annotations

from typing import Final, NamedTuple


class Entry(NamedTuple):
    """Where a command's code is, and what the overview says of it."""

    section: str
    module: str
    summary: str


COMMANDS: Final[dict[str, Entry]] = {
    "run": Entry("Run workflows", "tenuto.cli.runs", "Run a workflow and print its result."),
    "resume": Entry("Run workflows", "tenuto.cli.runs", "Go on with a run that stopped in the middle."),
    "runs": Entry("Run workflows", "tenuto.cli.history", "List runs, the newest first."),
    "show": Entry(
        "Run workflows", "tenuto.cli.history", "Show one run: its tasks, input, output and history."
    ),
    "suspend": Entry("Run workflows", "tenuto.cli.runs", "Pause a run until it is resumed."),
    "cancel": Entry("Run workflows", "tenuto.cli.runs", "Stop a run for good."),
    "signal": Entry("Run workflows", "tenuto.cli.messages", "Send a run a signal."),
    "emit": Entry("Run workflows", "tenuto.cli.messages", "Publish an event to all runs that wait for it."),
    "query": Entry("Run workflows", "tenuto.cli.messages", "Ask a run what it says of itself."),
    "retry": Entry("Run workflows", "tenuto.cli.runs", "Start again from a task of an earlier run."),
    "init": Entry("Write workflows", "tenuto.cli.documents", "Write a starter workflow, with comments."),
    "validate": Entry(
        "Write workflows", "tenuto.cli.documents", "Check workflow files and explain each mistake."
    ),
    "graph": Entry("Write workflows", "tenuto.cli.documents", "Draw a workflow as SVG or Mermaid text."),
    "connectors": Entry(
        "Write workflows", "tenuto.cli.connectors", "List what workflows can call, with parameters."
    ),
    "test": Entry("Test workflows", "tenuto.cli.testing", "Run the test files of workflows."),
    "export": Entry(
        "Test workflows", "tenuto.cli.testing", "Write a run's history to a file, without secrets."
    ),
    "check-replay": Entry(
        "Test workflows", "tenuto.cli.testing", "Check that code still fits recorded histories."
    ),
    "version": Entry("About", "tenuto.cli.about", "Print the version."),
    "completion": Entry("About", "tenuto.cli.about", "Print the completion script of a shell."),
}
