"""The standard's conformance kit, run from its own feature files through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml
from gherkin.parser import Parser

from tests.servers.authority import Authority
from tests.spec.hosts import PETSTORE, Hosts, serving

KIT = Path(__file__).parents[3] / "shared" / "ows" / "ctk" / "features"
SCENARIOS = 21


@dataclass(frozen=True)
class Step:
    """One line of a scenario, with the text below it."""

    text: str
    block: str | None


def scenarios() -> Iterator[Any]:
    """Every scenario of the kit, by feature and name."""
    for file in sorted(KIT.glob("*.feature")):
        for child in Parser().parse(file.read_text())["feature"]["children"]:
            steps = [
                Step(step["text"], step.get("docString", {}).get("content"))
                for step in child["scenario"]["steps"]
            ]
            yield pytest.param(steps, id=f"{file.stem}: {child['scenario']['name']}")


@dataclass
class Outcome:
    """How a run ended."""

    code: int
    output: Any
    error: Any
    run: dict[str, Any]


class Play:
    """Carries out the steps of one scenario."""

    def __init__(self, hosts: Hosts, folder: Path) -> None:
        self.hosts = hosts
        self.folder = folder
        self.input: str | None = None
        self.outcome: Outcome

    def do(self, step: Step) -> None:
        """Carry out a step; fails the test where it does not hold."""
        words = step.text.split("'")
        match step.text:
            case "a workflow with definition:":
                (self.folder / "flow.yaml").write_text(step.block or "")
            case "given the workflow input is:":
                self.input = json.dumps(yaml.safe_load(step.block or ""))
            case "the workflow is executed":
                self.outcome = self.execute()
            case "the workflow should complete":
                assert self.outcome.code == 0, self.outcome
            case "the workflow should fault":
                assert self.outcome.code == 1, self.outcome
            case "the workflow should complete with output:":
                assert (self.outcome.code, self.outcome.output) == (0, yaml.safe_load(step.block or ""))
            case "the workflow should fault with error:":
                assert (self.outcome.code, self.outcome.error) == (1, yaml.safe_load(step.block or ""))
            case text if text.startswith("the workflow output should have properties"):
                for path in words[1::2]:
                    assert found(self.outcome.output, path) is not None
            case text if text.endswith("property with value:"):
                assert found(self.outcome.output, words[1]) == yaml.safe_load(step.block or "")
            case text if text.endswith("items") and "property containing" in text:
                assert len(found(self.outcome.output, words[1])) == int(text.split()[-2])
            case text if " should run " in text:
                self.order(text)
            case text:
                raise AssertionError(f"the kit has a step that this runner does not know: {text}")

    def order(self, text: str) -> None:
        """Check `X should run first|last` and `X should run after Y`."""
        names = [task["name"] for task in self.outcome.run["tasks"]]
        task, _, where = text.partition(" should run ")
        if where in ("first", "last"):
            assert names[0 if where == "first" else -1] == task
        else:
            assert names.index(task) > names.index(where.removeprefix("after "))

    def execute(self) -> Outcome:
        """Run the document with the real command, then read how it went."""
        given = ["--input", self.input] if self.input is not None else []
        ran = self.command("run", "flow.yaml", "--output", "json", *given)
        run = json.loads(self.command("runs", "--output", "json").stdout)[0]["id"]
        shown = json.loads(self.command("show", run, "--output", "json").stdout)
        output = json.loads(ran.stdout) if ran.stdout.strip() else None
        error = json.loads(ran.stderr.strip().splitlines()[-1]) if ran.returncode == 1 else None
        return Outcome(ran.returncode, output, error, shown)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `tenuto` in the scenario's folder; every named host leads to the stub."""
        environment = {
            "PATH": os.environ["PATH"],
            "TENUTO_RESOLVE": ",".join(self.hosts.resolve),
            "SSL_CERT_FILE": str(self.hosts.trust_file),
        }
        return subprocess.run(
            [sys.executable, "-m", "tenuto", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def found(value: Any, path: str) -> Any:
    """Return the member at a dotted path; fails the test if it is not there."""
    return reduce(lambda inner, name: inner[name], path.split("."), value)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """The hosts that the kit names."""
    folder = tmp_path_factory.mktemp("hosts")
    with serving(PETSTORE, Authority(folder), folder) as made:
        yield made


def test_the_whole_kit_is_here(standard: Path) -> None:
    """A scenario that is not found would pass unseen."""
    assert len(list(scenarios())) == SCENARIOS


@pytest.mark.slow
@pytest.mark.parametrize("steps", list(scenarios()))
def test_scenario(steps: list[Step], hosts: Hosts, tmp_path: Path) -> None:
    """Every step of the scenario holds."""
    play = Play(hosts, tmp_path)

    for step in steps:
        play.do(step)


@pytest.mark.slow
def test_the_runner_can_fail(hosts: Hosts, tmp_path: Path) -> None:
    """A wrong expectation is noticed."""
    document = "document: {dsl: '1.0.3', namespace: a, name: b, version: '1.0.0'}\ndo: [{a: {set: {n: 1}}}]"
    play = Play(hosts, tmp_path)
    play.do(Step("a workflow with definition:", document))
    play.do(Step("the workflow is executed", None))

    play.do(Step("the workflow should complete with output:", "n: 1"))
    with pytest.raises(AssertionError):
        play.do(Step("the workflow should complete with output:", "n: 2"))
    with pytest.raises(AssertionError):
        play.do(Step("the workflow should fault", None))
