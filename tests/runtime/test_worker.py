"""The worker's promise: recorded once, never run again, taken up where it stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tenuto.engine.model import CancelRequested, Entry, Resumed, Suspended
from tenuto.errors import Conflict, NotFound, StorageFailed
from tests.runtime.bench import Bench, bench, document

THREE = """
    do:
      - a: {call: 'probe.mark:1.0.0@default', with: {name: a, value: '${ . }'}}
      - b: {call: 'probe.mark:1.0.0@default', with: {name: b}}
      - c: {call: 'probe.mark:1.0.0@default', with: {name: c}}
"""


def called(made: Bench) -> list[str]:
    """The names with which the probe was called."""
    return [name for name, _ in made.probe.calls]


async def test_a_run_completes_with_its_output(tmp_path: Path) -> None:
    """Each step once, in order."""
    async with bench(tmp_path) as made:
        row = await made.run(THREE, {"n": 1})

    assert (row.status, row.outcome) == ("completed", {"output": {"name": "c", "value": None}})
    assert made.probe.calls == [("a", {"n": 1}), ("b", None), ("c", None)]


async def test_nothing_finished_runs_again_after_a_crash(tmp_path: Path) -> None:
    """The step under way is started again with the same key, those before are not."""
    async with bench(tmp_path) as made:
        reached = made.probe.hold("b")
        run = await made.start(THREE)
        await reached.wait()
        await made.crash()
        made.probe.held["b"].set()
        row = await made.worker.settle(run)

    assert row.status == "completed"
    assert called(made) == ["a", "b", "b", "c"]
    assert made.probe.keys[1] == made.probe.keys[2]
    assert len(set(made.probe.keys)) == 3


async def test_starting_the_same_id_again_is_the_same_run(tmp_path: Path) -> None:
    """Same document and input: the run that is there; otherwise a conflict."""
    async with bench(tmp_path) as made:
        first = await made.start(THREE, {"n": 1}, run="mine")
        again = await made.start(THREE, {"n": 1}, run="mine")
        with pytest.raises(Conflict):
            await made.start(THREE, {"n": 2}, run="mine")
        await made.worker.settle("mine")

    assert first == again == "mine"
    assert called(made) == ["a", "b", "c"]


async def test_a_suspended_run_begins_nothing_new_until_it_is_resumed(tmp_path: Path) -> None:
    """What is under way ends and is recorded; also a crash in between changes nothing."""
    async with bench(tmp_path) as made:
        reached = made.probe.hold("a")
        run = await made.start(THREE)
        await reached.wait()
        await made.worker.tell(run, Suspended(made.clock.now()))
        made.probe.held["a"].set()
        suspended = await made.worker.settle(run)
        await made.crash()
        assert (await made.worker.settle(run)).status == "suspended"
        assert called(made) == ["a"]
        await made.worker.tell(run, Resumed(made.clock.now()))
        row = await made.worker.settle(run)

    assert (suspended.status, row.status) == ("suspended", "completed")
    assert called(made) == ["a", "b", "c"]


async def test_a_cancelled_run_stops_its_action_and_takes_nothing_more(tmp_path: Path) -> None:
    """Cancelled is final."""
    async with bench(tmp_path) as made:
        reached = made.probe.hold("b")
        run = await made.start(THREE)
        await reached.wait()
        await made.worker.tell(run, CancelRequested(made.clock.now(), "enough"))
        row = await made.worker.settle(run)
        with pytest.raises(Conflict):
            await made.worker.tell(run, Suspended(made.clock.now()))

    assert row.status == "cancelled"
    assert called(made) == ["a", "b"]


async def test_a_retry_shares_the_history_up_to_the_task(tmp_path: Path) -> None:
    """A new run: what came before the task is taken over, the rest runs anew."""
    async with bench(tmp_path) as made:
        made.probe.failing.add("c")
        faulted = await made.run(THREE, {"n": 1})
        made.probe.failing.clear()
        again = await made.worker.retry(faulted.id, "c")
        row = await made.worker.settle(again)
        old = await made.journal.run(faulted.id)

    assert faulted.status == "faulted"
    assert (row.status, row.origin) == ("completed", faulted.id)
    assert called(made) == ["a", "b", "c", "c"]
    assert old is not None
    assert old.status == "faulted"


@pytest.mark.parametrize(("task", "expected"), [("b", "new"), ("/do/0/a", "new")])
async def test_a_retry_may_replace_the_tasks_input(tmp_path: Path, task: str, expected: str) -> None:
    """The task sees the new input instead of the recorded one, also if it is the first."""
    body = THREE.replace("name: b}", "name: b, value: '${ . }'}")
    async with bench(tmp_path) as made:
        done = await made.run(body, {"n": 1})
        made.probe.calls.clear()
        again = await made.worker.retry(done.id, task, replace=True, data="new")
        row = await made.worker.settle(again)

    assert row.status == "completed"
    assert made.probe.calls[0] == (task[-1], expected)


async def test_a_retry_of_an_unknown_task_or_an_open_run_is_refused(tmp_path: Path) -> None:
    """With what is known instead."""
    async with bench(tmp_path) as made:
        done = await made.run(THREE)
        with pytest.raises(NotFound) as unknown:
            await made.worker.retry(done.id, "nothing")
        waiting = await made.run("do: [{l: {listen: {to: {any: []}}}}]")
        with pytest.raises(Conflict):
            await made.worker.retry(waiting.id, "l")

    assert unknown.value.hint is not None
    assert "/do/0/a" in unknown.value.hint


async def test_a_run_that_only_events_can_move_settles_as_waiting(tmp_path: Path) -> None:
    """Nothing in this process can give what it waits for."""
    async with bench(tmp_path) as made:
        row = await made.run("do: [{l: {listen: {to: {one: {with: {type: t}}}}}}]")

    assert (row.status, row.ended) == ("waiting", None)


async def test_an_event_reaches_other_runs_and_a_crash_loses_none(tmp_path: Path) -> None:
    """The event is recorded with the listener in the transaction that records its sending."""
    hearer = "do: [{l: {listen: {to: {one: {with: {type: t}}}}}}, {m: {call: 'probe.mark:1.0.0@default', with: {name: m}}}]"
    speaker = "do: [{e: {emit: {event: {with: {type: t, data: {n: 1}}}}}}]"
    async with bench(tmp_path) as made:
        waiting = await made.start(hearer, name="hearer")
        await made.worker.settle(waiting)
        made.probe.hold("m")
        await made.start(speaker, name="speaker")
        await made.probe.reached["m"].wait()
        await made.crash()
        made.probe.held["m"].set()
        row = await made.worker.settle(waiting)

    assert row.status == "completed"
    assert called(made) == ["m", "m"]


CHILD = "do: [{c: {call: 'probe.mark:1.0.0@default', with: {name: child, value: '${ . }'}}}]"
PARENT = """
    do:
      - sub: {run: {workflow: {namespace: test, name: child, version: '1.0.0', input: {n: '${ .n }'}}}}
      - after: {call: 'probe.mark:1.0.0@default', with: {name: after, value: '${ . }'}}
