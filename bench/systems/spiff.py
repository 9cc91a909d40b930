"""SpiffWorkflow, which interprets BPMN in memory. `bench.measuring` says what is measured; run in the environment of `bench.environments`.

    python -m bench.systems.spiff --work in-flight --size 500 --mode memory --folder DIR [--seconds 60]

**Not durable**: nothing is written; an application that wants to keep a workflow serializes the whole of it by itself. So this is
only what an interpreter takes that keeps its promises to nobody. A step is a script task, whose script calls a function that the
application gives it, as its documentation shows. Workflows are run with `run_all`, which goes on from the branch where it was and
takes less than looking through the whole tree as `do_engine_steps` does, but for a fan-out. Many at once are one after the other in one thread: there is no
waiting that could be shared. Timers fire when the application looks for them, here four times a second.
"""

from __future__ import annotations

import itertools
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Final

from lxml import etree
from SpiffWorkflow.bpmn import BpmnEvent, BpmnWorkflow
from SpiffWorkflow.bpmn.parser import BpmnParser
from SpiffWorkflow.bpmn.script_engine import PythonScriptEngine, TaskDataEnvironment
from SpiffWorkflow.bpmn.specs.event_definitions import SignalEventDefinition

from bench.fitting import (
    IDLE_SECONDS,
    WARM_WAITING,
    Growth,
    NotApplicable,
    batch,
    ends,
    fill,
    fill_wide,
    import_ms,
    installed_mb,
    one_by_one,
    play,
    shortened,
    warm_up,
)
from bench.measuring import PAYLOAD_RUNS, STEPS, WARM_STEPS, WARM_UP, Answer, lags, options, timed

FAR: Final = "P1D"
SOON_SECONDS: Final = 2.0
WOKEN: Final = 200
LOOK_SECONDS: Final = 0.25
LOOPS: Final = 200

HEADER: Final = (
    '<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" '
    'xmlns:bpmn="http://www.omg.org/spec/BPMN/20100524/MODEL" id="all" targetNamespace="bench">'
)
times: list[float] = []


def noting(number: int) -> int:
    """Note when a step runs."""
    times.append(time.perf_counter())
    return number + 1


GIVEN: Final[Mapping[str, Callable[..., Any]]] = {
    "plus_one": lambda number: number + 1,
    "echo": lambda text: text,
    "noting": noting,
    "now": time.time,
}


def process(name: str, *nodes: str) -> str:
    """Return a process of nodes one after the other; `{id}` and `{flows}` stand in each for its own."""
    body, last = (
        '<startEvent id="start"><outgoing>f0</outgoing></startEvent>',
        len(nodes),
    )
    for number, node in enumerate(nodes):
        flows = f"<incoming>f{number}</incoming><outgoing>f{number + 1}</outgoing>"
        body += node.format(id=f"n{number}", flows=flows)
    body += f'<endEvent id="end"><incoming>f{last}</incoming></endEvent>'
    places = ["start", *(f"n{number}" for number in range(last)), "end"]
    for number, (source, target) in enumerate(itertools.pairwise(places)):
        body += f'<sequenceFlow id="f{number}" sourceRef="{source}" targetRef="{target}"/>'
    return f'<process id="{name}" isExecutable="true">{body}</process>'


def script(text: str, more: str = "") -> str:
    """Return a script task."""
    return f'<scriptTask id="{{id}}">{{flows}}{more}<script>{text}</script></scriptTask>'


def timer(duration: str) -> str:
    """Return an event that waits for a time; the expression says how long."""
    inside = f"<timerEventDefinition><timeDuration>{duration}</timeDuration></timerEventDefinition>"
    return f'<intermediateCatchEvent id="{{id}}">{{flows}}{inside}</intermediateCatchEvent>'


