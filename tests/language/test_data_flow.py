"""What data a task sees and gives: input, output, export, schemas, arguments, templates."""

from __future__ import annotations

import pytest

from tests.language.playing import play


def test_data_flows_through_every_stage_in_order() -> None:
    """Workflow input.from, task input.from, task, output.as, export.as, workflow output.as."""
    done = play(
        """
        input: {from: .raw}
        do:
          - task:
              input: {from: .a}
              set: {in: '${ . }', arg: '${ $input }', raw: '${ $task.input }'}
              output: {as: '. + {out: $input}'}
              export: {as: '{seen: $output, before: $context}'}
        output: {as: '{result: ., context: $context}'}
    """,
        {"raw": {"a": 1}},
    )

    assert done.output == {
        "result": {"in": 1, "arg": 1, "raw": {"a": 1}, "out": 1},
        "context": {"seen": {"in": 1, "arg": 1, "raw": {"a": 1}, "out": 1}, "before": None},
    }


def test_the_context_is_null_before_the_first_export() -> None:
    """Our reading 4: the input is not the context."""
    done = play("do: [{a: {set: {context: '${ $context }'}}}]", {"x": 1})

    assert done.output == {"context": None}


SCHEMA = "{schema: {format: json, document: {type: object, required: [n], properties: {n: {type: integer}}}}}"


@pytest.mark.parametrize(
    ("body", "instance", "what"),
    [
        (f"input: {SCHEMA}\ndo: [{{a: {{set: {{n: 1}}}}}}]", "/", "the input"),
        (f"do: [{{a: {{input: {SCHEMA}, set: {{n: 1}}}}}}]", "/do/0/a", "the input"),
        (f"do: [{{a: {{set: {{n: x}}, output: {SCHEMA}}}}}]", "/do/0/a", "the output"),
        (f"do: [{{a: {{set: {{n: x}}, export: {SCHEMA}}}}}]", "/do/0/a", "the exported context"),
        (f"do: [{{a: {{set: {{n: x}}}}}}]\noutput: {SCHEMA}", "/", "the output"),
    ],
)
def test_data_that_does_not_fit_its_schema_is_a_validation_fault(body: str, instance: str, what: str) -> None:
    """Each of the five schemas is checked, and the fault says which and where."""
    fault = play(body, {"m": 1}).fault

    assert fault.type.endswith("/validation")
    assert fault.instance == instance
    assert fault.detail is not None
    assert fault.detail.startswith(what)


def test_a_schema_elsewhere_is_fetched_once_and_recorded() -> None:
    """An external schema is an action of its own, and its answer part of the history."""
    done = play(
        "do: [{a: {input: {schema: {format: json, resource: {endpoint: 'https://x.test/s.json'}}}, set: {n: 1}}}]",
        {"n": "one"},
        lambda command: {"content": {"properties": {"n": {"type": "integer"}}}},
    )

    assert done.fault.type.endswith("/validation")
    assert [c.function for c in done.performed] == ["resource.read"]


def test_descriptors_describe() -> None:
    """`$task`, `$workflow` and `$runtime` are as the standard describes them."""
    done = play(
        """
        do:
          - me:
              set:
                task: ${ [$task.name, $task.reference, $task.definition.set != null, $task.set != null] }
                workflow: ${ [$workflow.id, $workflow.definition.document.name, $workflow.input] }
                started: ${ $workflow.startedAt.epoch.seconds }
                iso: ${ $task.startedAt.iso8601 }
                runtime: ${ [$runtime.name, $runtime.version] }
    """,
        {"n": 1},
    )

    assert done.output == {
        "task": ["me", "/do/0/me", True, True],
        "workflow": ["run-1", "play", {"n": 1}],
        "started": 1_700_000_000,
        "iso": "2023-11-14T22:13:20.000Z",
        "runtime": ["Tenuto", "0.1.0"],
    }


def test_an_argument_that_is_not_available_is_a_clear_fault() -> None:
    """`$output` does not exist before the task has run, and unknown names never do."""
    fault = play("do: [{a: {if: '$output == 1', set: {x: 1}}}]").fault

    assert fault.type.endswith("/expression")
    assert fault.detail is not None
    assert "$output is not available here" in fault.detail


