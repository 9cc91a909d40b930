"""The second lane: jq in children that are killed at their limits and can reach nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jq
import pytest

from tenuto.language.expressions import ExpressionFailed
from tenuto.runtime import evaluation
from tenuto.runtime.evaluation import Evaluator


@contextlib.asynccontextmanager
async def evaluating(**options: Any) -> AsyncIterator[Evaluator]:
    """An evaluator that is closed at the end."""
    evaluator = Evaluator(**options)
    try:
        yield evaluator
    finally:
        await evaluator.close()


async def failure(evaluator: Evaluator, text: str, value: Any = None) -> ExpressionFailed:
    """Evaluate what must fail."""
    with pytest.raises(ExpressionFailed) as caught:
        await evaluator.evaluate(text, value, {}, 0)
    return caught.value


def processes(evaluator: Evaluator) -> list[int]:
    """The process ids of the evaluator's children."""
    return [child.process.pid for child in evaluator._children]


def runs(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("text", "value", "result"),
    [
        ('test("^a")', "abc", True),
        ('gsub("(?<x>[a-z])"; "<\\(.x)>")', "ab1", "<a><b>1"),
        ("[limit(3; repeat(1))]", None, [1, 1, 1]),
        ("def fac: if . <= 1 then 1 else . * (. - 1 | fac) end; fac", 10, 3628800),
        (
            "fromjson",
            '{"a": [1, 1e400, 12345678901234567890]}',
            {"a": [1, 1.7976931348623157e308, 12345678901234567890]},
        ),
        ('1, error("never")', None, 1),
        ('label $out | 1, break $out, error("never")', None, 1),
        ("now", None, 1700000000.25),
        ("now | todate | fromdate", None, 1700000000),
        ("$context.a + 1", None, 42),
        ("0 | localtime | mktime", None, 0),
        ('0 | strflocaltime("%H %Z")', None, "00 GMT"),
        ('walk(if type == "number" then . + 1 else . end)', [1, {"a": 2}], [2, {"a": 3}]),
        ("nan", None, None),
    ],
)
async def test_jq_answers_from_a_child(text: str, value: Any, result: Any) -> None:
    """Regular expressions, recursion, streams, time: the first value comes back."""
    async with evaluating() as evaluator:
        assert result == await evaluator.evaluate(text, value, {"context": {"a": 41}}, 1700000000.25)


@pytest.mark.parametrize(
    ("text", "value", "message"),
    [
        (".a.b", {"a": 1}, 'Cannot index number with string ("b")'),
        ('error("no: \\(.)")', 5, "no: 5"),
        ("error({a: .})", 5, '{"a":5} (not a string)'),
        ("empty", None, "the expression gave no value"),
        ("$missing", None, "$missing is not defined here"),
        (".a |", None, "expected a value, found the end of the expression"),
        ("env", None, "env is not allowed here"),
        ('test("(")', "a", "Regex failure: end pattern with unmatched parenthesis"),
    ],
)
async def test_errors_are_told_as_jq_tells_them(text: str, value: Any, message: str) -> None:
    """Errors of the program, no value, mistakes in the text: all the same failure."""
    async with evaluating() as evaluator:
        assert message == (await failure(evaluator, text, value)).message


ENDLESS = [
    ("def f: f; f", None),
    ("reduce range(1e12) as $x (0; . + 1)", None),
    ("until(false; .)", None),
    ("last(repeat(1))", None),
    ("last(range(1e18))", None),
    ("def f(g): g | f(g | g); f(.)", None),
    ("[combinations(12)] | length", list(range(20))),
]
"""What takes time, and hardly any memory."""

HUGE = [
    ("def f: f | f; f", None),
    ("[limit(1e9; repeat(tostring * 100000))] | length", 1),
    ('. as [$a] ?// $a | "a" * 2e9', None),
    ('label $x | "a" * 1e8 | explode', None),
]
"""What takes memory, and takes it quickly."""

