"""`tenuto init`, `tenuto validate` and `tenuto graph`: writing workflows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tenuto.cli.code import is_code, named_code, split_name
from tenuto.cli.exits import COMPLETED, INVALID
from tenuto.cli.files import read, workflow_files
from tenuto.cli.options import with_option
from tenuto.cli.output import write
from tenuto.cli.problems import as_json, described
from tenuto.cli.terminal import program
from tenuto.cli.text import printable
from tenuto.cli.wiring import Wiring
from tenuto.errors import Conflict, InvalidDocument, InvalidInput
from tenuto.operations.documents import Checked, check, is_workflow
from tenuto.operations.graph import graph_of
from tenuto.operations.graph_mermaid import mermaid
from tenuto.operations.graph_svg import svg
from tenuto.operations.starter import FILE_NAME, STARTER

if TYPE_CHECKING:
    from tenuto.operations.modules import CheckedModule


@click.command(short_help="Write a starter workflow, with comments.")
@click.argument("place", metavar="PLACE", default=".", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(place: Path, force: bool) -> None:
    """Write a workflow that runs and explains itself.

    PLACE is a folder (default: this one), which gets a hello.yaml, or the name of a new .yaml file.

    \b
    Examples:
      tenuto init
      tenuto init my-workflows
      tenuto init first.yaml
    """
    file = place if place.suffix in {".yaml", ".yml"} else place / FILE_NAME
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w" if force else "x", encoding="utf-8") as target:
            target.write(STARTER)
    except FileExistsError:
        raise Conflict(f"there is already a {file}", hint="--force replaces it") from None
    except OSError as error:
        raise InvalidInput(f"cannot write {file}: {error.strerror or error}") from error
    click.echo(f"{file} is written. Next:")
    click.echo(f"  {program()} run {file}\n  {program()} graph {file} -o {file.with_suffix('.svg')}")


@click.command(short_help="Check workflow files and explain each mistake.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--format",
    "format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Text for people, or JSON for programs.",
)
@with_option
@click.pass_obj
def validate(wiring: Wiring, /, files: tuple[str, ...], format: str, known: tuple[Path, ...]) -> int:
    """Check each FILE (`-`: standard input; a folder: every workflow in it; a Python file or module).

    Each mistake is told once, with its place and how to mend it. The exit status is 2 if there
    is an error; warnings do not count. As JSON:
    [{file, errors: [{code, line, column, path, message, hint}], warnings: [...]}]; a Python file is
    imported, and has its `workflows` and `steps` too.

    \b
    Examples:
      tenuto validate hello.yaml
      tenuto validate workflows/
      tenuto validate --format json *.yaml
      cat hello.yaml | tenuto validate -
      tenuto validate shop/orders.py
    """
    code, others = named_code(map(Path, files), wiring.found)
    modules = [wiring.check(name) for name in code]
    results = _checked(wiring, [str(path) for path in others], known) if others else []
    if not results and not modules:
        raise InvalidInput(
            "there is no workflow in what you named", hint="name a YAML or JSON file, or a Python module"
        )
    if format == "json":
        write([*map(_report, results), *(module.to_json() for module in modules)], "json")
    else:
        for module in modules:
            _print_module(module)
        if results:
            _print(results)
    broken = any(result.errors for result in results) or any(module.problem for module in modules)
    return INVALID if broken else COMPLETED


def _checked(wiring: Wiring, files: list[str], known: tuple[Path, ...]) -> list[Checked]:
    """Check documents; what is no workflow in a folder is passed over."""
    code, folders = named_code(known, wiring.found)
    beside = {Path(name).parent for file in files for name in workflow_files(file)}
    functions = wiring.known([*folders, *sorted(beside)], wiring.load(code) if code else None)
    return [
        checked
        for file in files
        for name in workflow_files(file)
        if (checked := check(_shown(name), read(name), functions)) and (name == file or is_workflow(checked))
    ]


def _print_module(checked: CheckedModule) -> None:
    """Print a module's mistake, or what it declares."""
    if checked.module is None:
        assert checked.problem is not None
        text = read(checked.file).decode(errors="replace") if Path(checked.file).is_file() else None
        click.echo(described(checked.file, text, checked.problem))
        return
    click.echo(f"{checked.file}: {click.style('valid', fg='green')}")
    declared = checked.module.to_json()
    for each in declared["workflows"]:
        name = f"{each['namespace']}/{each['name']}:{each['version']}"
        click.echo(f"  workflow  {name}  {printable(each['signature'])}")
    for each in declared["steps"]:
        click.echo(f"  step      {each['name']}  {printable(each['signature'])}")


def _shown(name: str) -> str:
    return "<stdin>" if name == "-" else name


def _report(result: Checked) -> dict[str, Any]:
    return {
        "file": result.file,
        "errors": [as_json(problem) for problem in result.errors],
        "warnings": [as_json(problem) for problem in result.warnings],
    }


def _print(results: list[Checked]) -> None:
    for result in results:
        for problem in sorted(result.problems, key=lambda p: (p.line, p.column)):
            click.echo(described(result.file, result.text, problem) + "\n")
        if not result.errors:
            click.echo(f"{result.file}: {click.style('valid', fg='green')}")
    bad = sum(bool(result.errors) for result in results)
    errors = sum(len(result.errors) for result in results)
    if errors:
        click.echo(
            f"{_counted(errors, 'error')} in {_counted(bad, 'file')}"
            + (f" of {len(results)}" if len(results) > 1 else "")
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


@click.command(short_help="Draw a workflow as SVG or Mermaid text.")
@click.argument("file", type=click.Path())
@click.option(
    "--format",
    "format",
    type=click.Choice(["svg", "mermaid"]),
    help="SVG (the default), or text for Mermaid, which Markdown pages show as a picture. "
    "Without it, the suffix of -o decides: .svg, .mmd, .mermaid or .md.",
)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.pass_obj
def graph(wiring: Wiring, /, file: str, format: str | None, output: Path | None) -> None:
    """Draw the tasks of the workflow in FILE, and the ways between them.

    \b
    Examples:
      tenuto graph hello.yaml -o hello.svg
      tenuto graph hello.yaml --format mermaid
    """
    if is_code(*split_name(file), wiring.found):
        raise InvalidInput(
            f"{file} is Python code, which cannot be drawn: its ways show only when it runs",
            hint=f"`{program()} validate {split_name(file)[0]}` lists what is in it",
        )
    if format is None:
        format = _drawn_as(output)
    checked = check(_shown(file), read(file), wiring.known([Path(file).parent]))
    if checked.source is None or checked.errors:
        raise InvalidDocument(checked.file, checked.errors)
    picture = graph_of(checked.source.data)
    text = svg(picture) if format == "svg" else mermaid(picture)
    if output is None:
        click.echo(text, nl=False)
        return
    if output.suffix == ".md":
        text = f"```mermaid\n{text}```\n"
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"cannot write {output}: {error.strerror or error}") from error
    click.echo(f"{output} is written.", err=True)


def _drawn_as(output: Path | None) -> str:
    """Return the format that a file's suffix asks for; SVG if it has none."""
    suffix = "" if output is None else output.suffix.lower()
    if suffix in {"", ".svg"}:
        return "svg"
    if suffix in {".mmd", ".mermaid", ".md"}:
        return "mermaid"
    raise InvalidInput(
        f"pictures are SVG or Mermaid text, not {suffix}",
        hint="end the name in .svg, .mmd, .mermaid or .md, or say --format; rsvg-convert makes PNG of SVG",
    )