"""


async def test_a_child_run_gives_its_output_to_its_parent(tmp_path: Path) -> None:
    """Across a crash in the child, which runs once."""
    async with bench(tmp_path) as made:
        await made.journal.put_documents([document(CHILD, "child")])
        reached = made.probe.hold("child")
        run = await made.start(PARENT, {"n": 5})
        await reached.wait()
        await made.crash()
        made.probe.held["child"].set()
        row = await made.worker.settle(run)
        children = await made.journal.runs(parent=run)

    assert row.status == "completed"
    assert called(made) == ["child", "child", "after"]
    assert made.probe.calls[-1] == ("after", {"name": "child", "value": {"n": 5}})
    assert len(children) == 1


async def test_a_childs_fault_and_a_missing_child_are_the_parents(tmp_path: Path) -> None:
    """At the task that started it."""
    async with bench(tmp_path) as made:
        missing = await made.run(PARENT)
        await made.journal.put_documents([document(CHILD, "child")])
        made.probe.failing.add("child")
        failed = await made.run(PARENT)

    assert missing.outcome is not None
    assert "no workflow test/child:1.0.0" in missing.outcome["error"]["detail"]
    assert failed.outcome is not None
    assert (failed.outcome["error"]["status"], failed.outcome["error"]["instance"]) == (503, "/do/0/sub")


async def test_cancelling_a_parent_cancels_its_child(tmp_path: Path) -> None:
    """Nobody needs it any more."""
    async with bench(tmp_path) as made:
        await made.journal.put_documents([document(CHILD, "child")])
        reached = made.probe.hold("child")
        run = await made.start(PARENT)
        await reached.wait()
        await made.worker.tell(run, CancelRequested(made.clock.now()))
        await made.worker.settle(run)
        (child,) = await made.journal.runs(parent=run)
        settled = await made.worker.settle(child.id)

    assert settled.status == "cancelled"


async def test_a_timer_fires_when_its_time_has_come_and_not_before(tmp_path: Path) -> None:
    """Also after a restart that came too late."""
    async with bench(tmp_path) as made:
        run = await made.start(
            "do: [{w: {wait: PT1H}}, {m: {call: 'probe.mark:1.0.0@default', with: {name: m}}}]"
        )
        made.clock.time += 3599.0
        await made.crash()
        await made.worker.resume(run)
        assert called(made) == []
        made.clock.time += 2.0
        await made.crash()
        row = await made.worker.settle(run)

    assert row.status == "completed"
    assert called(made) == ["m"]


async def test_watchers_are_told_of_durable_entries_in_order(tmp_path: Path) -> None:
    """Every entry, once, with what happened to the tasks."""
    seen: list[tuple[int, Entry]] = []
    async with bench(tmp_path) as made:
        made.worker.watch(lambda run, seq, entry: seen.append((seq, entry)))
        await made.run(THREE)

    assert [seq for seq, _ in seen] == [1, 2, 3, 4]
    happened = [(note.task, note.what) for _, entry in seen for note in entry.notes]
    assert happened[:3] == [("/do/0/a", "started"), ("/do/0/a", "completed"), ("/do/1/b", "started")]


async def test_a_store_that_fails_stops_everything(tmp_path: Path) -> None:
    """Nothing is acknowledged or carried out after that; the next start goes on."""
    async with bench(tmp_path) as made:
        reached = made.probe.hold("a")
        run = await made.start(THREE)
        await reached.wait()
        made.worker.fail(OSError("no space left on device"))
        with pytest.raises(StorageFailed):
            await made.start(THREE)
        with pytest.raises(StorageFailed):
            await made.worker.settle(run)
        await made.crash()
        made.probe.held["a"].set()
        row = await made.worker.settle(run)

    assert row.status == "completed"
    assert called(made) == ["a", "a", "b", "c"]


@pytest.mark.parametrize("wait", ["settle", "ended"])
async def test_who_asks_for_a_run_while_the_store_fails_is_told(tmp_path: Path, wait: str) -> None:
    """Also if the run is being read from the disk at that moment: it would come back to nobody."""
    async with bench(tmp_path) as made:
        reached = made.probe.hold("a")
        run = await made.start(THREE)
        await reached.wait()
        await made.crash()
        asking = asyncio.ensure_future(getattr(made.worker, wait)(run))
        await asyncio.sleep(0)
        made.worker.fail(OSError("no space left on device"))
        with pytest.raises(StorageFailed, match="no space left"):
            await asyncio.wait_for(asking, 10)


async def test_who_takes_runs_up_while_the_store_fails_is_told(tmp_path: Path) -> None:
    """An App on a store that has failed does not open."""
    async with bench(tmp_path) as made:
        reached = made.probe.hold("a")
        await made.start(THREE)
        await reached.wait()
        await made.crash()
        opening = asyncio.ensure_future(made.worker.recover())
        await asyncio.sleep(0)
        made.worker.fail(OSError("no space left on device"))
        with pytest.raises(StorageFailed, match="no space left"):
            await asyncio.wait_for(opening, 10)


async def test_a_long_run_resumes_from_its_snapshot(tmp_path: Path) -> None:
    """Only the rest of the journal is folded, and the outcome is the same."""
    body = """
        do:
          - l:
              for: {in: '[range(500)]'}
              do:
                - m: {call: 'probe.mark:1.0.0@default', with: {name: m, value: '${ $index }'}}
          - last: {call: 'probe.mark:1.0.0@default', with: {name: last, value: '${ . }'}}
    """
    async with bench(tmp_path) as made:
        reached = made.probe.hold("last")
        run = await made.start(body)
        await reached.wait()
        row = await made.journal.run(run)
        assert row is not None
        snapshot, tail = await made.journal.load(row.number)
        await made.crash()
        made.probe.held["last"].set()
        done = await made.worker.settle(run)

    assert snapshot is not None
    assert snapshot.seq + len(tail) == 501
    assert len(tail) < 500
    assert done.status == "completed"
    assert made.probe.calls[-1] == ("last", {"name": "m", "value": 499})


async def test_secrets_reach_the_function_and_nothing_else(tmp_path: Path) -> None:
    """The journal holds a reference; what the function gives back is redacted."""
    body = """
        use: {secrets: [token]}
        do: [{a: {call: 'probe.mark:1.0.0@default', with: {name: a, value: '${ "Bearer \\($secrets.token)" }'}}}]
    """
    async with bench(tmp_path, secrets={"token": "canary-7f3a"}) as made:
        row = await made.run(body)
        entries = await made.journal.history(row.number)

    assert made.probe.calls == [("a", "Bearer canary-7f3a")]
    assert row.outcome == {"output": {"name": "a", "value": "Bearer ***"}}
    assert all(b"canary" not in entry for _, entry in entries)


async def test_an_unknown_secret_is_a_fault_that_says_how_to_give_it(tmp_path: Path) -> None:
    """An authorization fault with status 403 at the task that needs it, as the standard demands."""
    body = "do: [{a: {call: 'probe.mark:1.0.0@default', with: {name: a, value: '${ $secrets.token }'}}}]"
    async with bench(tmp_path) as made:
        row = await made.run(body)

    assert row.outcome is not None
    assert (row.outcome["error"]["type"], row.outcome["error"]["status"]) == (
        "https://open-workflow-specification.org/spec/1.0.0/errors/authorization",
        403,
    )
    assert "--secrets" in row.outcome["error"]["detail"]
    assert made.probe.calls == []


async def test_the_loose_mode_keeps_the_text_of_what_fails_in_the_second_lane(tmp_path: Path) -> None:
    """Where an expression that a child process evaluates fails, its text is the value, too."""
    async with bench(tmp_path) as made:
        row = await made.run(
            "evaluate: {mode: loose}\n"
            "do: [{a: {set: {fits: '.x | test(\"a\")', fails: '.n | test(\"a\")'}}}]",
            {"x": "abc", "n": 1},
        )

    assert row.outcome == {"output": {"fits": True, "fails": '.n | test("a")'}}


async def test_lifecycle_events_reach_runs_that_listen_for_them_by_name(tmp_path: Path) -> None:
    """And only those: `any: []` does not hear them, nor a run its own."""
    kind = "io.serverlessworkflow.workflow.completed.v1"
    async with bench(tmp_path) as made:
        named = await made.start(
            f"do: [{{l: {{listen: {{to: {{one: {{with: {{type: {kind}}}}}}}}}}}}}]", name="n"
        )
        anything = await made.start("do: [{l: {listen: {to: {any: []}}}}]", name="any")
        done = await made.run(THREE)
        heard = await made.worker.settle(named)
        deaf = await made.worker.settle(anything)

    assert heard.outcome is not None
    assert heard.outcome["output"][0]["name"] == f"flow-{done.id}.test"
    assert deaf.status == "waiting"


async def test_many_runs_at_once_each_do_their_steps_once(tmp_path: Path) -> None:
    """Two hundred runs share one writer."""
    async with bench(tmp_path) as made:
        runs = await asyncio.gather(*(made.start(THREE, {"n": n}) for n in range(200)))
        rows = await asyncio.gather(*(made.worker.settle(run) for run in runs))

    assert {row.status for row in rows} == {"completed"}
    assert len(set(made.probe.keys)) == len(made.probe.keys) == 600


async def test_recovery_takes_up_all_that_is_open(tmp_path: Path) -> None:
    """After a crash with many runs under way."""
    async with bench(tmp_path) as made:
        reached = made.probe.hold("b")
        runs = await asyncio.gather(*(made.start(THREE, run=f"r{n}") for n in range(50)))
        await reached.wait()
        await made.crash()
        made.probe.held["b"].set()
        count = await made.worker.recover()
        rows = [await made.worker.settle(run) for run in runs]

    assert count == 50
    assert {row.status for row in rows} == {"completed"}
    assert sum(name == "a" for name in called(made)) == 50


async def test_undo_takes_back_what_was_done(tmp_path: Path) -> None:
    """With the real catalog's undo function, arguments filtered to its own."""
    body = """
        do:
          - t:
              try:
                - a: {call: 'probe.mark:1.0.0@default', with: {name: a, value: 1}}
                - b: {call: 'probe.mark:1.0.0@default', with: {name: b}}
              catch: {do: [{back: {call: 'undo:1.0.0@default'}}]}
    """
    async with bench(tmp_path) as made:
        made.probe.failing.add("b")
        row = await made.run(body)

    assert row.outcome == {"output": {"undone": 1}}
    assert called(made) == ["a", "b", "undo a"]


