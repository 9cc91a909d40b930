"""What calls and runs ask for: functions by name, arguments with nothing left to evaluate."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto.errors import Fault
from tests.language.playing import names, play


def asked(body: str, data: Any = None, use: str = "") -> dict[str, Any]:
    """Play one task and return the arguments of the only action that it asks for."""
    done = play(f"{use}\ndo: [{{t: {body}}}]", data, lambda command: {})
    (command,) = done.performed
    return {"function": command.function, **command.arguments}


def test_http_arguments_are_evaluated_and_templates_expanded() -> None:
    """A URI template takes top-level members of the input; expressions are plain values."""
    call = asked(
        "{call: http, with: {method: get, endpoint: 'https://x.test/{id}/{none}', query: {q: '${ .q }'}}}",
        {"id": 7, "q": "a"},
    )

    assert call == {
        "function": "http.request",
        "method": "get",
        "endpoint": "https://x.test/7/",
        "query": {"q": "a"},
    }


def test_the_result_of_an_expression_is_never_a_template() -> None:
    """Data with braces in it stays as it is."""
    call = asked("{call: http, with: {method: get, endpoint: '${ .url }'}}", {"url": "https://x.test/{id}"})

    assert call["endpoint"] == "https://x.test/{id}"


@pytest.mark.parametrize(
    ("body", "uris"),
    [
        ("{run: {script: {language: js, source: {endpoint: 'https://x.test/{t}'}}}}", ["https://x.test/a"]),
        (
            "{input: {schema: {resource: {endpoint: {uri: 'https://x.test/{t}'}}}}, set: {n: 1}}",
            [{"uri": "https://x.test/a"}],
        ),
        ("{call: 'f:1.0.0@c'}", [{"uri": "https://c.test/a/functions/f/1.0.0/function.yaml"}]),
        ("{call: 'f:1.0.0@e'}", ["https://c.test/{t}/functions/f/1.0.0/function.yaml"]),
    ],
)
def test_what_is_fetched_is_named_by_templates_and_expressions_too(body: str, uris: list[Any]) -> None:
    """Scripts, schemas and catalogs; what an expression gives is not a template."""
    done = play(
        "use: {catalogs: {c: {endpoint: {uri: 'https://c.test/{t}'}}, e: {endpoint: '${ .base }'}}}\n"
        f"do: [{{t: {body}}}]",
        {"t": "a", "base": "https://c.test/{t}"},
        lambda command: {"content": "set: {a: 1}"},
    )

    assert [c.arguments["endpoint"] for c in done.performed if c.function == "resource.read"] == uris


def test_the_uris_of_an_authority_are_templates() -> None:
    """`authority` and `endpoints` of OAuth2 and OpenID Connect, in place and reusable, by name alone too."""
    policy = "{oauth2: {authority: 'https://id.test/{t}', grant: client_credentials, endpoints: {token: '/{t}/x'}}}"
    call = (
        "{call: openapi, with: {document: {endpoint: 'https://x.test'}, operationId: o, authentication: %s}}"
    )
    use = f"use: {{authentications: {{named: {policy}}}}}"
    expected = {
        "authority": "https://id.test/a",
        "grant": "client_credentials",
        "endpoints": {"token": "/a/x"},
    }

    for authentication in (policy, "{use: named}", "named"):
        assert asked(call % authentication, {"t": "a"}, use)["authentication"] == {"oauth2": expected}


def test_a_subscription_resolves_its_endpoints_as_any_call() -> None:
    """Templates of its document and reusable policies."""
    done = play(
        """
        use: {authentications: {a: {bearer: {token: t}}}}
        do:
          - t:
              call: asyncapi
              with:
                document: {endpoint: {uri: 'https://x.test/{id}', authentication: {use: a}}}
                operation: o
                subscription: {consume: {amount: 1}}
        """,
        {"id": 7},
        lambda c: [{"payload": 1}],
    )

    assert done.performed[0].arguments["document"]["endpoint"] == {
        "uri": "https://x.test/7",
        "authentication": {"bearer": {"token": "t"}},
    }


AUTH = "use: {authentications: {a: {bearer: {token: t}}, e: {bearer: {token: '${ .u }'}}, s: {basic: {use: vault}}}}"


@pytest.mark.parametrize(
    ("authentication", "expected"),
    [
        ("{basic: {username: '${ .u }', password: p}}", {"basic": {"username": "me", "password": "p"}}),
        ("{use: a}", {"bearer": {"token": "t"}}),
        ("{use: e}", {"bearer": {"token": "me"}}),
        ("{use: s}", {"basic": "\x01nonce:vault\x01"}),
        ("{oauth2: {use: vault}}", {"oauth2": "\x01nonce:vault\x01"}),
    ],
)
def test_authentications_are_resolved_but_secrets_stay_references(
    authentication: str, expected: object
) -> None:
    """`use` names a policy of the document, or inside a scheme a secret."""
    endpoint = f"{{uri: 'https://x.test', authentication: {authentication}}}"
    call = asked(f"{{call: http, with: {{method: get, endpoint: {endpoint}}}}}", {"u": "me"}, AUTH)

    assert call["endpoint"]["authentication"] == expected


@pytest.mark.parametrize("policy", [{"use": "a"}, {"basic": {"use": "vault"}}])
@pytest.mark.parametrize(
    "endpoint", ["'${ .e }'", "{uri: 'https://x.test', authentication: '${ .e.authentication }'}"]
)
def test_data_cannot_name_a_policy_or_a_secret(policy: Any, endpoint: str) -> None:
    """Whoever gives the input of a run would else have its secrets sent where they like."""
    done = play(
        f"{AUTH}\ndo: [{{t: {{call: http, with: {{method: get, endpoint: {endpoint}}}}}}}]",
        {"e": {"uri": "https://evil.test", "authentication": policy}},
    )

    assert done.fault.type.endswith("/configuration")
    assert done.performed == []


@pytest.mark.parametrize(
    ("task", "function"),
    [
        ("{call: openapi, with: {document: {endpoint: 'https://x.test'}, operationId: o}}", "openapi.call"),
        (
            "{call: grpc, with: {proto: {endpoint: 'file://a'}, service: {name: s, host: h}, method: m}}",
            "grpc.call",
        ),
        (
            "{call: asyncapi, with: {document: {endpoint: 'https://x.test'}, operation: o, message: {}}}",
            "asyncapi.publish",
        ),
        ("{call: a2a, with: {method: message/send, server: {endpoint: 'https://x.test'}}}", "a2a.call"),
        ("{call: mcp, with: {method: tools/list, transport: {stdio: {command: x}}}}", "mcp.call"),
        ("{call: 'ldap.add_entry:1.0.0@default', with: {dn: x}}", "ldap.add_entry:1.0.0"),
        ("{run: {shell: {command: 'true'}}}", "process.shell"),
        ("{run: {script: {language: python, code: pass}}}", "process.script"),
        ("{run: {container: {image: alpine}}}", "process.container"),
    ],
)
def test_each_call_is_a_function_of_the_catalog(task: str, function: str) -> None:
    """The standard's calls are functions like any connector's."""
    assert asked(task)["function"] == function


def test_a_process_is_told_what_to_return() -> None:
    """`return` is the function's `output`, by default what the process prints."""
    assert asked("{run: {shell: {command: 'x'}, return: all}}")["output"] == "all"
    assert asked("{run: {shell: {command: 'x'}}}")["output"] == "stdout"


