"""Test files: what they may hold, what goes wrong in them, how their cases are played."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tenuto.errors import InvalidDocument, NotFound
from tenuto.testing.cases import find_test_files, read_test_file
from tenuto.testing.junit import junit
from tenuto.testing.playing import Outcome, play

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples/refunds/refund.test.yaml"
HEAD = "document: {dsl: '1.0.3', namespace: test, name: %s, version: '1.0.0'}\n"
WORKFLOW = HEAD % "flow" + (
    "do:\n"
    "  - a: {call: http, with: {method: get, endpoint: 'https://example.com/{id}'}}\n"
    "  - b: {wait: PT1H}\n"
    "  - c: {call: 'python.charge:1.0.0@default', with: {cents: '${ .cents }'}}\n"
    "  - d: {run: {shell: {command: echo}}}\n"
    "output: {as: '${ {said: .} }'}\n"
)
STUBS = """
stubs:
  - {call: http, with: {endpoint: 'https://example.com/1'}, returns: {cents: 5}}
  - {call: http, returns: {cents: 7}, takes: PT10S}
  - {call: charge, returns: {id: r}}
  - {call: shell, returns: hello}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a workflow."""
    (tmp_path / "flow.yaml").write_text(WORKFLOW)
    return tmp_path


async def played(folder: Path, cases: str, stubs: str = STUBS) -> list[Outcome]:
    """Write a test file, and play its cases."""
    file = folder / "flow.test.yaml"
    file.write_text(f"workflow: flow.yaml\n{stubs}\ncases:\n{cases}")
    return [await play(case) for case in read_test_file(file).cases]


async def failures(folder: Path, expect: str, more: str = "", stubs: str = STUBS) -> str:
    """Play one case; answer what went otherwise."""
    (outcome,) = await played(folder, f"  - {{name: one, {more} expect: {expect}}}\n", stubs)
    return "\n".join(outcome.failures)


async def test_the_sample_passes() -> None:
    """All of it, in the example's folder."""
    cases = read_test_file(SAMPLE).cases

    assert [] == [failure for case in cases for failure in (await play(case)).failures]
    assert 5 == len(cases)


async def test_stubs_are_chosen_by_arguments_in_their_order(folder: Path) -> None:
    """The first that matches and is not used up; a case's own come before the file's."""
    assert "" == await failures(folder, "{elapsed: {atMost: PT1H}}", "input: {id: 1},")
    assert "" == await failures(folder, "{elapsed: {atLeast: PT1H10S}}", "input: {id: 2},")
    own = "input: {id: 2}, stubs: [{call: http, with: {method: get}, returns: {cents: 9}}],"
    calls = "{calls: [{call: http}, {call: charge, with: {cents: 9}}, {call: shell}]}"
    assert "" == await failures(folder, calls, own)


async def test_a_stub_that_is_used_up_is_passed_over(folder: Path) -> None:
    """`times` counts; with no stub left the test is told, with the call."""
    once = "stubs: [{call: http, returns: {cents: 9}, times: 1}, {call: charge, returns: {}}]\n"
    told = await failures(folder, "{output: 1}", "input: {id: 2},", once)
    assert "process.shell" in told
    twice = WORKFLOW.replace(
        "  - b:", "  - b0: {call: http, with: {method: get, endpoint: 'https://e.com'}}\n  - b:"
    )
    (folder / "flow.yaml").write_text(twice)
    told = await failures(folder, "{output: 1}", "input: {id: 2},", once)

    assert "no stub of `http.request` is for a call with" in told
    assert "change `with` or `times`" in told


async def test_errors_and_hanging_calls(folder: Path) -> None:
    """A stub can fail, and can never answer."""
    fails = "input: {id: 3}, stubs: [{call: http, fails: {status: 404, type: authorization, detail: no}}],"
    assert "" == await failures(folder, "{error: {type: authorization, status: 404}}", fails)
    (folder / "flow.yaml").write_text(WORKFLOW + "timeout: {after: PT1M}\n")
    hangs = "input: {id: 3}, stubs: [{call: http, hangs: true}],"
    assert "" == await failures(folder, "{error: {type: timeout}, elapsed: {atMost: PT1M}}", hangs)