async def test_starting_an_id_twice_at_once_never_harms_the_store(tmp_path: Path) -> None:
    """One start wins; the others get the same run or a conflict, and work goes on."""
    async with bench(tmp_path) as made:
        results = await asyncio.gather(
            *(made.start(THREE, None, run="mine") for _ in range(5)), return_exceptions=True
        )
        row = await made.worker.settle("mine")

    assert {type(result) for result in results} <= {str, Conflict}
    assert "mine" in results
    assert row.status == "completed"
    assert called(made) == ["a", "b", "c"]


async def test_a_child_that_is_not_awaited_is_still_driven_to_its_end(tmp_path: Path) -> None:
    """The parent does not wait for it; whoever settles the parent does."""
    body = "do: [{s: {run: {workflow: {namespace: test, name: child, version: latest}, await: false}}}]"
    async with bench(tmp_path) as made:
        await made.journal.put_documents(
            [
                document(
                    "do: [{w: {wait: PT0S}}, {m: {call: 'probe.mark:1.0.0@default', with: {name: m}}}]",
                    "child",
                )
            ]
        )
        row = await made.run(body, {"n": 1})
        (child,) = await made.journal.runs(parent=row.id)

    assert row.outcome == {"output": {"n": 1}}
    assert child.status == "completed"
    assert called(made) == ["m"]


