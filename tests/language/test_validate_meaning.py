"""What no schema sees: names, targets, calls, expressions, schedules, schemas."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tenuto.errors import InvalidDocument, Problem
from tenuto.language.grammar.walk import MAXIMUM_PROBLEMS
from tenuto.language.load import load
from tenuto.language.validate import validate

HEADER = "document: {dsl: '1.0.3', namespace: test, name: x, version: '1.0.0'}\n"


class Catalog:
    """A default catalog with three functions."""

    def function(self, name: str) -> bool:
        """Return whether it is there."""
        return name in self.functions()

    def functions(self) -> list[str]:
        """Return the names."""
        return ["ldap.add_entry:1.0.0", "ldap.add_entry:1.1.0", "smtp.send:1.0.0"]

    def arguments(self, name: str) -> dict[str, bool] | None:
        """Return the arguments, and which are required."""
        return {"to": True, "subject": True, "text": False} if name.startswith("smtp") else None


def check(body: str, known: Catalog | None = None) -> list[Problem]:
    """Return the problems of a document with this body."""
    return validate(load(HEADER + textwrap.dedent(body)), known)


def told(body: str, known: Catalog | None = None) -> list[tuple[str, str, int]]:
    """Return severity, code and line (of the body) of each problem."""
    return [(problem.severity, problem.code, problem.line - 1) for problem in check(body, known)]


def test_all_examples_of_the_standard_are_valid(standard: Path) -> None:
    """68 documents, no error in any."""
    files = sorted((standard / "examples").glob("*.yaml"))
    refused = {file.name: found for file in files if (found := validate(load(file.read_bytes())))}

    assert len(files) == 68
    assert refused == {}


def test_the_invalid_documents_of_the_standard_are_refused(standard: Path) -> None:
    """Each with one error."""
    codes = {}
    for file in sorted((standard / "invalid").glob("*.yaml")):
        try:
            problems = validate(load(file.read_bytes()))
        except InvalidDocument as error:
            problems = list(error.problems)
        codes[file.stem] = [problem.code for problem in problems]

    assert codes == {
        "extra-property-in-call": ["unknown-property"],
        "listen-any-until-any-until": ["duplicate-key"],
        "two-tasks-in-one-item": ["one-name-per-item"],
    }


def test_until_inside_until_is_refused() -> None:
    """The strategy that ends a subscription has no end of its own."""
    assert told("""
        do:
          - a:
              listen:
                to:
                  any: []
                  until:
                    any: []
                    until: ${ true }
    """) == [("error", "unknown-property", 9)]


CASES: dict[str, tuple[str, list[tuple[str, str, int]]]] = {
    "then to a task of an outer list": (
        "do:\n- a:\n    do:\n    - b: {set: {x: 1}, then: c}\n- c: {set: {x: 1}}",
        [("error", "unknown-target", 4)],
    ),
    "then to a task of an inner list": (
        "do:\n- a:\n    do:\n    - b: {set: {x: 1}}\n  \n- c: {if: .x, set: {x: 1}, then: b}",
        [("error", "unknown-target", 6)],
    ),
    "then to a task of the same list": ("do:\n- a: {set: {x: 1}, then: c}\n- c: {set: {x: 1}}", []),
    "then to a directive": ("do:\n- a: {set: {x: 1}, then: exit}", []),
    "then in a case": ("do:\n- a:\n    switch:\n    - b: {then: d}", [("error", "unknown-target", 4)]),
    "then in a catch": (
        "do:\n- a:\n    try: []\n    catch:\n      then: d",
        [("error", "unknown-target", 5)],
    ),
    "then between branches": (
        "do:\n- a:\n    fork:\n      branches:\n      - b: {set: {x: 1}, then: c}\n      - c: {set: {x: 1}}",
        [("error", "unknown-target", 5)],
    ),
    "then in a branch, to a directive": (
        "do:\n- a:\n    fork:\n      branches:\n      - b: {set: {x: 1}, then: end}\n      - c: {set: {x: 1}}",
        [],
    ),
    "then in a reusable function": (
        "use:\n  functions:\n    f: {set: {x: 1}, then: a}\ndo:\n- a: {call: f}",
        [("error", "unknown-target", 3)],
    ),
    "a name given twice": ("do:\n- a: {set: {x: 1}}\n- a: {set: {x: 1}}", [("warning", "duplicate-task", 3)]),
    "a name given twice and led to": (
        "do:\n- a: {set: {x: 1}}\n- b: {if: .x, set: {x: 1}, then: a}\n- a: {set: {x: 1}}",
        [("error", "duplicate-task", 4)],
    ),
    "a name given twice in different lists": ("do:\n- a:\n    do:\n    - a: {set: {x: 1}}", []),
    "a directive as a name": ("do:\n- end: {set: {x: 1}}", [("warning", "directive-as-name", 2)]),
    "two defaults": (
        "do:\n- a:\n    switch:\n    - b: {then: end}\n    - c: {then: exit}",
        [("error", "several-defaults", 5)],
    ),
    "one default": ("do:\n- a:\n    switch:\n    - b: {when: .x, then: end}\n    - c: {then: exit}", []),
    "falling into a case": (
        "do:\n- a:\n    switch:\n    - x: {when: .x, then: b}\n- b: {set: {x: 1}}",
        [("warning", "switch-falls-through", 2)],
    ),
    "falling past the cases": (
        "do:\n- a:\n    switch:\n    - x: {when: .x, then: c}\n- b: {set: {x: 1}}\n- c: {set: {x: 1}}",
        [],
    ),
    "a task after end": (
        "do:\n- a: {set: {x: 1}, then: end}\n- b: {set: {x: 1}}\n- c: {set: {x: 1}}",
        [("warning", "unreachable-task", 3)],
    ),
    "a task after raise": (
        "do:\n- a: {raise: {error: {type: x, status: 400}}}\n- b: {set: {x: 1}}",
        [("warning", "unreachable-task", 3)],
    ),
    "a task after a conditional end": ("do:\n- a: {if: .x, set: {x: 1}, then: end}\n- b: {set: {x: 1}}", []),
    "a task after end that a catch leads to": (
        "do:\n- a:\n    try: []\n    catch: {then: b}\n    then: end\n- b: {set: {x: 1}}",
        [],
    ),
    "unknown authentication": (
        "do:\n- a: {call: http, with: {method: get, endpoint: {uri: 'https://x', authentication: {use: y}}}}",
        [("error", "unknown-authentication", 2)],
    ),
    "unknown secret": (
        "use:\n  secrets: [good]\n  authentications:\n    a: {bearer: {use: god}}\ndo: []",
        [("error", "unknown-secret", 4)],
    ),
    "unknown error": ("do:\n- a: {raise: {error: y}}", [("error", "unknown-error", 2)]),
    "unknown retry": ("do:\n- a: {try: [], catch: {retry: y}}", [("error", "unknown-retry", 2)]),
    "unknown timeout": ("timeout: y\ndo: []", [("error", "unknown-timeout", 1)]),
    "unknown catalog": ("do:\n- a: {call: 'f:1.0.0@y'}", [("error", "unknown-catalog", 2)]),
    "default catalog": ("do:\n- a: {call: 'f:1.0.0@default'}", []),
    "a function by its address": ("do:\n- a: {call: 'https://example.com/f.yaml'}", []),
    "unknown function": ("do:\n- a: {call: f}", [("error", "unknown-function", 2)]),
    "a section that is misspelt": (
        "use:\n  retreis:\n    y: {delay: PT1S}\ndo:\n- a: {try: [], catch: {retry: y}}",
        [("error", "unknown-property", 2)],
    ),
    "a broken expression": ("do:\n- a: {if: '.x +', set: {x: 1}}", [("error", "bad-expression", 2)]),
    "a broken expression in data": (
        "do:\n- a:\n    set:\n      x: [1, '${ .x | }']",
        [("error", "bad-expression", 4)],
    ),
    "a broken expression in a transformation": (
        "output:\n  as:\n    x: ${ .[ }\ndo: []",
        [("error", "bad-expression", 3)],
    ),
    "what looks like an expression but is data": ("do:\n- a: {set: {x: '.x +'}}", []),
    "metadata is not evaluated": ("do:\n- a: {set: {x: 1}, metadata: {x: '${ .x | }'}}", []),
    "an expression inside text": (
        "do:\n- a: {set: {x: 'Hi ${ .x }'}}",
        [("warning", "embedded-expression", 2)],
    ),
    "an expression inside text, loose": ("evaluate: {mode: loose}\ndo:\n- a: {set: {x: 'Hi ${ .x }'}}", []),
    "data that is no expression, loose": (
        "evaluate: {mode: loose}\ndo:\n- a: {set: {x: '${ .x | }'}, output: {as: Hello world}}",
        [("warning", "bad-expression", 3), ("warning", "bad-expression", 3)],
    ),
    "a condition that is no expression, loose": (
        "evaluate: {mode: loose}\ndo:\n- a: {if: Hello world, set: {x: 1}}",
        [("error", "bad-expression", 3)],
    ),
    "a variable of the shell": ("do:\n- a: {run: {shell: {command: 'echo ${HOME}'}}}", []),
    "an expression inside a command": (
        "do:\n- a: {run: {shell: {command: 'echo ${ .name }'}}}",
        [("warning", "embedded-expression", 2)],
    ),
    "an unknown variable": (
        "do:\n- a: {for: {each: one, in: .x}, do: [b: {set: {x: '${ $on }'}}]}",
        [("error", "unknown-variable", 2)],
    ),
    "a known variable": (
        "do:\n- a: {for: {each: one, in: .x}, do: [b: {set: {x: '${ $one + $index }'}}]}",
        [],
    ),
    "an undeclared secret": (
        "do:\n- a: {set: {x: '${ $secrets.y }'}}",
        [("warning", "undeclared-secret", 2)],
    ),
    "a declared secret": ("use: {secrets: [y]}\ndo:\n- a: {set: {x: '${ $secrets.y }'}}", []),
    "an expression that the standard wants wrapped": (
        "do:\n- a:\n    call: asyncapi\n    with:\n      document: {endpoint: 'https://x'}\n      channel: c\n"
        "      subscription:\n        filter: .x\n        consume: {amount: 1}",
        [("warning", "bare-expression", 8)],
    ),
    "another expression language": (
        "evaluate: {language: javascript}\ndo: []",
        [("error", "unsupported-language", 1)],
    ),
    "another schema language": (
        "input: {schema: {format: 'avro:1.9', document: {type: record}}}\ndo: []",
        [("error", "unsupported-language", 1)],
    ),
    "a version of the schema language": (
        "input: {schema: {format: 'json:2020-12', document: {type: object}}}\ndo: []",
        [],
    ),
    "query parameters and headers that are no texts": (
        "do:\n- a: {call: http, with: {method: get, endpoint: 'https://x', query: {n: 1, l: [a]}, headers: {x: 5}}}",
        [],
    ),
    "the input of a workflow is any value": (
        "do:\n- a: {run: {workflow: {namespace: n, name: w, version: '1.0.0', input: '${ .x }'}}}",
        [],
    ),
    "an interval of nothing": ("schedule: {every: {seconds: 0}}\ndo: []", [("error", "zero-duration", 1)]),
    "a wait of nothing": ("do:\n- a: {wait: PT0S}", [("warning", "zero-duration", 2)]),
    "a delay of nothing": ("do:\n- a: {try: [], catch: {retry: {delay: PT0S}}}", []),
    "a negative wait": ("do:\n- a: {wait: {seconds: -1}}", [("error", "negative-duration", 2)]),
    "a wait of months": ("do:\n- a: {wait: P1M}", [("error", "calendar-duration", 2)]),
    "a schema that is none": (
        "input:\n  schema:\n    document:\n      properties:\n        x: {type: sting}\ndo: []",
        [("error", "bad-schema", 5)],
    ),
    "an attribute that is nearly a known one": (
        "do:\n- a: {emit: {event: {with: {type: x, subjet: y}}}}",
        [("warning", "extension-attribute", 2)],
    ),
    "an attribute of one's own": ("do:\n- a: {emit: {event: {with: {type: x, tenant: y}}}}", []),
    "a property that means nothing": ("x-owner: me\ndo: []", [("warning", "ignored-property", 1)]),
}


@pytest.mark.parametrize("name", CASES)
def test_meaning_is_checked(name: str) -> None:
    """Each mistake is told once, and what only looks like one is not told."""
    body, expected = CASES[name]

    assert expected == told(body)


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        ("ldap.add_entry:1.0.0@default", None),
        ("ldap.add_entry:2.0.0@default", "Did you mean `ldap.add_entry:1.1.0@default`?"),
        ("ldap.add_entyr:1.0.0@default", "Did you mean `ldap.add_entry:1.0.0@default`?"),
        ("ldap.add_entry", "Did you mean `ldap.add_entry:1.1.0@default`?"),
        ("htpp", "Did you mean `http`?"),
        ("${ .which }", "An expression cannot stand here"),
        ("nothing-like-it", "Call `http`"),
    ],
)
def test_calls_are_looked_up_in_the_catalog(call: str, hint: str | None) -> None:
    """With the runtime's catalog known, its functions are known too."""
    problems = check(f"do:\n- a: {{call: '{call}'}}", Catalog())
    expected = [] if hint is None else ["unknown-function"]

    assert expected == [problem.code for problem in problems]
    assert all((hint or "") in (problem.hint or "") for problem in problems)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ("do:\n- a: {if: .x +, set: {x: 1}}", (3, 15)),
        ("do:\n- a: {if: '${ .x + }', set: {x: 1}}", (3, 20)),
        ("do:\n- a:\n    if: |\n      .x +\n    set: {x: 1}", (4, 9)),
    ],
)
def test_the_mistake_in_an_expression_has_a_place(body: str, place: tuple[int, int]) -> None:
    """Line and column lead into the expression; into its beginning where the text is folded."""
    (problem,) = validate(load(HEADER + body))

    assert place == (problem.line, problem.column)