@pytest.mark.parametrize(
    ("expect", "told"),
    [
        ("{output: {said: bye}}", '-  "said": "bye"\n+  "said": "hello"'),
        ("{contains: {said: bye}}", '-  "said": "bye"\n+  "said": "hello"'),
        ("{status: faulted}", "is completed, and was expected to be faulted"),
        ("{error: {status: 500}}", "is completed, and was expected to be faulted"),
        ("{calls: [{call: http}]}", '+    "call": "python.charge"'),
        (
            "{calls: [{call: http}, {call: charge, with: {cents: 1}}, {call: shell}]}",
            '-      "cents": 1\n+      "cents": 5',
        ),
        ("{elapsed: {atLeast: PT2H}}", "took 3600 s, and was expected to take at least 7200 s"),
        ("{elapsed: {atMost: PT1M}}", "took 3600 s, and was expected to take at most 60 s"),
    ],
)
async def test_what_differs_is_told(folder: Path, expect: str, told: str) -> None:
    """As a difference: what was expected, what was found."""
    found = await failures(folder, expect, "input: {id: 1},")

    assert told.replace(" ", "") in found.replace(" ", "")


async def test_a_run_that_fails_otherwise_says_why(folder: Path) -> None:
    """The error itself is what one wants to see."""
    told = await failures(
        folder, "{output: 1}", "input: {id: 3}, stubs: [{call: http, fails: {status: 418}}],"
    )

    assert "is faulted, and was expected to be completed\n418 Communication" in told
    assert "(in /do/0/a)" in told


async def test_events_are_sent_when_the_run_waits(tmp_path: Path) -> None:
    """After the time that is said, with their attributes; a run may also be expected to wait."""
    (tmp_path / "flow.yaml").write_text(
        HEAD % "flow"
        + "do:\n  - l: {listen: {to: {all: [{with: {type: a}}, {with: {type: b, subject: s}}]}}}\n"
    )
    events = "events: [{type: a, data: 1, after: PT1H}, {type: b, subject: s, data: 2, after: PT1H}],"
    assert "" == await failures(tmp_path, "{output: [1, 2], elapsed: {atLeast: PT2H}}", events, "")
    assert "" == await failures(tmp_path, "{status: waiting}", "", "")