def test_a_process_that_is_not_awaited_gives_the_input() -> None:
    """Nothing waits for it, not even the end of the run."""
    done = play("do: [{t: {run: {shell: {command: x}, await: false}}}]", {"n": 1})

    assert done.output == {"n": 1}


def test_a_scripts_source_is_fetched_first() -> None:
    """An external script is read, then run as code."""
    done = play(
        "do: [{t: {run: {script: {language: js, source: {endpoint: 'https://x.test/a.js'}}}}}]",
        None,
        lambda c: {"content": "1+1"} if c.function == "resource.read" else "two",
    )

    assert done.output == "two"
    assert done.performed[1].arguments["code"] == "1+1"


@pytest.mark.parametrize(
    "body",
    [
        "do: [{t: {run: {script: {language: js, source: {endpoint: %s}}}}}]",
        "do: [{t: {input: {schema: {resource: {endpoint: %s}}}, set: {n: 1}}}]",
        "input: {schema: {resource: {endpoint: %s}}}\ndo: [{t: {set: {n: 1}}}]",
        "use: {catalogs: {c: {endpoint: %s}}}\ndo: [{t: {call: 'f:1.0.0@c'}}]",
    ],
)
def test_endpoints_of_what_is_fetched_are_evaluated(body: str) -> None:
    """Scripts, schemas and functions are fetched with the credential that an expression gives."""
    endpoint = "{uri: 'https://x.test/a', authentication: {bearer: {token: '${ .token }'}}}"
    done = play(body % endpoint, {"token": "t"}, lambda command: {"content": {}})

    assert done.performed[0].arguments["endpoint"]["authentication"] == {"bearer": {"token": "t"}}


