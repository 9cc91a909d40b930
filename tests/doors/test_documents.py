"""`tenuto init`, `validate`, `graph` and `connectors`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.doors.conftest import Tenuto

Write = Callable[..., Path]


def test_the_starter_is_valid_and_its_picture_can_be_drawn(tenuto: Tenuto, tmp_path: Path) -> None:
    """`tenuto init` writes a workflow that validates without a warning."""
    assert tenuto("init", "new").status == 0
    assert json.loads(tenuto("validate", "new", "--format", "json").out) == [
        {"file": "new/hello.yaml", "errors": [], "warnings": []}
    ]
    assert tenuto("graph", "new/hello.yaml").out.startswith("<svg ")


def test_init_takes_a_file_name_too(tenuto: Tenuto, tmp_path: Path) -> None:
    """A name that ends in `.yaml` is the file itself."""
    assert tenuto("init", "flows/first.yaml").status == 0

    assert (tmp_path / "flows" / "first.yaml").is_file()


def test_init_overwrites_only_if_told_so(tenuto: Tenuto, tmp_path: Path) -> None:
    """A file that is there stays, unless --force is given."""
    (tmp_path / "hello.yaml").write_text("mine")
    refused = tenuto("init")

    assert (refused.status, (tmp_path / "hello.yaml").read_text()) == (2, "mine")
    assert "--force" in refused.err
    assert tenuto("init", "--force").status == 0
    assert (tmp_path / "hello.yaml").read_text() != "mine"


def test_a_mistake_is_shown_the_way_compilers_do(tenuto: Tenuto, write: Write) -> None:
    """Place, message, line with a caret below the word, hint; the exit status is 2."""
    write("flow", "- a: {set: {x: 1}, thn: b}")
    called = tenuto("validate", "flow.yaml")
    lines = called.out.splitlines()

    assert called.status == 2
    assert lines[0].startswith("flow.yaml:3:22: error: ")
    assert lines[1] == "    3 |   - a: {set: {x: 1}, thn: b}"
    assert lines[2] == "      |                      ^^^"
    assert lines[3].startswith("  hint: ")
    assert lines[-1] == "1 error in 1 file"


def test_nothing_in_a_document_steers_the_terminal(tenuto: Tenuto, write: Write) -> None:
    """Control characters and line ends in names are shown, not obeyed; the rest is shown as it is."""
    file = write("bad", '- "a": {set: {x: 1}, "unkn\\x07\\x1b]0;owned\\x07\\nforged.yaml:1:1: Größe": 2}')
    validated, run, drawn = (
        tenuto("validate", "bad.yaml"),
        tenuto("run", "bad.yaml"),
        tenuto("graph", "bad.yaml"),
    )

    assert "\\n" in file.read_text()
    for called in (validated, run, drawn):
        shown = called.out + called.err
        assert not [c for c in shown if not c.isprintable() and c != "\n"]
        assert r"unkn\x07\x1b]0;owned\x07\nforged.yaml:1:1: Größe" in shown
        assert not [line for line in shown.splitlines() if line.startswith("forged")]


def test_json_for_programs_has_exactly_these_members(tenuto: Tenuto, write: Write) -> None:
    """[{file, errors: [{code, line, column, path, message, hint}], warnings}], one for each file."""
    write("good", "- a: {set: {x: 1}}")
    write("bad", "- a: {set: {x: 1}, thn: b}")
    called = tenuto("validate", "good.yaml", "bad.yaml", "--format", "json")
    good, bad = called.json

    assert called.status == 2
    assert good == {"file": "good.yaml", "errors": [], "warnings": []}
    assert list(bad["errors"][0]) == ["code", "line", "column", "path", "message", "hint"]
    assert (bad["file"], bad["errors"][0]["line"], bad["errors"][0]["column"]) == ("bad.yaml", 3, 22)


def test_what_is_no_yaml_is_one_error_with_its_place(tenuto: Tenuto, tmp_path: Path) -> None:
    """A syntax error is reported like every other mistake."""
    (tmp_path / "broken.yaml").write_text("document: [1\ndo: x\n")
    called = tenuto("validate", "broken.yaml", "--format", "json")

    assert called.status == 2
    assert [error["code"] for error in called.json[0]["errors"]] == ["syntax"]


def test_standard_input_can_be_validated(tenuto: Tenuto, write: Write) -> None:
    """`-` is standard input."""
    text = write("flow", "- a: {set: {x: 1}}").read_text()

    assert tenuto("validate", "-", stdin=text).out == "<stdin>: valid\n"


def test_a_folder_means_the_workflows_in_it(tenuto: Tenuto, write: Write, tmp_path: Path) -> None:
    """Other YAML and JSON files in a folder are passed over; one that is named is not."""
    write("flow", "- a: {set: {x: 1}}")
    (tmp_path / "values.yaml").write_text("just: data\n")
    (tmp_path / ".hidden.yaml").write_text("document: {}\n")

    assert [each["file"] for each in tenuto("validate", ".", "--format", "json").json] == ["flow.yaml"]
    assert tenuto("validate", "values.yaml").status == 2


def test_a_missing_file_is_named_and_its_neighbours_offered(tenuto: Tenuto, write: Write) -> None:
    """One line says what is wrong, one what is there."""
    write("flow", "- a: {set: {x: 1}}")
    called = tenuto("validate", "flwo.yaml")

    assert (called.status, called.out) == (2, "")
    assert called.err == "error: there is no file 'flwo.yaml'\nhint: there are: flow.yaml\n"


def test_an_unknown_function_is_a_mistake_before_anything_runs(tenuto: Tenuto, write: Write) -> None:
    """Functions of the default catalog are looked up while validating."""
    write("flow", "- a: {call: 'core.nop:1.0.0@default'}")
    called = tenuto("validate", "flow.yaml", "--format", "json")

    assert [error["code"] for error in called.json[0]["errors"]] == ["unknown-function"]
    assert "core.noop:1.0.0" in called.json[0]["errors"][0]["hint"]


@pytest.mark.parametrize("name", ["bad.hello", "bad.hello:1.0.0@default"])
def test_a_function_whose_connector_cannot_be_loaded_says_why(
    name: str, tenuto: Tenuto, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the module breaks is told where it is called, and beside other mistakes; no other is blamed on it."""
    information = tmp_path / "acme_bad-1.0.dist-info"
    information.mkdir()
    (information / "entry_points.txt").write_text("[tenuto.connectors]\nbad = acme_bad_module\n")
    (tmp_path / "acme_bad_module.py").write_text('raise ValueError("no setting BAD_URL")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    write("flow", f"- a: {{call: '{name}'}}\n- b: {{call: 'core.nop:1.0.0@default'}}")
    checked = tenuto("validate", "flow.yaml", "--format", "json")
    run = tenuto("run", "flow.yaml")

    broken, unknown = checked.json[0]["errors"]
    why = "connector `bad` cannot be loaded: ValueError: no setting BAD_URL."
    assert (broken["path"], broken["message"]) == ("/do/0/a/call", f"The function cannot be called: {why}")
    assert broken["hint"] == "mend the module, or uninstall its distribution"
    assert unknown["message"] == "The default catalog has no function `core.nop:1.0.0`."
    assert (run.status, why in run.err) == (2, True)


SHAPES = {"svg", "title", "style", "defs", "marker", "path", "rect", "circle", "text", "g"}
NASTY = """
- a: {set: {x: 1}, then: c}
- b: {switch: [{'<i>&"': {when: '.a < 1 and "&" != "]]>"', then: a}}, {other: {then: exit}}]}
- c: {fork: {compete: true, branches: [{l: {wait: PT1M}}, {r: {emit: {event: {with: {type: t, source: 'https://s'}}}}}]}}
- d:
    try: [{e: {call: http, with: {method: get, endpoint: https://e.example}}}]
    catch: {errors: {with: {status: 503}}, retry: {delay: {seconds: 1}}, do: [{f: {set: {y: 1}}}], then: end}
- g: {for: {in: '.xs'}, do: [{h: {set: {z: 1}, then: exit}}, {i: {set: {z: 2}}}]}
"""


def test_the_picture_is_well_formed_and_names_every_task(tenuto: Tenuto, write: Write) -> None:
    """SVG: each task's name stands in it, nothing of the document becomes markup."""
    write("flow", NASTY)
    called = tenuto("graph", "flow.yaml")
    root = ElementTree.fromstring(called.out)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]

    assert called.status == 0
    assert set("abcdefghilr") <= set(texts)
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= SHAPES
    assert root.get("role") == "img"
    assert root.find("{http://www.w3.org/2000/svg}title").text.startswith("Workflow flow")  # type: ignore[union-attr]