async def test_other_documents_and_secrets_are_given(tmp_path: Path) -> None:
    """`with` names files and folders beside; test files in them are passed over."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library/child.yaml").write_text(
        HEAD % "child" + "use: {secrets: [key]}\ndo:\n  - s: {set: {got: '${ $secrets.key }'}}\n"
    )
    (tmp_path / "library/child.test.yaml").write_text("workflow: child.yaml\ncases: []\n")
    (tmp_path / "library/data.yaml").write_text("some: data\n")
    (tmp_path / "flow.yaml").write_text(
        HEAD % "flow" + "do:\n  - c: {run: {workflow: {namespace: test, name: child, version: '1.0.0'}}}\n"
    )
    more = "with: [library]\nsecrets: {key: abc-def}\nstart: 2031-01-01T00:00:00Z\n"
    assert "" == await failures(tmp_path, "{status: completed}", "", more)


# ── mistakes in test files ───────────────────────────────────────────────────────────────

WRONG = {
    "a word misspelt": ("cases: [{nam: x, expect: {output: 1}}]", "Did you mean `name`?", "unknown-property"),
    "another word": ("cases: [{name: x, expect: {result: 1}}]", "Did you mean `output`?", "unknown-property"),
    "nothing expected": ("cases: [{name: x}]", "Add `expect:`.", "missing-property"),
    "no cases": ("cases: []", "Add cases.", "empty-value"),
    "a stub that does nothing": (
        "cases: [{name: x, stubs: [{call: http}], expect: {output: 1}}]",
        "Add one of them.",
        "missing-property",
    ),
    "two answers": (
        "cases: [{name: x, stubs: [{call: http, returns: 1, fails: {status: 500}}], expect: {output: 1}}]",
        "Keep one of",
        "exclusive-properties",
    ),
    "an unknown function": (
        "cases: [{name: x, stubs: [{call: http.requst, returns: 1}], expect: {output: 1}}]",
        "did you mean `http.request`?",
        "unknown-function",
    ),
    "a bad duration": (
        "cases: [{name: x, expect: {elapsed: {atLeast: soon}}}]",
        "Write `P30D`",
        "bad-duration",
    ),
    "an unknown status": ("cases: [{name: x, expect: {status: done}}]", "", "not-one-of"),
    "the same name twice": (
        "cases: [{name: x, expect: {output: 1}}, {name: x, expect: {output: 1}}]",
        "Rename one of them.",
        "duplicate-name",
    ),
    "a bad time": ("start: tomorrow\ncases: [{name: x, expect: {output: 1}}]", "Give date", "bad-time"),
    "no list": ("cases: {name: x}", "Begin each item with `- `.", "wrong-type"),
    "no other document": (
        "with: [nowhere.yaml]\ncases: [{name: x, expect: {output: 1}}]",
        "looked for in",
        "no-workflow",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_told_once_with_its_place(folder: Path, what: str) -> None:
    """Line, column, what was expected, the nearest right word, the page that explains it."""
    text, hint, code = WRONG[what]
    file = folder / "flow.test.yaml"
    file.write_text(f"workflow: flow.yaml\n{text}\n")
    with pytest.raises(InvalidDocument) as told:
        read_test_file(file)
    (problem,) = told.value.problems

    assert (code, hint in (problem.hint or "")) == (problem.code, True), problem
    assert "See docs/reference/test-files.md#" in (problem.hint or "")
    assert problem.line >= 2


def test_a_workflow_that_is_not_there_or_not_valid_is_told(tmp_path: Path) -> None:
    """At the place that names it."""
    file = tmp_path / "a.test.yaml"
    file.write_text("workflow: flow.yaml\ncases: [{name: x, expect: {output: 1}}]\n")
    with pytest.raises(InvalidDocument, match=r"a\.test\.yaml:1:11: there is no file"):
        read_test_file(file)
    (tmp_path / "flow.yaml").write_text(HEAD % "flow" + "do: [{a: {sett: {}}}]\n")
    with pytest.raises(InvalidDocument, match=r"`flow.yaml` is not valid"):
        read_test_file(file)
    with pytest.raises(NotFound):
        read_test_file(tmp_path / "nowhere.test.yaml")


def test_every_anchor_is_a_heading_of_the_page() -> None:
    """Complaints lead somewhere."""
    page = (ROOT / "docs/reference/test-files.md").read_text()
    grammar = (ROOT / "src/tenuto/testing/cases_grammar.py").read_text()
    anchors = {part.split('"')[0] for part in grammar.split('anchor="')[1:]}

    for anchor in anchors:
        assert f"## {anchor.replace('-', ' ')}" in page.casefold(), anchor


# ── finding and reporting ────────────────────────────────────────────────────────────────


def test_folders_are_searched(folder: Path) -> None:
    """At any depth, hidden folders left out."""
    for name in ("a/x.test.yaml", "a/b/y.test.yml", ".hidden/z.test.yaml", "a/flow.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")

    assert ["y.test.yml", "x.test.yaml"] == [file.name for file in find_test_files(folder)]
    assert [folder / "one.yaml"] == find_test_files(folder / "one.yaml")


async def test_junit_says_what_failed(folder: Path) -> None:
    """A suite for each file, a case for each case."""
    outcomes = await played(
        folder,
        "  - {name: good, input: {id: 1}, expect: {contains: {said: hello}}}\n"
        "  - {name: bad, input: {id: 1}, expect: {output: 1}}\n",
    )
    root = ElementTree.fromstring(junit(outcomes))
    (suite,) = root

    assert ("2", "1") == (suite.get("tests"), suite.get("failures"))
    assert ["good", "bad"] == [case.get("name") for case in suite]
    assert "the output is another:" == suite[1][0].get("message")


PROJECT = """
import pytest
from tenuto import step, workflow

@step
async def charge(cents: int) -> int:
    return cents

@workflow
async def buy(cents: int) -> int:
    return await charge(cents)

def test_sync(tenuto_env):
    tenuto_env.replace(charge, 7)
    assert tenuto_env.run_sync(buy, 1) == 7
"""


@pytest.mark.slow
def test_pytest_collects_test_files_in_any_project(folder: Path) -> None:
    """The plugin is there because Tenuto is installed; failures are shown without our own frames."""
    (folder / "flow.test.yaml").write_text(
        f"workflow: flow.yaml\n{STUBS}\ncases:\n"
        "  - {name: good one, input: {id: 1}, expect: {contains: {said: hello}}}\n"
        "  - {name: bad one, input: {id: 1}, expect: {output: 1}}\n"
    )
    (folder / "wrong.test.yaml").write_text("workflow: flow.yaml\ncasse: []\n")
    (folder / "test_project.py").write_text(PROJECT)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--continue-on-collection-errors"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "PASSED flow.test.yaml::good one" in done.stdout
    assert "FAILED flow.test.yaml::bad one" in done.stdout
    assert "the output is another:" in done.stdout
    assert "playing.py" not in done.stdout
    assert "wrong.test.yaml:2:1: `casse` is not a property" in done.stdout
    assert "PASSED test_project.py::test_sync" in done.stdout


def test_the_plugin_loads_next_to_nothing() -> None:
    """Every pytest of every user loads it."""
    code = (
        "import sys, pytest; before = set(sys.modules); import tenuto.testing.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert {"tenuto", "tenuto.testing", "tenuto.testing.plugin"} == set(done.stdout.split())
