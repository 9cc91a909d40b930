"""What authors write: documents, expressions, durations, cron, templates, schemas, versions."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from tenuto.connectors.duration import seconds_of
from tenuto.engine.advance import Program, Run, accepts, advance
from tenuto.engine.model import (
    Answered,
    Arrived,
    CancelRequested,
    Entry,
    Event,
    Failed,
    Json,
    Note,
    Resumed,
    Started,
    Suspended,
)
from tenuto.errors import InvalidDocument, communication_fault
from tenuto.language.cron import cron_mistake
from tenuto.language.duration import LONGEST_DURATION_DAYS, duration_seconds
from tenuto.language.expressions import Expression, ExpressionFailed
from tenuto.language.interpret import Interpreter
from tenuto.language.load import MAXIMUM_DEPTH, load
from tenuto.language.program import formula, template
from tenuto.language.schemas import InvalidSchema, compile_schema
from tenuto.language.uri_template import expand
from tenuto.operations.documents import check, definition
from tenuto.operations.graph import graph_of
from tenuto.operations.graph_mermaid import mermaid
from tenuto.operations.graph_svg import svg
from tenuto.runtime.recording import entry_of, written
from tenuto.runtime.snapshots import decode_run, encode_run
from tenuto.storage.versions import precedence
from tests.reliability.fuzzing.target import Target

ROOT: Final = Path(__file__).parents[3]
STEPS: Final = 12
"""How many events a document is told that turned out to be valid."""

_BLOCK: Final = re.compile(r"```(?:yaml|jq|json)[^\n]*\n(.*?)```", re.DOTALL)
_ANSWERS: Final[tuple[Json, ...]] = (
    None,
    {"a": 1, "id": 7},
    [1, {"a": None}],
    "text",
    3,
    True,
    {},
    [],
)
_NOW: Final = 1_700_000_000.25


# ── documents ─────────────────────────────────────────────────────────────────────────────


@functools.cache
def texts() -> tuple[str, ...]:
    """Return the documents in this repository: of tests, examples and the pages of the docs."""
    files = [
        ROOT / "tests/language/documents/complete.yaml",
        *sorted((ROOT / "examples").rglob("*.yaml")),
    ]
    found = [file.read_text() for file in files if ".tenuto" not in file.parts]
    for page in sorted((ROOT / "docs").rglob("*.md")):
        found += [block for block in _BLOCK.findall(page.read_text()) if "do:" in block]
    return tuple(found)


@functools.cache
def trees() -> tuple[Json, ...]:
    """Return the documents as trees; what lacks a header is given one."""
    head = {"dsl": "1.0.3", "namespace": "test", "name": "x", "version": "1.0.0"}
    found = []
    for text in texts():
        try:
            data = load(text).data
        except InvalidDocument:
            continue
        if isinstance(data, dict) and "do" in data:
            found.append({"document": head, **data})
    return tuple(found)


def read_document(data: bytes) -> None:
    """Check a document; draw a valid one, run it for a few steps, and have it come back from a snapshot."""
    checked = check("x.yaml", data)
    lines = len(checked.text.splitlines()) + 1
    for problem in checked.problems:
        assert 1 <= problem.line <= lines, f"line {problem.line} of {lines}"
        assert problem.column >= 1, f"column {problem.column}"
        assert problem.message.strip(), problem.code
    if checked.source is None or checked.errors:
        raise InvalidDocument("x.yaml", checked.errors)
    row = definition(checked)
    again = load(row.source).data
    assert again == checked.source.data, "a stored document reads otherwise"
    graph = graph_of(again)
    mermaid(graph)
    svg(graph)
    for _ in played(Interpreter(again), row.digest):
        pass


def played(
    program: Program, digest: str, choices: Sequence[int] = range(STEPS), data: Sequence[Json] = _ANSWERS
) -> Iterator[bytes]:
    """Yield the journal of a run that is told one thing after the other, each chosen by a number."""
    run: Run | None = None
    event: Event = Started(_NOW, "r", digest, data[0] if data else {}, "n")
    for step, choice in enumerate((0, *choices)):
        if run is not None:
            told = _event(run, choice, step, data)
            if told is None or not accepts(run, told):
                return
            event = told
        event, data = written(event)
        run, commands = advance(program, run, event)
        yield entry_of(event, data, commands)[1]
        if not run.over:
            _come_back(program, run)


def _event(run: Run, choice: int, step: int, data: Sequence[Json]) -> Event | None:
    """Return what a run is told next."""
    time = _NOW + step
    if run.over:
        return None
    if choice % 7 == 6:
        return Resumed(time) if run.status == "suspended" else Suspended(time)
    if not run.open or choice % 31 == 30:
        return CancelRequested(time)
    if choice % 11 == 10 and data and isinstance(data[choice % len(data)], dict):
        return Arrived(
            time, {"specversion": "1.0", "id": "1", "source": "/", "type": "t", **data[choice % len(data)]}
        )
    command = list(run.open)[choice % len(run.open)]
    if choice % 5 == 4:
        return Failed(
            time,
            command,
            communication_fault("it did not work", 503, transient=True).fault,
        )
    return Answered(time, command, data[choice % len(data)] if data else None)


def _come_back(program: Program, run: Run) -> None:
    """A run that is stored and read again is the same."""
    state = encode_run(program, run)
    if state is None:
        return
    back = decode_run(program, state)
    assert back is not None, "a snapshot that was just taken cannot be read"
    assert encode_run(program, back) == state, "a snapshot comes back otherwise"


def answer(data: bytes) -> None:
    """Tell runs of valid documents anything that JSON can carry."""
    given = _json(data)
    if not isinstance(given, dict) or not isinstance(given.get("data"), list):
        return
    number, steps = given.get("document"), given.get("choices")
    choices = (
        [step if isinstance(step, int) else 0 for step in steps] if isinstance(steps, list) else range(STEPS)
    )
    tree = runnable()[number % len(runnable()) if isinstance(number, int) else 0]
    for _ in played(Interpreter(tree), "0" * 64, choices[:40], given["data"]):
        pass


@functools.cache
def runnable() -> tuple[Json, ...]:
    """Return the documents that are valid."""
    return tuple(tree for tree in trees() if not check("x.yaml", msgspec.json.encode(tree)).errors)


def _answers() -> list[bytes]:
    events = [{"type": "com.example.a", "data": {"n": 1}}, {"type": "t", "source": "https://a.example"}]
    return _encoded(
        *[
            {
                "document": number,
                "choices": [number * 7 + step * 5 for step in range(20)],
                "data": [*_ANSWERS, *events],
            }
            for number in range(len(runnable()))
        ]
    )


def journal_of(tree: Json, choices: Sequence[int] = range(STEPS)) -> list[bytes]:
    """Return the journal of a run of a document."""
    return list(played(Interpreter(tree), "0" * 64, choices))


def entry(*notes: Note) -> Entry:
    """Return an entry that every reader knows."""
    return Entry(Started(_NOW, "r", "d", {}, "n"), notes)


# ── expressions ───────────────────────────────────────────────────────────────────────────

VALUES: Final[tuple[Json, ...]] = (
    {
        "a": {"b": [1, 2.5, "x", None, True]},
        "name": "Ada",
        "list": [{"k": 1}, {"k": 2}],
    },
    [1, [2], "three"],
    "text",
    None,
)
JQ: Final = (
    *[".a.b[0]", ".name | ascii_downcase", "[.list[] | .k] | add", '"\\(.name)!"', "{a: .name, b: 1}", "$context.x // 7"],
    *["if .a then 1 else 2 end", ".a as {b: [$x]} | $x", "reduce .list[] as $i (0; . + $i.k)", "try error catch ."],
    *["def f: .; f", "[limit(3; range(10))]", ".list | map(select(.k > 1))", "@base64", "@uri", "tojson | fromjson", ".[1:]"],
    *["[.. | numbers]", '.name | test("A")', "to_entries | from_entries", "keys", '"a" * 3', "1 / 3", ". as [$a] ?// $a | $a"],
    *["$secrets.token", "now", "todate", ".a.b |= map(tostring)", "del(.a)", '"a,b" | split(",")', "input", "env", "label $f | 1"],
)  # fmt: skip
WORDS: Final = (
    *["|", ",", "//", "?//", "..", ".[]", "?", " as ", "$x", "def ", "reduce ", "foreach ", "if ", " then ", " else ", " elif "],
    *[" end", "try ", " catch ", "not", "and", "or", "|=", "+=", "//=", "==", "!=", "<=", "@json", "@text", '"\\(', ")", "$__loc__"],
    *["$ENV", "env", "input", "import", "include", "limit(1;", "range(9)", "test(", "sub(", "splits(", "ltrimstr", "fromjson"],
    *["getpath", "paths", "walk(", "label $out | ", "break $out", "reverse", "implode", "1e1000", "0x1", "\\u0000", "\\ud800"],
)  # fmt: skip


def read_expression(data: bytes) -> None:
    """Parse an expression, twice to the same; one of the first lane is evaluated."""
    expression = Expression(data.decode(errors="replace"))
    again = Expression(expression.text)
    assert (again.program, again.inline) == (expression.program, expression.inline), (
        "it reads otherwise again"
    )
    if not expression.inline:
        return
    for value in VALUES:
        with contextlib.suppress(ExpressionFailed):
            written(Answered(0.0, 1, evaluated(expression, value)))


def evaluated(expression: Expression, value: Json) -> Json:
    """Return the first value of an expression of the first lane."""
    return expression.evaluate(value, variables_of(expression), _NOW)


def variables_of(expression: Expression) -> dict[str, Json]:
    """Return values for all variables that an expression uses."""
    return {"__nonce__": "n"} | {name: {"x": 1} for name in expression.variables}


def read_template(data: bytes) -> None:
    """Compile a value with expressions in it, as tasks do."""
    value = _json(data)
    if data.count(b"[") + data.count(b"{") > MAXIMUM_DEPTH:
        return  # no document nests as deep
    template(value)
    template(value, loose=True)
    formula(value)


# ── small languages ───────────────────────────────────────────────────────────────────────


def _json(data: bytes) -> Json:
    """Return the JSON that bytes are, or their text."""
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return data.decode(errors="replace")


def read_duration(data: bytes) -> None:
    """Read a duration of the language."""
    seconds = duration_seconds(_json(data))
    assert 0 <= seconds <= LONGEST_DURATION_DAYS * 86_400, seconds


def read_connectors_duration(data: bytes) -> None:
    """Read a duration that is given to a connector."""
    seconds = seconds_of(_json(data), "after")
    assert 0 <= seconds < float("inf"), seconds


def read_cron(data: bytes) -> None:
    """Read a cron expression."""
    mistake = cron_mistake(data.decode(errors="replace"))
    assert mistake is None or mistake.strip()


def read_uri_template(data: bytes) -> None:
    """Fill a URI template: nothing of it can be taken for syntax of the URI."""
    given = _json(data)
    text, values = (given.get("template"), given.get("values")) if isinstance(given, dict) else (given, {})
    expand(text if isinstance(text, str) else "{a}", values)


def read_schema(data: bytes) -> None:
    """Compile a JSON Schema and check a value with it."""
    given = _json(data)
    schema, value = (given.get("schema"), given.get("value")) if isinstance(given, dict) else (given, given)
    complaint = compile_schema(schema).check(value)
    assert complaint is None or complaint.strip()


def read_version(data: bytes) -> None:
    """Compare versions, which are anything."""
    texts = data.decode(errors="replace").split("\n")
    sorted(texts, key=precedence)


def _encoded(*values: Json) -> list[bytes]:
    return [msgspec.json.encode(value) for value in values]


def _documents() -> list[bytes]:
    return [text.encode() for text in texts()]


def _document_trees() -> list[bytes]:
    return _encoded(*trees())


TARGETS: Final = (
    Target("documents, as text", read_document, _documents, words=("do:", "- a: {set: {x: 1}}", "&a", "*a", "<<:")),
    Target("documents, as trees", read_document, _document_trees, trees=True),
    Target("answers to runs", answer, _answers, trees=True, words=("1e400", "tonumber")),
    Target("expressions", read_expression, lambda: [text.encode() for text in JQ], words=WORDS),
    Target("templates", read_template, lambda: _encoded("a ${ .b } c", {"a": ["${ .x }", "${"]}, "${ .a } ${ \"}\" }"), trees=True),
    Target(
        "durations",
        read_duration,
        lambda: _encoded("PT1H30M", "P1DT2H", {"minutes": 1, "milliseconds": 500}, "P1W", "PT0.5S"),
        refuses=(ValueError,),
        trees=True,
    ),
    Target(
        "durations of connectors",
        read_connectors_duration,
        lambda: _encoded("PT1H30M", "P1DT2H", {"minutes": 1, "milliseconds": 500}, "P1W", "PT0.5S"),
        trees=True,
    ),
    Target(
        "cron",
        read_cron,
        lambda: [b"0 0 * * *", b"*/15 1-5 1,15 JAN-MAR MON", b"0 0 30 2 *", b"5 4 3 2 1 0"],
        words=("*", "/", "-", ",", "SUN", "60", "²", "٣"),
    ),
    Target(
        "URI templates",
        read_uri_template,
        lambda: _encoded(
            {"template": "https://a.example/{id}?q={q}{none}", "values": {"id": 7, "q": "a b/c", "x": 1.5}},
            {"template": "{pet.id}/{+a}", "values": {"pet.id": True, "+a": None}},
        ),
        trees=True,
    ),
    Target(
        "JSON Schemas",
        read_schema,
        lambda: _encoded(
            {"schema": {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]}, "value": {"a": 0}},
            {"schema": {"$defs": {"n": {"type": ["null", "string"], "pattern": "^(a+)+$"}}, "items": {"$ref": "#/$defs/n"}}, "value": ["aaaaaaaaaaaaaaaaaaaaaaaab"]},
            {"schema": {"oneOf": [{"const": 1}, {"enum": [2, "x"]}], "not": {"format": "date"}, "$schema": "http://json-schema.org/draft-07/schema#"}, "value": 1},
            {"schema": True, "value": None},
        ),
        refuses=(InvalidSchema,),
        words=("$ref", "$dynamicRef", "$id", "allOf", "patternProperties", "multipleOf", "uniqueItems", "contains", "$anchor"),
        trees=True,
    ),
    Target("versions", read_version, lambda: [b"1.0.0\n1.2.0-rc.1+b", b"draft\n10.0.0-a.b.3"], words=("²", "٣", ".", "-")),
)  # fmt: skip