def test_mermaid_text_quotes_what_is_special(tenuto: Tenuto, write: Write) -> None:
    """No character of the document can end a label."""
    write("flow", NASTY)
    text = tenuto("graph", "flow.yaml", "--format", "mermaid").out

    assert text.startswith("flowchart TD\n")
    assert ".a #60; 1 and #34;#38;#34; != #34;#93;#93;#62;#34;".replace("!", "#33;") in text
    assert text.count("subgraph") == text.count("\n    end\n") + text.count("\n        end\n")


def test_the_suffix_decides_what_is_drawn(tenuto: Tenuto, write: Write, tmp_path: Path) -> None:
    """-o x.svg is SVG, -o x.mmd is Mermaid text, -o x.md a page with it."""
    write("flow", "- a: {set: {x: 1}}")
    for name in ("x.svg", "x.mmd", "x.md"):
        assert tenuto("graph", "flow.yaml", "-o", name).out == ""

    assert (tmp_path / "x.svg").read_text().startswith("<svg ")
    assert (tmp_path / "x.mmd").read_text().startswith("flowchart TD\n")
    assert (tmp_path / "x.md").read_text().startswith("```mermaid\nflowchart TD\n")


def test_a_suffix_of_another_kind_of_picture_is_refused(tenuto: Tenuto, write: Write, tmp_path: Path) -> None:
    """No SVG text under a name that ends in .png, unless --format asks for just that."""
    write("flow", "- a: {set: {x: 1}}")
    called = tenuto("graph", "flow.yaml", "-o", "x.png")

    assert (called.status, (tmp_path / "x.png").exists()) == (2, False)
    assert called.err.startswith(
        "error: pictures are SVG or Mermaid text, not .png\nhint: end the name in .svg"
    )
    assert tenuto("graph", "flow.yaml", "-o", "x.txt", "--format", "svg").status == 0
    assert tenuto("graph", "flow.yaml", "-o", "x").status == 0