def test_a_workflow_is_started_with_its_input() -> None:
    """The input's expressions are evaluated; without one the task's input is handed on."""
    body = "do: [{t: {run: {workflow: {namespace: n, name: w, version: '1.0.0'%s}}}}]"
    given = play(body % ", input: {c: '${ .user }'}", {"user": "ada"}, lambda c: "done")
    plain = play(body % "", {"user": "ada"}, lambda c: "done")

    assert given.performed[0].input == {"c": "ada"}
    assert plain.performed[0].input == {"user": "ada"}
    assert given.output == "done"


FUNCTIONS = """
    use:
      functions:
        double:
          input: {schema: {document: {type: object, required: [n]}}}
          set: {n: '${ .n * 2 }'}
        remote: {call: http, with: {method: get, endpoint: 'https://x.test/{id}'}}
        outer: {do: [{a: {call: double, with: {n: '${ .n + 1 }'}}}]}
"""


@pytest.mark.parametrize(
    ("call", "output"),
    [("double, with: {n: 4}", {"n": 8}), ("double", {"n": 2}), ("outer, with: {n: 4}", {"n": 10})],
)
def test_reusable_functions_run_on_their_arguments(call: str, output: object) -> None:
    """`with` is the function's input; without it the task's input is."""
    assert play(FUNCTIONS + f"\n    do: [{{t: {{call: {call}}}}}]\n", {"n": 1}).output == output


def test_a_functions_schema_is_checked() -> None:
    """A wrong argument is a validation fault at the call."""
    fault = play(FUNCTIONS + "\n    do: [{t: {call: double, with: {m: 4}}}]\n").fault

    assert (fault.type.rsplit("/", 1)[-1], fault.instance) == ("validation", "/do/0/t")


def test_a_function_may_call_services() -> None:
    """Its templates see its own input."""
    done = play(FUNCTIONS + "\n    do: [{t: {call: remote, with: {id: 9}}}]\n", None, lambda c: {"ok": 1})

    assert done.performed[0].arguments["endpoint"] == "https://x.test/9"
    assert done.output == {"ok": 1}


FETCHED = "set: {said: '${ .message }'}\n"


@pytest.mark.parametrize(
    ("call", "uri"),
    [
        ("https://x.test/log/function.yaml", "https://x.test/log/function.yaml"),
        ("https://x.test/functions/log@v1.0.0", "https://x.test/functions/log/v1.0.0/function.yaml"),
        ("log:1.0.0@mine", "https://c.test/cat/functions/log/1.0.0/function.yaml"),
        ("log:1.0.0@default", "functions/log/1.0.0/function.yaml"),
    ],
)
def test_functions_elsewhere_are_fetched_checked_and_run(call: str, uri: str) -> None:
    """By URL or from a catalog of the document; the text becomes part of the history."""
    done = play(
        f"use: {{catalogs: {{mine: {{endpoint: 'https://c.test/cat'}}}}}}\n"
        f"do: [{{t: {{call: '{call}', with: {{message: hi}}}}}}, {{u: {{call: '{call}', with: {{message: ho}}}}}}]",
        None,
        lambda c: {"content": FETCHED},
    )

    assert done.performed[0].arguments["endpoint"] == uri
    assert done.output == {"said": "ho"}


def test_a_fetched_function_that_is_not_valid_is_a_clear_fault() -> None:
    """It names the function and the first mistake."""
    fault = play(
        "do: [{t: {call: 'https://x.test/f.yaml'}}]", None, lambda c: {"content": "sett: {a: 1}"}
    ).fault

    assert fault.type.endswith("/configuration")
    assert fault.detail is not None
    assert "https://x.test/f.yaml" in fault.detail