ATTACKS = [
    *ENDLESS,
    *HUGE,
    ("[range(1e9)]", None),
    ("[range(1e9)] | length", None),
    ("[recurse(.)]", None),
    ('label $x | [range(100)] | map("a" * 1000000)', None),
    ('test("^(([a-z])+.)+[A-Z]([a-z])+$")', "a" * 60),
    ('test("(x+x+)+y")', "x" * 60),
    ("walk([., .] | walk([., .]))", [[[[1]]]]),
]
"""All of them: which limit of two ends one is the machine's speed to say."""


def seconds_of_ended_children() -> float:
    """Return the processor time of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
async def test_every_attack_ends_at_a_limit_while_the_loop_goes_on() -> None:
    """Endless, huge or exponential programs are killed; the event loop never waits for them."""
    turns = 0

    async def turning() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.002)
            turns += 1

    async with evaluating(size=2) as evaluator, asyncio.TaskGroup() as group:
        await evaluator.warm()
        ticking = group.create_task(turning())
        for text, value in ATTACKS:
            # Processor time and turns, not the clock: other work on the machine takes nothing of them.
            used, turned = seconds_of_ended_children(), turns
            error = await failure(evaluator, text, value)
            assert error.limit in ("expression-time", "expression-memory"), (text, error.message)
            assert seconds_of_ended_children() - used < 1, text
            if (text, value) in ENDLESS:
                assert turns - turned > 5, text

        assert await evaluator.evaluate('test("a")', "a", {}, 0) is True
        ticking.cancel()


@pytest.mark.slow
async def test_what_takes_time_and_what_takes_memory_are_told_apart() -> None:
    """Given all the time, what is huge ends by its memory; given all the memory, what is endless by its time."""
    async with evaluating(time_limit_seconds=10) as evaluator:
        for text, value in HUGE:
            assert "expression-memory" == (await failure(evaluator, text, value)).limit, text
    async with evaluating(memory_limit_bytes=4 * 1024**3) as evaluator:
        for text, value in ENDLESS:
            assert "expression-time" == (await failure(evaluator, text, value)).limit, text


async def test_the_limit_is_named_with_its_value() -> None:
    """The message says which limit and how much it allows."""
    async with evaluating(time_limit_seconds=0.02) as evaluator:
        late = await failure(evaluator, "def f: f; f")
    async with evaluating(
        time_limit_seconds=10, memory_limit_bytes=16 * 1024 * 1024, result_limit_bytes=1024
    ) as evaluator:
        large = await failure(evaluator, '. as [$a] ?// $a | "a" * 1e9')
        wide = await failure(evaluator, "[limit(1000; repeat(1))]")

    assert (
        "the expression passed the limit expression-time: more than 20 ms of processor time" == late.message
    )
    assert "the expression passed the limit expression-memory: more than 16 MiB of memory" == large.message
    assert "expression-result" == wide.limit


async def test_a_deep_result_is_refused() -> None:
    """What nests deeper than anything else could take is stopped here; brackets in strings do not count."""
    async with evaluating(time_limit_seconds=1) as evaluator:
        deep = await failure(evaluator, "def f($n): if $n == 0 then . else [.] | f($n - 1) end; f(300)")
        flat = await evaluator.evaluate(
            "fromjson", '["' + "[" * 5000 + '", ' + ", ".join(["[{}]"] * 300) + "]", {}, 0
        )

        assert "expression-depth" == deep.limit
        assert 301 == len(flat)


async def test_nothing_of_the_parent_reaches_the_child(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No environment, no working folder, no open file; limits on files are set."""
    monkeypatch.setenv("TENUTO_SECRET_CANARY", "canary-7313")
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "open.txt").open("w"):
        async with evaluating() as evaluator:
            await evaluator.warm()
            [pid] = processes(evaluator)
            process = Path(f"/proc/{pid}")
            limits = (process / "limits").read_text()

            assert (process / "environ").read_bytes() == b""
            assert (process / "cwd").readlink() == Path("/")
            assert {0, 1, 2, 3} == {int(entry.name) for entry in (process / "fd").iterdir()}
            assert (process / "fd" / "3").readlink() == Path(f"/proc/{pid}/statm")
            assert b"canary" not in (process / "cmdline").read_bytes()
            assert ["4", "4"] == next(
                line.split()[3:5] for line in limits.splitlines() if "open files" in line
            )
            assert ["0", "0"] == next(
                line.split()[3:5] for line in limits.splitlines() if "file size" in line
            )