def test_both_families_of_error_types_are_fine() -> None:
    """Documents of the former name of the standard stay valid."""
    body = "do:\n"
    for number, host in enumerate(("serverlessworkflow.io", "open-workflow-specification.org")):
        body += f"- a{number}: {{if: .x, raise: {{error: {{type: 'https://{host}/spec/1.0.0/errors/x', status: 1}}}}}}\n"

    assert told(body) == []


@pytest.mark.parametrize("version", ["1.0.0", "1.0.3", "1.0.10", "1.0.0-alpha5"])
def test_versions_of_the_language_that_are_supported(version: str) -> None:
    """Every 1.0.x is."""
    assert validate(load(HEADER.replace("1.0.3", version) + "do: []")) == []


@pytest.mark.parametrize("version", ["0.8.0", "1.1.0", "2.0.0"])
def test_versions_of_the_language_that_are_not_supported(version: str) -> None:
    """The error says which are."""
    (problem,) = validate(load(HEADER.replace("1.0.3", version) + "do: []"))

    assert problem.code == "unsupported-dsl"
    assert "1.0.x" in problem.message


def test_mistakes_that_do_not_touch_are_all_told_in_order() -> None:
    """A person mends everything in one go."""
    assert told("""
        do:
          - a: {sett: {x: 1}}
          - b: {wait: 1S}
          - c: {call: http, with: {method: get}}
    """) == [
        ("error", "unknown-property", 3),
        ("error", "bad-duration", 4),
        ("error", "missing-property", 5),
    ]