def test_an_invalid_workflow_is_not_drawn(tenuto: Tenuto, write: Write) -> None:
    """The mistakes are shown instead, with status 2."""
    write("flow", "- a: {nothing: 1}")
    called = tenuto("graph", "flow.yaml")

    assert (called.status, called.out) == (2, "")
    assert called.err.startswith("flow.yaml:3:")


def test_connectors_are_listed_with_their_functions(tenuto: Tenuto) -> None:
    """All of them, one of them, one function; as text and as JSON."""
    listed = {each["name"]: each for each in tenuto("connectors", "--output", "json").json}
    core = tenuto("connectors", "core", "--output", "json").json
    noop = tenuto("connectors", "core.noop", "--output", "json").json

    assert "core.noop" in listed["core"]["functions"]
    assert [each["name"] for each in core["functions"]] == listed["core"]["functions"]
    assert [each["call"] for each in noop["functions"]] == ["core.noop:1.0.0@default"]
    assert "call: core.noop:1.0.0@default" in tenuto("connectors", "core").out


@pytest.mark.parametrize(("asked", "hint"), [("croe", "did you mean `core`?"), ("core.nop", "`core.noop`?")])
def test_a_wrong_connector_gets_the_nearest_right_one(asked: str, hint: str, tenuto: Tenuto) -> None:
    """Names are suggested for connectors and for functions."""
    called = tenuto("connectors", asked)

    assert called.status == 2
    assert hint in called.err
