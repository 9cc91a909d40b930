"""Apps: nothing is global, one of them works on a database, and whatever ends an App ends no run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tenuto import App, Handle, Query, Signal, TenutoError, Workflow, step, workflow
from tenuto.errors import Conflict, DatabaseHeld, Invalid, NotFound, Unavailable

SECONDS = 10
GO: Signal[int] = Signal("go", int)
SEEN: Query[int] = Query("seen", int)


@dataclass(frozen=True)
class Total:
    """What `adding` answers."""

    value: int


@step
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@workflow
async def adding(a: int) -> Total:
    """Add a signal's number to a number."""
    SEEN.set(a)
    return Total(await add(a, await GO.receive()))


def adding_step(shop: str) -> tuple[Workflow[[str], str], list[str]]:
    """Return a workflow and what its step did; every call gives another pair of the same names."""
    done: list[str] = []

    @step
    async def pack(what: str) -> str:
        done.append(what)
        return f"{what} from {shop}"

    @workflow
    async def send(what: str) -> str:
        return await pack(what)

    return send, done


def python(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of its own with every warning an error."""
    command = [
        sys.executable,
        "-X",
        "dev",
        "-W",
        "error",
        "-c",
        textwrap.dedent(program),
        *map(str, arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


# ── nothing registers ────────────────────────────────────────────────────────────────────


def test_importing_loads_nothing_more() -> None:
    """`import tenuto` costs one module; what is used of it is loaded then."""
    ran = python(
        """
        import sys
        import tenuto
        print(*sorted(name for name in sys.modules if name.startswith("tenuto")))
        """
    )

    assert ("tenuto\n", "") == (ran.stdout, ran.stderr)


@pytest.mark.slow
def test_declaring_leaves_nothing_behind(tmp_path: Path) -> None:
    """Steps, workflows and an App that is not opened: no thread, no file, no value of any module changes."""
    ran = python(
        """
        import gc, json, os, sys, threading
        import tenuto
        for name in tenuto.__all__:
            getattr(tenuto, name)
        from tenuto import App, Query, Signal, step, workflow

        def state():
            found = {}
            for name, module in sorted(sys.modules.items()):
                if name.partition(".")[0] == "tenuto":
                    for key, value in vars(module).items():
                        size = len(value) if isinstance(value, (dict, list, set)) else 0
                        found[f"{name}.{key}"] = (id(value), size)
            return found

        os.chdir(sys.argv[1])
        before, files = state(), len(os.listdir("/proc/self/fd"))

        @step
        def declared(a: int) -> int:
            return a

        @workflow
        async def flow(a: int) -> int:
            return await declared(a)

        app = App(workflows=[flow], steps=[declared], database="a/b.db")
        Signal("s", int), Query("q", int)
        print(json.dumps([
            before == state(), len(os.listdir("/proc/self/fd")) - files, threading.active_count(), os.listdir(),
        ]))
        """,
        tmp_path,
    )

    assert ("", [True, 0, 1, []]) == (ran.stderr, json.loads(ran.stdout))


async def test_apps_share_nothing(tmp_path: Path) -> None:
    """Two Apps whose workflows and steps have the same names, but do something else, run side by side."""
    (first, first_done), (second, second_done) = adding_step("Bonn"), adding_step("Oslo")
    async with (
        App(workflows=[first], database=tmp_path / "1.db") as one,
        App(workflows=[second], database=tmp_path / "2.db") as two,
    ):
        handles = [await one.start(first, "tea", id="same"), await two.start(second, "ink", id="same")]
        answers = await asyncio.gather(*(handle.result() for handle in handles))
        with pytest.raises(Invalid, match="is not known to this App") as refused:
            await one.start(second, "tea")

    assert ["tea from Bonn", "ink from Oslo"] == answers
    assert (["tea"], ["ink"]) == (first_done, second_done)
    assert "add it: App(workflows=[...])" == refused.value.hint


async def test_a_closed_app_leaves_no_thread(tmp_path: Path) -> None:
    """Whatever an App has started ends with it, but for the loop's own workers."""
    send, _ = adding_step("Bonn")
    before = set(threading.enumerate())
    async with App(workflows=[send], database=tmp_path / "1.db") as app:
        await (await app.start(send, "tea")).result()
    left = [thread.name for thread in set(threading.enumerate()) - before]

    assert [] == [name for name in left if not name.startswith("asyncio_")]


# ── opening ──────────────────────────────────────────────────────────────────────────────


async def test_an_open_app_is_not_opened_again(tmp_path: Path) -> None:
    """One clear error, and the App works on; closed, it can be opened again."""
    app = App(workflows=[adding], database=tmp_path / "1.db")
    async with app:
        with pytest.raises(Invalid, match="this App is open already"):
            await app.__aenter__()
        handle = await app.start(adding, 1, id="one")
    async with app:
        await handle.signal(GO, 2)
        answer = await handle.result()

    assert Total(3) == answer


async def test_two_that_open_an_app_at_once_are_told_apart(tmp_path: Path) -> None:
    """The second is refused while the first still opens."""
    app = App(workflows=[adding], database=tmp_path / "1.db")
    opened = await asyncio.gather(app.__aenter__(), app.__aenter__(), return_exceptions=True)
    await app.__aexit__()

    assert (app, "this App is open already") == (opened[0], str(opened[1]))


async def test_one_app_works_on_a_database(tmp_path: Path) -> None:
    """The second is told that this very process has it; the first works on."""
    async with App(workflows=[adding], database=tmp_path / "1.db") as app:
        with pytest.raises(
            DatabaseHeld, match=r"1\.db is in use by this very process \d+ \(an App\), since"
        ) as refused:
            await App(workflows=[adding], database=tmp_path / "1.db").__aenter__()
        handle = await app.start(adding, 1)
        await handle.signal(GO, 2)
        answer = await handle.result()

    assert "End that first, or use another database (--db)." == refused.value.hint
    assert Total(3) == answer


async def test_an_app_that_cannot_open_is_closed(tmp_path: Path) -> None:
    """Two workflows of one name: the App says so each time, and holds no database."""
    (first, _), (second, _) = adding_step("Bonn"), adding_step("Oslo")
    app = App(workflows=[first, second], database=tmp_path / "1.db")
    for _ in range(2):
        with pytest.raises(Invalid, match=r"two workflows are called default/send:1\.0\.0"):
            await app.__aenter__()
    with pytest.raises(Invalid, match="the App is not open"):
        await app.start(first, "tea")
    async with App(workflows=[first], database=tmp_path / "1.db") as good:
        answer = await (await good.start(first, "tea")).result()

    assert "tea from Bonn" == answer


def test_one_workflow_is_no_list_of_them(tmp_path: Path) -> None:
    """The likeliest slip gets one clear error."""
    with pytest.raises(Invalid, match=r"workflows=<workflow default/adding:1\.0\.0> is no list") as refused:
        App(adding, database=tmp_path / "1.db")  # type: ignore[arg-type]

    assert "write App(workflows=[...])" == refused.value.hint


# ── threads and loops ────────────────────────────────────────────────────────────────────


def in_thread(work: Callable[[], Any]) -> Any:
    """Call something in a thread of its own and return what it returns."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(work()))
    thread.start()
    thread.join(SECONDS)
    return answers[0]


def test_an_app_works_in_the_loop_of_a_thread(tmp_path: Path) -> None:
    """Not only in the main thread; and beside another App in another thread."""

    async def send_one(shop: str) -> str:
        send, _ = adding_step(shop)
        async with App(workflows=[send], database=tmp_path / f"{shop}.db") as app:
            return await (await app.start(send, "tea")).result()

    answers = [in_thread(lambda shop=shop: asyncio.run(send_one(shop))) for shop in ("Bonn", "Oslo")]  # type: ignore[misc]

    assert ["tea from Bonn", "tea from Oslo"] == answers


async def test_another_loop_is_told_how_to_hand_over(tmp_path: Path) -> None:
    """An App belongs to the loop that opened it: elsewhere its verbs are refused, and not half done."""
    async with App(workflows=[adding], database=tmp_path / "1.db") as app:
        loop = asyncio.get_running_loop()

        def elsewhere() -> tuple[Invalid, Handle[Total]]:
            with pytest.raises(Invalid, match="opened in another event loop") as refused:
                asyncio.run(app.start(adding, 1))
            handed_over = asyncio.run_coroutine_threadsafe(app.start(adding, 1), loop)
            return refused.value, handed_over.result(SECONDS)

        refusal, handle = await asyncio.to_thread(elsewhere)
        status = (await app.settle(handle)).status

    assert "hand the call over: asyncio.run_coroutine_threadsafe(app.start(...), its_loop)" == refusal.hint
    assert "waiting" == status


# ── closing ──────────────────────────────────────────────────────────────────────────────


async def test_runs_under_way_are_taken_up_by_the_next_app(tmp_path: Path) -> None:
    """One waits, one is in the middle of a step: that is begun again with the same key, and both end."""
    begun, calls = asyncio.Event(), []
    let_go = False

    @step
    async def slow(a: int) -> int:
        calls.append(a)
        begun.set()
        if not let_go:
            await asyncio.Event().wait()
        return a * 10

    @workflow
    async def slowly(a: int) -> Total:
        return Total(await slow(a))

    async with App(workflows=[adding, slowly], database=tmp_path / "1.db") as app:
        await app.start(adding, 1, id="waits")
        await app.start(slowly, 2, id="works")
        await begun.wait()
    let_go = True
    async with App(workflows=[adding, slowly], database=tmp_path / "1.db") as app:
        await app.handle("waits").signal(GO, 2)
        answers = [await app.handle("waits", adding).result(), await app.handle("works", slowly).result()]

    assert [Total(3), Total(20)] == answers
    assert [2, 2] == calls


async def test_who_waits_for_a_result_is_told_that_the_app_was_closed(tmp_path: Path) -> None:
    """One clear error that says the run is kept; it may be waited for again later."""
    app = App(workflows=[adding], database=tmp_path / "1.db")
    async with app:
        handle = await app.start(adding, 1)
        waiting = asyncio.create_task(handle.result())
        await app.settle(handle)
    with pytest.raises(Unavailable, match=f"the App was closed before the run {handle.id} was over") as told:
        await asyncio.wait_for(waiting, SECONDS)

    assert "the run is kept: the next App that is opened on its database goes on with it" == told.value.hint


VERBS: dict[str, Callable[[Handle[Any]], Coroutine[Any, Any, Any]]] = {
    "result": lambda handle: handle.result(),
    "status": lambda handle: handle.status(),
    "row": lambda handle: handle.row(),
    "cancel": lambda handle: handle.cancel(),
    "suspend": lambda handle: handle.suspend(),
    "resume": lambda handle: handle.resume(),
    "signal": lambda handle: handle.signal(GO, 1),
    "query": lambda handle: handle.query(SEEN),
}


def test_every_verb_of_a_handle_is_in_the_table() -> None:
    """A new verb is tested with the others."""
    verbs = {name for name, value in vars(Handle).items() if callable(value) and not name.startswith("_")}

    assert verbs == VERBS.keys()


async def test_a_closed_app_says_so(tmp_path: Path) -> None:
    """Handles outlive their App, and each of their verbs gives one clear error; nothing hangs."""
    async with App(workflows=[adding], database=tmp_path / "1.db") as app:
        handle = await app.start(adding, 1)
    said = {}
    for name, verb in VERBS.items():
        with pytest.raises(Invalid) as refused:
            await asyncio.wait_for(verb(handle), SECONDS)
        said[name] = refused.value.message

    assert dict.fromkeys(VERBS, "the App is not open") == said


async def test_an_unknown_run_is_not_found(tmp_path: Path) -> None:
    """By every verb; making the handle itself asks nobody."""
    async with App(workflows=[adding], database=tmp_path / "1.db") as app:
        handle = app.handle("nobody", adding)
        said = {}
        for name, verb in VERBS.items():
            with pytest.raises(NotFound) as refused:
                await verb(handle)
            said[name] = refused.value.message

    assert dict.fromkeys(VERBS, "there is no run 'nobody'") == said


@pytest.mark.parametrize("id", ["x\udcff", "x" * 65, "", "no/id", 7, ["x"], None])
async def test_what_cannot_be_an_id_is_not_found_and_stops_nothing(tmp_path: Path, id: Any) -> None:
    """By every verb, as a web request may bring it; runs under way go on, and ids that are well are found."""
    async with App(workflows=[adding], database=tmp_path / "1.db") as app:
        under_way = await app.start(adding, 1)
        for verb in VERBS.values():
            with pytest.raises(NotFound) as refused:
                await verb(app.handle(id))
            assert f"there is no run {id!r}" == refused.value.message
        with pytest.raises(NotFound):
            await app.settle(app.handle(id))
        with pytest.raises(TenutoError):
            await app.start_document("x\udcff")
        await under_way.signal(GO, 2)

        assert Total(3) == await under_way.result()


async def test_results_of_an_earlier_app_are_typed(tmp_path: Path) -> None:
    """With the workflow a handle gives its type, without it plain JSON; so do queries after the end."""
    async with App(workflows=[adding], database=tmp_path / "1.db") as app:
        handle = await app.start(adding, 1, id="one")
        await handle.signal(GO, 2)
        await handle.result()
    async with App(workflows=[adding], database=tmp_path / "1.db") as app:
        typed, plain = app.handle("one", adding), app.handle("one")
        answers = (await typed.result(), await plain.result(), await typed.query(SEEN))

    assert (Total(3), {"value": 3}, 1) == answers


def adding_more(version: str) -> Workflow[[int], Total]:
    """Return `adding` as it is after somebody worked on it."""

    @workflow(name="adding", version=version)
    async def later(a: int) -> Total:
        return Total(await add(a, await GO.receive()) + 0)

    return later


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
async def test_a_request_that_comes_again_after_a_deployment_is_the_same_run(
    version: str, tmp_path: Path
) -> None:
    """The code has changed in place, or has a new version beside the old one; the start is still the same."""
    later = adding_more(version)
    known: list[Workflow[..., Any]] = [later] if version == "1.0.0" else [later, adding]
    async with App(workflows=[adding], database=tmp_path / "1.db") as app:
        await app.start(adding, 1, id="one")
    async with App(workflows=known, database=tmp_path / "1.db") as app:
        again = await app.start(later, 1, id="one")
        with pytest.raises(Conflict, match="there is already a run 'one'"):
            await app.start(later, 2, id="one")
        await again.signal(GO, 2)
        found = ((await again.row()).version, await again.result())

    assert ("1.0.0", Total(3)) == found


async def test_another_workflow_under_the_same_id_is_refused(tmp_path: Path) -> None:
    """An id that two kinds of run use is a mistake, whatever their input."""

    @workflow
    async def other(a: int) -> int:
        return a

    async with App(workflows=[adding, other], database=tmp_path / "1.db") as app:
        await app.start(adding, 1, id="one")
        with pytest.raises(Conflict, match="there is already a run 'one', of another document"):
            await app.start(other, 1, id="one")


async def test_an_exception_inside_comes_out_as_it_is(tmp_path: Path) -> None:
    """The App is closed in order, and its runs go on in the next one."""

    async def fail_inside() -> None:
        async with App(workflows=[adding], database=tmp_path / "1.db") as app:
            await app.start(adding, 1, id="one")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_inside()
    async with App(workflows=[adding], database=tmp_path / "1.db") as app:
        await app.handle("one").signal(GO, 2)
        answer = await app.handle("one", adding).result()

    assert Total(3) == answer


async def test_whoever_holds_an_app_can_be_cancelled(tmp_path: Path) -> None:
    """A task that is cancelled inside closes its App on the way out."""
    opened = asyncio.Event()

    async def hold() -> None:
        async with App(workflows=[adding], database=tmp_path / "1.db") as app:
            await app.start(adding, 1, id="one")
            opened.set()
            await app.handle("one").result()

    holding = asyncio.create_task(hold())
    await opened.wait()
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    async with App(workflows=[adding], database=tmp_path / "1.db") as app:
        status = (await app.settle(app.handle("one"))).status

    assert "waiting" == status


HOLDER = """
import asyncio, sys
from tenuto import App, Signal, workflow
go = Signal("go", int)

@workflow
async def adding(a: int) -> int:
    return a + await go.receive()

async def main() -> None:
    async with App(workflows=[adding], database=sys.argv[1]) as app:
        handle = app.handle("one", adding) if sys.argv[2:] else await app.start(adding, 1, id="one")
        if sys.argv[2:]:
            await handle.signal(go, int(sys.argv[2]))
        else:
            print("open", flush=True)
        print(await handle.result())

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_process_loses_nothing(end: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C closes in order and gives KeyboardInterrupt; kill -9 gives nothing; the run goes on after both."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", HOLDER, str(tmp_path / "1.db")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert "open\n" == holder.stdout.readline()
        os.kill(holder.pid, end)
        _, errors = holder.communicate(timeout=60)
    finally:
        holder.kill()
        holder.wait()
    ran = python(HOLDER, tmp_path / "1.db", "41")

    assert ["KeyboardInterrupt"] * (end == signal.SIGINT) == errors.splitlines()[-1:]
    assert ("42\n", "") == (ran.stdout, ran.stderr)


async def test_errors_are_tenutos_own(tmp_path: Path) -> None:
    """What an embedding program has to catch has one root."""
    async with App(workflows=[adding], database=tmp_path / "1.db") as app:
        with pytest.raises(TenutoError):
            await app.start(adding, "one", id="x")  # type: ignore[arg-type]
        with pytest.raises(TenutoError):
            await app.start(adding, 1, id="not an id")
        with pytest.raises(TenutoError):
            await app.start_document("nothing")