def test_properties_that_stand_beside_their_owner_are_one_mistake() -> None:
    """A lost level of indentation is told once."""
    (problem,) = check("""
        do:
          - a:
              call: http
              with:
              method: get
              endpoint: https://example.com
    """)

    assert problem.message.startswith("`method` and `endpoint` are properties of `with`")


def test_at_most_a_hundred_problems_are_told() -> None:
    """The rest would not be read."""
    body = "do:\n" + "".join(f"- a{number}: {{wait: x}}\n" for number in range(MAXIMUM_PROBLEMS + 1))

    assert len(check(body)) == MAXIMUM_PROBLEMS


@pytest.mark.parametrize("text", ["[]", "x", "1", "do: 1", "{do: [], document: []}"])
def test_what_is_no_workflow_at_all_is_told(text: str) -> None:
    """Any value gets an answer."""
    assert any(problem.severity == "error" for problem in validate(load(text)))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("{to: a, subject: b}", []),
        ("{to: a, subject: b, text: c}", []),
        ("{to: a, sbject: b}", [("unknown-argument", "Did you mean `subject`?")]),
        ("{to: a}", [("missing-argument", "`tenuto connectors` says what for.")]),
    ],
)
def test_arguments_of_connectors_functions_are_compared(given: str, expected: list[tuple[str, str]]) -> None:
    """An unknown one and a missing one are told once."""
    problems = check(f"do:\n- a: {{call: 'smtp.send:1.0.0@default', with: {given}}}", Catalog())

    assert [(p.code, (p.hint or "").split(" See")[0]) for p in problems if p.severity == "error"] == expected


def test_a_call_without_arguments_is_told_what_it_needs() -> None:
    """The place is the call."""
    (problem,) = check("do:\n- a: {call: 'smtp.send:1.0.0@default'}", Catalog())

    assert (problem.code, problem.message, problem.column) == (
        "missing-argument",
        "`smtp.send:1.0.0` needs `to` and `subject`.",
        7,
    )