async def test_an_environment_would_leak_without_the_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: jq itself shows the environment and reads files; neither our parser nor a child lets it."""
    monkeypatch.setenv("TENUTO_SECRET_CANARY", "canary-7313")

    assert jq.first("env.TENUTO_SECRET_CANARY", None) == "canary-7313"
    assert jq.first("$ENV.TENUTO_SECRET_CANARY", None) == "canary-7313"
    async with evaluating() as evaluator:
        child = await evaluator._start()
        kind, content = await child.ask(b"[env, $ENV] | tojson | [.]", b"null", 5)

        assert (b"V", b"[{},{}]") == (kind, content)
        assert "env is not allowed here" == (await failure(evaluator, "env")).message


async def test_a_child_is_used_again() -> None:
    """Starting one costs tens of milliseconds, asking one a fraction of one."""
    async with evaluating() as evaluator:
        for _ in range(5):
            await evaluator.evaluate('test("a")', "a", {}, 0)
        before = processes(evaluator)
        await failure(evaluator, 'error("an error is no reason to start over")')
        await evaluator.evaluate('test("a")', "a", {}, 0)

        assert 1 == len(before)
        assert before == processes(evaluator)


async def test_the_pool_grows_on_demand_up_to_its_size() -> None:
    """Evaluations at the same time run side by side, never more children than allowed."""
    async with evaluating(size=2, time_limit_seconds=5) as evaluator:
        work = [evaluator.evaluate("reduce range(100000) as $x (0; . + $x)", None, {}, 0) for _ in range(6)]

        assert [4999950000] * 6 == await asyncio.gather(*work)
        assert 2 == len(processes(evaluator))


async def test_a_child_that_dies_while_idle_is_replaced() -> None:
    """Whoever kills it, the next expression is answered."""
    async with evaluating() as evaluator:
        await evaluator.evaluate("1", None, {}, 0)
        [pid] = processes(evaluator)
        os.kill(pid, signal.SIGKILL)

        assert await evaluator.evaluate("2", None, {}, 0) == 2
        assert [pid] != processes(evaluator)


async def test_a_machine_that_kills_every_idle_child_changes_nothing() -> None:
    """However many dead children wait in the pool, an expression is asked of a living one."""
    async with evaluating(size=3, time_limit_seconds=5) as evaluator:
        work = [evaluator.evaluate("reduce range(50000) as $x (0; . + 1)", None, {}, 0) for _ in range(3)]
        await asyncio.gather(*work)
        pids = processes(evaluator)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

        assert 3 == len(pids)
        assert [2] * 3 == [await evaluator.evaluate("2", None, {}, 0) for _ in range(3)]


async def test_children_that_cannot_start_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that ends at once, or is not there, gives a failure, not a hang."""
    for interpreter in ("/bin/false", "/nowhere/python"):
        monkeypatch.setattr(sys, "executable", interpreter)
        async with evaluating() as evaluator:
            assert "ended twice" in (await failure(evaluator, "1")).message


async def test_a_child_that_dies_while_it_works_is_replaced_and_asked_again() -> None:
    """Expressions are pure: the same question to a new child gives the answer."""
    async with evaluating(time_limit_seconds=5) as evaluator:
        await evaluator.warm()
        [pid] = processes(evaluator)
        answer = asyncio.create_task(evaluator.evaluate("reduce range(300000) as $x (0; . + 1)", None, {}, 0))
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)

        assert await answer == 300000