async def test_what_a_run_starts_without_waiting_is_kept_in_mind_no_longer_than_it_runs(
    tmp_path: Path,
) -> None:
    """A server settles nothing: one list for each run would fill its memory. A grandchild is waited for too."""
    starts = (
        "do: [{{s: {{run: {{workflow: {{namespace: test, name: {0}, version: latest}}, await: false}}}}}}]"
    )
    async with bench(tmp_path) as made:
        reached = made.probe.hold("m")
        grandchild = "do: [{m: {call: 'probe.mark:1.0.0@default', with: {name: m}}}]"
        await made.journal.put_documents(
            [document(grandchild, "grandchild"), document(starts.format("grandchild"), "child")]
        )
        run = await made.start(starts.format("child"))
        await reached.wait()
        (middle,) = await made.journal.runs(parent=run)
        await made.worker.ended(middle.id)
        settling = asyncio.create_task(made.worker.settle(run))
        other = await made.start(starts.format("child"))
        while len(made.probe.calls) < 2:
            await made.journal.flush()
        early = settling.done()
        made.probe.held["m"].set()
        await settling
        (middle,) = await made.journal.runs(parent=other)
        (last,) = await made.journal.runs(parent=middle.id)
        await made.worker.ended(last.id)
        kept = len(made.worker._offspring)

    assert (early, kept) == (False, 0)