def test_a_subscription_polls_filters_and_ends() -> None:
    """Messages come in polls; an empty one is followed by a pause."""
    polls = iter([[], [{"payload": 1}, {"payload": 5}], [{"payload": 7}, {"payload": 8}]])
    done = play(
        """
        do:
          - t:
              call: asyncapi
              with:
                document: {endpoint: 'https://x.test/a.json'}
                operation: o
                subscription:
                  filter: '${ .payload > 2 }'
                  consume: {amount: 2}
                  foreach:
                    item: m
                    do: [{s: {set: {n: '${ $m.payload }'}}}]
                    output: {as: .n}
    """,
        None,
        lambda c: next(polls),
    )

    assert done.output == [5, 7]
    assert names(done.performed) == ["asyncapi.receive"] * 3
    assert done.waits == [1.0]


def test_until_sees_what_was_exported_of_its_message() -> None:
    """As the standard's example counts `$context.messages`: it is asked after the message was handled."""
    done = play(
        """
        do:
          - t:
              call: asyncapi
              with:
                document: {endpoint: 'https://x.test/a.json'}
                operation: o
                subscription:
                  consume: {until: '${ ($context.messages | length) == 2 }'}
                  foreach: {export: {as: '{messages: (($context.messages // []) + [.])}'}}
    """,
        None,
        lambda c: [{"payload": 1}, {"payload": 2}, {"payload": 3}],
    )

    assert done.output == [{"payload": 1}, {"payload": 2}]


def test_a_subscription_ends_with_its_time() -> None:
    """`consume.for` bounds the wait."""
    done = play(
        """
        do:
          - t:
              call: asyncapi
              with:
                document: {endpoint: 'https://x.test/a.json'}
                channel: /c
                subscription: {consume: {for: PT2S, until: 'false'}}
    """,
        None,
        lambda c: [],
    )

    assert done.output == []


EXTENSIONS = """
    use:
      extensions:
        - mock:
            extend: call
            when: '$task.with.endpoint | startswith("https://mocked")'
            before: [{stub: {set: {mocked: true}, then: exit}}]
        - log:
            extend: all
            before: [{say: {call: 'core.log:1.0.0@default', with: {message: '${ "before \\($task.name)" }'}}}]
            after: [{say: {call: 'core.log:1.0.0@default', with: {message: '${ . }'}}}]
    do:
      - real: {call: http, with: {method: get, endpoint: 'https://real.test'}, then: %s}
      - last: {set: {out: '${ . }'}}
"""


def test_extensions_run_before_and_after_without_touching_the_data() -> None:
    """Their outputs are dropped; extension tasks are not extended themselves."""
    done = play(
        EXTENSIONS % "continue", None, lambda c: {"real": 1} if c.function == "http.request" else None
    )

    assert done.output == {"out": {"real": 1}}
    assert names(done.performed) == ["core.log:1.0.0", "http.request"] + ["core.log:1.0.0"] * 3
    assert done.performed[2].arguments["message"] == {"real": 1}


def test_in_an_extension_task_is_the_extended_one() -> None:
    """The standard's logging example tells which task is executed, however deep the log call stands."""
    done = play("""
        use:
          extensions:
            - log:
                extend: set
                before: [{say: {call: 'core.log:1.0.0@default', with: {message: '${ $task.reference }'}}}]
                after: [{d: {do: [{say: {call: 'core.log:1.0.0@default', with: {message: '${ $task.name }'}}}]}}]
        do: [{sample: {set: {x: 1}}}]
    """)

    assert [c.arguments["message"] for c in done.performed] == ["/do/0/sample", "sample"]


def test_exit_in_before_replaces_the_task() -> None:
    """The extended task never runs; what the list gave is its output."""
    done = play((EXTENSIONS % "end").replace("https://real", "https://mocked"), None, lambda c: None)

    assert done.output == {"mocked": True}
    assert "http.request" not in names(done.performed)


def test_a_fault_in_an_extension_is_the_tasks() -> None:
    """It climbs from the extended task."""
    done = play(EXTENSIONS % "end", None, lambda c: Fault("https://x.test", 500))

    assert done.fault.instance == "/do/0/real/use/extensions/1/log/before/0/say"
    assert done.order("faulted")[-1] == "real"


def test_an_unknown_function_is_a_configuration_fault() -> None:
    """It says where functions are looked for."""
    fault = play("do: [{t: {call: nothing}}]").fault

    assert fault.type.endswith("/configuration")