async def test_an_abandoned_evaluation_takes_its_child_along() -> None:
    """A cancelled task leaves no child behind that is still busy, and no answer for the next one."""
    async with evaluating(time_limit_seconds=5) as evaluator:
        await evaluator.warm()
        [pid] = processes(evaluator)
        answer = asyncio.create_task(evaluator.evaluate("def f: f; f", None, {}, 0))
        await asyncio.sleep(0)
        answer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answer

        assert not runs(pid)
        assert await evaluator.evaluate("2", None, {}, 0) == 2


async def test_closing_ends_all_children() -> None:
    """Idle or busy; what is under way fails, what comes later is refused."""
    evaluator = Evaluator(size=2, time_limit_seconds=5)
    await evaluator.warm()
    busy = asyncio.create_task(failure(evaluator, "def f: f; f"))
    await asyncio.sleep(0)
    pids = processes(evaluator)
    await evaluator.close()
    await busy

    assert 1 == len(pids)
    assert not any(map(runs, pids))
    assert "closing" in (await failure(evaluator, "1")).message


async def test_a_child_that_grew_is_replaced() -> None:
    """Memory that jq does not give back is given back by ending the child after its answer."""
    async with evaluating(time_limit_seconds=5, memory_limit_bytes=1024**3) as evaluator:
        await evaluator.warm()
        text = ". as [$a] ?// $a | [range(400)] | map(tostring * 500) | map(explode) | length"

        assert 400 == await evaluator.evaluate(text, None, {}, 0)
        assert 1 == await evaluator.evaluate("1", None, {}, 0)


async def test_too_much_input_is_refused_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit on what an expression is given is named."""
    monkeypatch.setattr(evaluation, "INPUT_LIMIT_BYTES", 100)
    async with evaluating() as evaluator:
        assert "expression-input" == (await failure(evaluator, "1", "a" * 200)).limit


async def test_a_stopped_child_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that uses no processor time and never answers is killed by the clock."""
    monkeypatch.setattr(evaluation, "PATIENCE_SECONDS", 0.05)
    async with evaluating(time_limit_seconds=0.01) as evaluator:
        await evaluator.warm()
        [pid] = processes(evaluator)
        os.kill(pid, signal.SIGSTOP)

        assert "expression-time" == (await failure(evaluator, "1")).limit
        assert not runs(pid)


async def test_secrets_are_references_in_the_child_too() -> None:
    """The child sees the reference, never a value."""
    async with evaluating() as evaluator:
        value = await evaluator.evaluate(
            '{auth: "Bearer \\($secrets.api.token)", ok: test("a")}', "a", {"__nonce__": "n1"}, 0
        )

        assert {"auth": "Bearer \x01n1:api.token\x01", "ok": True} == value


@pytest.mark.slow
async def test_a_system_that_does_not_say_how_large_a_process_is_evaluates_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: the same answers, and the same bound on time."""
    child = tmp_path / "child.py"
    text = evaluation._CHILD.read_text()
    child.write_text(text.replace("/proc/self/statm", "/nowhere/statm"))
    monkeypatch.setattr(evaluation, "_CHILD", child)
    async with evaluating(time_limit_seconds=0.2, memory_limit_bytes=256 << 20) as evaluator:
        first = await evaluator.evaluate("add", [1, 2], {}, 0)
        (pid,) = processes(evaluator)
        refused = await failure(evaluator, "last(range(1e12))")
        again = await evaluator.evaluate("add", [3, 4], {}, 0)
        (later,) = processes(evaluator)

    assert "/nowhere/statm" in child.read_text()
    assert (first, again) == (3, 7)
    assert pid != later
    assert "time" in refused.message