async def test_parents_and_children_hear_each_others_events(tmp_path: Path) -> None:
    """What a child emits reaches its parent's other branch, and the other way round."""
    child = """
        do:
          - ask: {listen: {to: {one: {with: {type: question}}}}}
          - say: {emit: {event: {with: {type: answer, data: '${ .[0] * 2 }'}}}}
    """
    parent = """
        do:
          - both:
              fork:
                branches:
                  - sub: {run: {workflow: {namespace: test, name: child, version: '1.0.0'}}}
                  - talk:
                      do:
                        - pause: {call: 'probe.mark:1.0.0@default', with: {name: pause}}
                        - ask: {emit: {event: {with: {type: question, data: 21}}}}
                        - hear: {listen: {to: {one: {with: {type: answer}}}}}
    """
    async with bench(tmp_path) as made:
        await made.journal.put_documents([document(child, "child")])
        reached = made.probe.hold("pause")
        run = await made.start(parent)
        await reached.wait()
        while not await made.journal.runs(parent=run, statuses=["waiting"]):
            await made.journal.flush()
        made.probe.held["pause"].set()
        row = await made.worker.settle(run)

    assert row.outcome is not None
    assert row.outcome["output"][1] == [42]


async def test_suspending_or_cancelling_after_a_crash_begins_nothing(tmp_path: Path) -> None:
    """The interrupted step is not started again only to be stopped."""
    async with bench(tmp_path) as made:
        reached = made.probe.hold("b")
        paused, ended = await made.start(THREE), await made.start(THREE)
        await reached.wait()
        await made.crash()
        made.probe.calls.clear()
        await made.worker.tell(paused, Suspended(made.clock.now()))
        await made.worker.tell(ended, CancelRequested(made.clock.now()))
        rows = [await made.worker.settle(run) for run in (paused, ended)]

    assert [row.status for row in rows] == ["suspended", "cancelled"]
    assert called(made) == []


async def test_cancelling_a_parent_after_a_crash_cancels_its_child(tmp_path: Path) -> None:
    """Also when neither is in memory."""
    async with bench(tmp_path) as made:
        await made.journal.put_documents([document(CHILD, "child")])
        reached = made.probe.hold("child")
        run = await made.start(PARENT)
        await reached.wait()
        await made.crash()
        await made.worker.tell(run, CancelRequested(made.clock.now()))
        (child,) = await made.journal.runs(parent=run)
        settled = await made.worker.settle(child.id)

    assert settled.status == "cancelled"
    assert called(made) == ["child"]


async def test_a_runs_output_shows_no_reference_to_a_secret(tmp_path: Path) -> None:
    """What others see of a run has `***` where it would have passed a secret on."""
    body = "use: {secrets: [token]}\ndo: [{a: {set: {header: '${ \"Bearer \\($secrets.token)\" }'}}}]"
    async with bench(tmp_path, secrets={"token": "canary-7f3a"}) as made:
        row = await made.run(body)

    assert row.outcome == {"output": {"header": "Bearer ***"}}