SIDE_BY_SIDE: Final = (
    '<multiInstanceLoopCharacteristics isSequential="false"><loopCardinality>count</loopCardinality>'
    "</multiInstanceLoopCharacteristics>"
)
LOOP: Final = """<process id="long" isExecutable="true">
<startEvent id="start"><outgoing>first</outgoing></startEvent>
<scriptTask id="work"><incoming>first</incoming><incoming>again</incoming><outgoing>done</outgoing>
<script>number = noting(number)</script></scriptTask>
<exclusiveGateway id="more" default="last"><incoming>done</incoming><outgoing>again</outgoing><outgoing>last</outgoing></exclusiveGateway>
<endEvent id="end"><incoming>last</incoming></endEvent>
<sequenceFlow id="first" sourceRef="start" targetRef="work"/><sequenceFlow id="done" sourceRef="work" targetRef="more"/>
<sequenceFlow id="again" sourceRef="more" targetRef="work">
<conditionExpression>number &lt; count</conditionExpression></sequenceFlow>
<sequenceFlow id="last" sourceRef="more" targetRef="end"/>
</process>"""
HEAR: Final = '<intermediateCatchEvent id="{id}">{flows}<signalEventDefinition signalRef="go"/></intermediateCatchEvent>'
PROCESSES: Final = (
    process("ten", *[script("number = plus_one(number)")] * STEPS),
    process("texts", *[script("text = echo(text)")] * STEPS),
    process("many", script("plus_one(1)", SIDE_BY_SIDE)),
    LOOP,
    process("far", timer(f"'{FAR}'")),
    process("soon", timer(f"'PT{SOON_SECONDS:.0f}S'")),
    process("hear", HEAR, script("number = plus_one(1)")),
)


class Spiff:
    """The parsed processes, and how they are run."""

    def __init__(self) -> None:
        self._parser = BpmnParser()
        text = HEADER + '<signal id="go" name="go"/>' + "".join(PROCESSES) + "</definitions>"
        self._parser.add_bpmn_xml(etree.fromstring(text))
        self._specs = {name: self._parser.get_spec(name) for name in self._parser.get_process_ids()}
        self._engine = PythonScriptEngine(environment=TaskDataEnvironment(dict(GIVEN)))

    def start(self, name: str, **data: Any) -> BpmnWorkflow:
        """Make a workflow and run it as far as it goes."""
        workflow = self._made(name, data)
        workflow.run_all()
        return workflow

    def run(self, name: str, **data: Any) -> Any:
        """Run a workflow to its end; answer its data."""
        workflow = self.start(name, **data)
        assert workflow.is_completed()
        return workflow.last_task.data

    def run_wide(self, name: str, **data: Any) -> None:
        """Run a workflow with many branches, for which looking through the tree takes less."""
        workflow = self._made(name, data)
        workflow.do_engine_steps()
        assert workflow.is_completed()

    def _made(self, name: str, data: dict[str, Any]) -> BpmnWorkflow:
        workflow = BpmnWorkflow(self._specs[name], script_engine=self._engine)
        workflow.task_tree.data.update(data)
        return workflow

    def together(self, runs: int) -> None:
        """Run so many workflows."""
        for number in range(runs):
            assert self.run("ten", number=number)["number"] == number + STEPS


def latency(given: Namespace, answer: Answer) -> None:
    """One workflow at a time."""
    spiff = Spiff()
    one_by_one(lambda _: spiff.together(1), answer, given.size, given)


def in_flight(given: Namespace, answer: Answer) -> None:
    """So many workflows."""
    fill(answer, batch(Spiff().together, given.size, given.seconds), given.size)


def payload(given: Namespace, answer: Answer) -> None:
    """Workflows whose steps carry a text."""
    spiff, text = Spiff(), "x" * given.size

    def together(runs: int) -> None:
        for _ in range(runs):
            assert spiff.run("texts", text=text)["text"] == text

    fill(answer, batch(together, PAYLOAD_RUNS, given.seconds), PAYLOAD_RUNS)


def fan_out(given: Namespace, answer: Answer) -> None:
    """One workflow with a step for each item: a task of many instances."""
    spiff = Spiff()
    wide = batch(lambda count: spiff.run("many", count=count), given.size, given.seconds)
    fill_wide(answer, wide, given.size)