AVAILABLE = {
    "input: {from: '%s'}\ndo: [{a: {set: {x: 1}}}]": "workflow runtime",
    "do: [{a: {if: '%s', set: {x: 1}}}]": "context task workflow runtime",
    "do: [{a: {input: {from: '%s'}, set: {x: 1}}}]": "context task workflow runtime",
    "do: [{a: {set: '${ %s }'}}]": "context input task workflow runtime authorization",
    "do: [{a: {set: {x: 1}, output: {as: '%s'}}}]": "context input task workflow runtime authorization",
    "do: [{a: {set: {x: 1}, export: {as: '%s'}}}]": "context input output task workflow runtime authorization",
    "output: {as: '%s'}\ndo: [{a: {set: {x: 1}}}]": "context workflow runtime",
}


@pytest.mark.parametrize(("body", "names"), AVAILABLE.items())
def test_each_expression_sees_the_arguments_that_the_standards_table_gives_it(body: str, names: str) -> None:
    """Those, and no others."""
    every = ("context", "input", "output", "task", "workflow", "runtime", "authorization")
    ends = {name: play(body % f"[${name}]").run for name in every}
    seen = [name for name, run in ends.items() if run and run.finish and run.finish.status == "completed"]

    assert sorted(names.split()) == sorted(seen)


def test_task_is_described_before_and_after_its_transformations() -> None:
    """`$task.input` and `$task.output` are the raw ones, wherever they are asked for."""
    done = play(
        """
        do:
          - a:
              input: {from: .n}
              set: {out: '${ . }'}
              output: {as: '{shaped: $task.output, of: $task.input}'}
              export: {as: '{raw: $task.output, shaped: $output}'}
        output: {as: '{output: ., context: $context}'}
    """,
        {"n": 1},
    )

    assert done.output["output"] == {"shaped": {"out": 1}, "of": {"n": 1}}
    assert done.output["context"] == {"raw": {"out": 1}, "shaped": done.output["output"]}


def test_strict_mode_evaluates_whole_strings_only() -> None:
    """Our reading 2: text around `${ }` is text in the strict mode."""
    done = play("do: [{a: {set: {whole: '${ .n }', part: 'n is ${ .n }', bare: .n}}}]", {"n": 1})

    assert done.output == {"whole": 1, "part": "n is ${ .n }", "bare": ".n"}


def test_loose_mode_evaluates_inside_text_too() -> None:
    """In the loose mode `${ }` inside text is joined in; objects as JSON."""
    done = play(
        "evaluate: {mode: loose}\ndo: [{a: {set: {part: 'n is ${ .n }, all ${ {a: \"}\"} }.'}}}]", {"n": 1}
    )

    assert done.output == {"part": 'n is 1, all {"a":"}"}.'}


LOOSE = """
    evaluate: {mode: loose}
    do:
      - a: {set: {bare: .n, plain: Hello world, path: '.n.deeper', part: 'x ${ .n.a } y', whole: '${ .n.a }', of: $nobody}}
"""


def test_loose_mode_evaluates_any_value_and_keeps_the_text_of_what_fails() -> None:
    """As the standard says: what cannot be read or evaluated is the text itself."""
    done = play(LOOSE, {"n": 1})

    assert done.output == {
        "bare": 1,
        "plain": "Hello world",
        "path": ".n.deeper",
        "part": "x ${ .n.a } y",
        "whole": "${ .n.a }",
        "of": "$nobody",
    }


def test_loose_mode_keeps_the_text_in_input_and_output_too() -> None:
    """`from` and `as` are data; conditions are not: one that fails is a fault."""
    shaped = (
        "evaluate: {mode: loose}\ndo: [{a: {input: {from: no such}, set: {got: .}, output: {as: .got.x}}}]"
    )
    condition = "evaluate: {mode: loose}\ndo: [{a: {if: '.n.a', set: {x: 1}}}]"

    assert play(shaped, {}).output == ".got.x"
    assert play(condition, {"n": 1}).fault.type.endswith("/expression")


def test_input_that_looks_like_an_expression_is_never_evaluated() -> None:
    """Only the document's own text is code."""
    done = play("do: [{a: {set: '${ . }'}}, {b: {set: {copy: '${ . }'}}}]", {"x": "${ .secret }"})

    assert done.output == {"copy": {"x": "${ .secret }"}}


def test_a_template_may_shape_input_and_output() -> None:
    """`from` and `as` may be objects with expressions inside."""
    done = play(
        """
        input: {from: {first: '${ .a }', fixed: 1}}
        do: [{a: {set: '${ . }'}}]
        output: {as: {got: '${ . }'}}
    """,
        {"a": 5},
    )

    assert done.output == {"got": {"first": 5, "fixed": 1}}
