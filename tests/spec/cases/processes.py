"""The examples that run containers, scripts, shell commands and other workflows."""

from __future__ import annotations

from typing import Any, Final

from tests.spec.cases.case import Case, Text, fault
from tests.spec.cases.programs import DOCKER

HELLO: Final = "Hello from Docker!\n"
WARNING: Final = "Unable to find image 'hello-world:latest' locally\n"
NAME: Final = Text("--name=tenuto-[A-Za-z0-9_.-]+")

# Where there is no engine, this is what every one of these examples must say.
NO_ENGINE: Final = Case(
    programs={},
    status="faulted",
    fault=fault(
        "configuration",
        400,
        "Configuration Error",
        "`run: container` needs a container engine: neither docker nor podman answers "
        "(`docker` is not on PATH; `podman` is not on PATH); start one, or install one",
        Text("/do/./runContainer"),
    ),
)


def engine(*, code: int = 0) -> dict[str, str]:
    """An engine whose containers say hello and end with an exit code."""
    return {"docker": DOCKER.replace("CODE", str(code))}


def run(
    *options: Any, name: Any = NAME, pull: str = "missing", words: tuple[Any, ...] = ("hello-world",)
) -> Any:
    """What the engine is told."""
    return ["run", "--cidfile=FILE", name, f"--pull={pull}", *options, *words]


def container(output: Any, *told: Any, **more: Any) -> dict[str, Case]:
    """With an engine, and without."""
    code = more.pop("code", 0)
    return {
        "engine": Case(programs=engine(code=code), output=output, told=told or [run()], **more),
        "no engine": NO_ENGINE,
    }


CONTAINERS: Final[dict[str, dict[str, Case]]] = {
    "run-container": {
        **container(HELLO),
        "failing": Case(
            programs=engine(code=3),
            status="faulted",
            fault=fault(
                "runtime",
                500,
                "Process Failed",
                f"the container of `hello-world` ended with exit code 3: {WARNING.strip()}",
                "/do/0/runContainer",
            ),
        ),
    },
    "run-container-cleanup-always": container(HELLO, run("--rm")),
    "run-container-cleanup-eventually": container(HELLO, run("--label=tenuto.keep-seconds=1800")),
    "run-container-stdin-and-arguments": container(
        "STDIN was: Hello World\nARGS are Foo Bar\n",
        run(
            "--interactive",
            "--entrypoint=/bin/sh",
            words=("alpine", "-c", Text("input=.*"), "sh", "Foo", "Bar"),
        ),
    ),
    # The example asks for members of the input, which has none of them.
    "run-container-with-name": container(HELLO, run(name="--name=hello-null-null-null")),
    "run-container-with-pull-policy": container(HELLO, run(pull="always")),
    "run-return-all": container({"code": 3, "stdout": HELLO, "stderr": WARNING}, code=3),
    "run-return-code": container(3, code=3),
    "run-return-none": container(None),
    "run-return-stderr": container(WARNING),
}

REGISTER: Final = """
document: {dsl: '1.0.3', namespace: test, name: register-customer, version: '%s'}
do:
- register: {set: {registered: "${ .customer }", by: '%s'}}
"""

PROCESSES: Final[dict[str, dict[str, Case]]] = {
    **CONTAINERS,
    "run-script-with-stdin-and-arguments": {
        "node": Case(needs="node", output="stdin >  Hello Workflow\narg >  hello\nenv >  bar\n"),
        "no node": Case(
            programs={},
            status="faulted",
            fault=fault(
                "configuration",
                400,
                "Configuration Error",
                Text(r"`script.language: js` needs `node` or `nodejs`, .*; install it"),
                "/do/0/runScript",
            ),
        ),
    },
    "run-shell-stdin-and-arguments": {
        "shell": Case(output="STDIN was: Hello World\nARGS are Foo Bar\n"),
    },
    # `.user` is no expression where nothing but expressions stand in `${ }`.
    "run-subflow": {
        "known": Case(
            input={"user": {"name": "Ada"}},
            known=[REGISTER % ("0.2.0", "another"), REGISTER % ("0.1.0", "this one")],
            output={"registered": ".user", "by": "this one"},
        ),
        "unknown": Case(
            status="faulted",
            fault=fault(
                "configuration",
                400,
                "Configuration Error",
                "there is no workflow test/register-customer:0.1.0; make it known with --with",
                "/do/0/registerCustomer",
            ),
        ),
    },
}