def long_run(given: Namespace, answer: Answer) -> None:
    """One workflow of as many steps as the time allows: a loop by a gateway."""
    spiff = Spiff()
    steps = LOOPS

    def once(count: int) -> None:
        times.clear()
        assert spiff.run("long", number=0, count=count)["number"] == count

    warm_up(once, WARM_STEPS, given.seconds)
    while True:
        with timed() as clock:
            once(steps)
        if steps == given.size or clock.seconds * 9 > given.seconds:
            break
        steps = min(given.size, steps * 3)
    answer.figures, answer.window = ends(times), clock.window
    shortened(answer, given.size, steps)


def waiting(given: Namespace, answer: Answer) -> None:
    """Workflows that wait for a time far away; some more, for a time soon."""
    spiff = Spiff()
    warm_up(spiff.together, WARM_WAITING, given.seconds)
    growth = Growth(given.folder)
    left: list[BpmnWorkflow] = []
    with timed() as clock:
        end = time.perf_counter() + given.seconds
        while len(left) < given.size and time.perf_counter() < end:
            left.append(spiff.start("far"))
    answer.figures = growth.figures(len(left))
    answer.figures["idle_cpu_percent"] = looking(left)
    answer.window = clock.window
    soon = [(time.time() + SOON_SECONDS, spiff.start("soon")) for _ in range(WOKEN)]
    late: list[float] = []
    while soon:
        for workflow in [*left, *(workflow for _, workflow in soon)]:
            workflow.refresh_timers()
            workflow.run_all()
        late += [time.time() - due for due, workflow in soon if workflow.is_completed()]
        soon = [(due, workflow) for due, workflow in soon if not workflow.is_completed()]
        time.sleep(LOOK_SECONDS)
    answer.figures |= lags(late)
    shortened(answer, given.size, len(left))


def looking(workflows: list[BpmnWorkflow]) -> float:
    """Return how busy looking for timers that are due keeps the processor, in percent."""
    began, before = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < IDLE_SECONDS:
        for workflow in workflows:
            workflow.refresh_timers()
        time.sleep(LOOK_SECONDS)
    return (time.process_time() - before) / (time.perf_counter() - began) * 100


def signals(given: Namespace, answer: Answer) -> None:
    """Workflows that wait for a signal, each is then given one."""
    spiff = Spiff()
    event = BpmnEvent(SignalEventDefinition("go"))

    def waiting_ones(count: int) -> list[BpmnWorkflow]:
        left: list[BpmnWorkflow] = []
        end = time.perf_counter() + given.seconds
        while len(left) < count and time.perf_counter() < end:
            left.append(spiff.start("hear"))
        return left

    def send(left: list[BpmnWorkflow]) -> None:
        for workflow in left:
            workflow.send_event(event)
            workflow.run_all()
            assert workflow.is_completed()

    warm_up(lambda count: send(waiting_ones(count)), given.size // WARM_UP, given.seconds)
    left = waiting_ones(given.size)
    with timed() as clock:
        send(left)
    answer.window = clock.window
    answer.figures = {
        "signals_per_second": len(left) / clock.seconds,
        "seconds": clock.seconds,
    }
    shortened(answer, given.size, len(left))


def restart(given: Namespace, answer: Answer) -> None:
    """Nothing outlives the process."""
    raise NotApplicable("in memory: nothing is left of a process that was killed")


def footprint(given: Namespace, answer: Answer) -> None:
    """Nothing yet; then one workflow."""
    began = time.perf_counter()
    spiff = Spiff()
    started = time.perf_counter()
    with timed() as clock:
        spiff.together(1)
    answer.window = clock.window
    answer.figures = {
        "import_ms": import_ms("import SpiffWorkflow.bpmn.parser, SpiffWorkflow.bpmn.script_engine"),
        "start_ms": (started - began) * 1e3,
        "first_result_ms": (started - began + clock.seconds) * 1e3,
        "installed_mb": installed_mb(),
    }


WORKS: Final = {
    "latency": latency,
    "in-flight": in_flight,
    "fan-out": fan_out,
    "waiting": waiting,
    "long-run": long_run,
    "restart": restart,
    "signals": signals,
    "payload": payload,
    "footprint": footprint,
}

if __name__ == "__main__":
    play(
        "spiff",
        f"SpiffWorkflow {version('SpiffWorkflow')}",
        WORKS,
        options(__doc__, ("memory",), tuple(WORKS)),
    )
