"""`tenuto test`, `tenuto export` and `tenuto check-replay`: does a workflow do what it should, still?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tenuto import __version__
from tenuto.cli.code import is_code, split_name
from tenuto.cli.exits import COMPLETED, FAULTED, INVALID
from tenuto.cli.files import known_files, read
from tenuto.cli.options import complete_run, database_option, settings_of
from tenuto.cli.output import write
from tenuto.cli.problems import described
from tenuto.cli.terminal import duration
from tenuto.cli.text import printable
from tenuto.cli.wiring import Wiring
from tenuto.engine.ports import DocumentRow
from tenuto.errors import InvalidDocument, InvalidInput, NotFound
from tenuto.operations.documents import check, definition, is_workflow
from tenuto.operations.history import find_row
from tenuto.operations.recorded import RunHistory, recorded_history


@click.command(short_help="Run the test files of workflows.")
@click.argument("paths", metavar="[FILE|FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("-k", "wanted", metavar="TEXT", help="Only cases whose file or name has this text in it.")
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write a report for CI (JUnit XML)."
)
@click.pass_obj
def test(wiring: Wiring, /, paths: tuple[Path, ...], wanted: str | None, junit: Path | None) -> int:
    """Run the cases in each FILE, and in all *.test.yaml files below each FOLDER (default: this one).

    A case has an input, stubs that answer in place of the outside world, and what is expected: the
    output or error, the calls made, the time that passed. Time is virtual: a wait of 30 days takes
    none. The exit status is 1 if a case fails, 2 if a file is not valid.

    \b
    Examples:
      tenuto test
      tenuto test order.test.yaml -k refund
      tenuto test workflows/ --junit report.xml
    """
    kit = wiring.kit()
    files = [file for path in paths or (Path(),) for file in kit.find_test_files(path)]
    if not files:
        raise InvalidInput("there is no test file here", hint="end the name of one in .test.yaml")
    outcomes: list[Any] = []
    invalid = 0
    for file in files:
        try:
            cases = kit.read_test_file(file).cases
        except InvalidDocument as error:
            invalid += 1
            for problem in error.problems:
                click.echo(described(str(file), read(str(file)).decode(errors="replace"), problem) + "\n")
            continue
        for case in cases:
            if wanted is None or wanted.casefold() in case.id.casefold():
                outcomes.append(asyncio.run(kit.play(case)))
                _tell(outcomes[-1])
    if junit is not None:
        _write(junit, kit.junit(outcomes))
    return _summed_up(outcomes, invalid, wanted)


def _tell(outcome: Any) -> None:
    """Print a line on a case, and what went otherwise."""
    case = outcome.case
    word = click.style("passed", fg="green") if outcome.passed else click.style("FAILED", fg="red", bold=True)
    click.echo(f"{word}  {printable(case.id)} ({duration(outcome.seconds)})")
    if not outcome.passed:
        click.echo(click.style(f"  {case.file.name}:{case.line}", dim=True))
    for failure in outcome.failures:
        for line in failure.splitlines():
            color = {"-": "red", "+": "green"}.get(line[:1])
            click.echo("  " + click.style(printable(line), fg=color))


def _summed_up(outcomes: Sequence[Any], invalid: int, wanted: str | None) -> int:
    """Print how many passed; return the exit status."""
    if not outcomes and not invalid:
        raise NotFound(f"no case has {wanted!r} in its name", hint="without -k all are run")
    failed = sum(not outcome.passed for outcome in outcomes)
    parts = [f"{len(outcomes) - failed} passed"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{invalid} file{'' if invalid == 1 else 's'} not valid"] if invalid else []
    seconds = sum(outcome.seconds for outcome in outcomes)
    click.echo(f"{', '.join(parts)} in {duration(seconds)}")
    return INVALID if invalid else FAULTED if failed else COMPLETED


def _write(file: Path, content: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        raise InvalidInput(f"cannot write {file}: {error.strerror or error}") from error


@click.command(short_help="Write a run's history to a file, without secrets.")
@click.argument("run", required=False, shell_complete=complete_run)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file; without it, to standard output.",
)
@click.option(
    "--mask",
    "masks",
    multiple=True,
    metavar="POINTER",
    help="Strike out a field of the run's input, and its value wherever it turns up: /card/number;"
    " * stands for every item (repeatable).",
)
@click.option(
    "--secrets", metavar="FILE", type=click.Path(), help="Secrets whose values are struck out; as for `run`."
)
@database_option
@click.pass_obj
def export(
    wiring: Wiring, /, run: str | None, output: Path | None, masks: tuple[str, ...], **options: Any
) -> None:
    """Write the history of RUN, or of the newest run, as JSON lines: for `tenuto check-replay`.

    It holds the document or the code's text, the input and every answer that was recorded. Secrets
    are in it as references only; the values of those that are known here are struck out wherever
    else they turned up.

    \b
    Examples:
      tenuto export 4f1c --output histories/order.jsonl
      tenuto export --mask /card/number --mask '/guests/*/email' -o order.jsonl
    """
    settings = settings_of(wiring, options)

    async def fetch() -> RunHistory:
        async with wiring.read(settings) as journal:
            row = await find_row(journal, run)
            return await recorded_history(journal, row, __version__, secrets=settings.secrets, masks=masks)

    history = asyncio.run(fetch())
    if output is None:
        click.echo(history.encode(), nl=False)
        return
    _write(output, history.encode())
    click.echo(f"{output} is written: {history.workflow}, {len(history.entries)} entries.", err=True)


@click.command("check-replay", short_help="Check that code still fits recorded histories.")
@click.argument("histories", metavar="HISTORY...", nargs=-1, type=click.Path())
@click.option(
    "--code",
    "-c",
    multiple=True,
    metavar="WORKFLOW",
    help="What the histories are played over: module, module:workflow, file.py or file.yaml (repeatable)."
    " Without it the module, or the document itself, that a history names.",
)
@click.option("--open", "open_", is_flag=True, help="Check all runs in the database that are not over.")
@click.option(
    "--format",
    "format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Text for people, or JSON for programs.",
)
@database_option
@click.pass_obj
def check_replay(
    wiring: Wiring,
    /,
    histories: tuple[str, ...],
    code: tuple[str, ...],
    open_: bool,
    format: str,
    **options: Any,
) -> int:
    """Play each HISTORY over the code of now: would its run go on as it was recorded?

    Nothing is called: recorded answers are given to the code, and what it asks for is compared with
    what was asked for then. Run it in CI before a deployment; `tenuto export` writes histories. The
    exit status is 1 if one does not fit, 2 if one cannot be read or its code is not there.

    \b
    Examples:
      tenuto check-replay histories/*.jsonl --code shop.orders
      tenuto check-replay order.jsonl --code shop/orders.py:order_flow
      tenuto check-replay --db production.db --open --code shop.orders
    """
    if not histories and not open_:
        raise InvalidInput("nothing to check", hint="name files that `tenuto export` wrote, or say --open")
    settings = settings_of(wiring, options)
    workflows, documents = _given(wiring, code)
    replays = wiring.kit().Replays(workflows, documents, Path.cwd())
    verdicts = list(replays.files(histories))

    async def judge_open() -> list[Any]:
        async with wiring.read(settings) as journal:
            return [verdict async for verdict in replays.open_runs(journal, settings.secrets)]

    if open_:
        verdicts += asyncio.run(judge_open())
    if format == "json":
        write(verdicts, "json")
    else:
        _print(verdicts)
    if any(verdict.unknown for verdict in verdicts):
        return INVALID
    return FAULTED if any(verdict.problem for verdict in verdicts) else COMPLETED


def _given(wiring: Wiring, code: Sequence[str]) -> tuple[list[Any], list[DocumentRow]]:
    """Return the workflows and documents that `--code` names."""
    workflows: list[Any] = []
    documents: list[DocumentRow] = []
    for text in code:
        place, name = split_name(text)
        if is_code(place, name, wiring.found):
            modules = wiring.load([place])
            workflows += [modules.all[0].workflow(name)] if name else modules.workflows
            continue
        for path, named in known_files((Path(place),)):
            checked = check(str(path), read(str(path)))
            if named or (is_workflow(checked) and not checked.errors):
                documents.append(definition(checked, str(path.resolve())))
    return workflows, documents


def _print(verdicts: Sequence[Any]) -> None:
    for verdict in verdicts:
        name = click.style(printable(verdict.name), bold=True)
        if verdict.problem is None:
            counted = f"{verdict.entries} entr{'y' if verdict.entries == 1 else 'ies'}"
            click.echo(f"{click.style('fits', fg='green')}  {name}  {verdict.workflow}, {counted}")
            continue
        word = "cannot be told" if verdict.unknown else "does not fit"
        click.echo(f"{click.style(word, fg='red')}  {name}  {verdict.workflow}".rstrip())
        for line in verdict.problem.splitlines():
            click.echo(f"  {printable(line)}")
        if verdict.hint:
            click.echo(f"  {click.style('hint:', fg='cyan')} {printable(verdict.hint)}")
    bad = sum(verdict.problem is not None for verdict in verdicts)
    if bad:
        click.echo(f"{bad} of {len(verdicts)} do not fit")
    elif not verdicts:
        click.echo("no run is open", err=True)
