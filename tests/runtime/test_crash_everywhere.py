"""A crash after each single entry of documents that use everything: same outcome, nothing finished runs again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest

from tenuto.engine.advance import advance
from tenuto.engine.model import Answered, Entry, Failed, Perform
from tenuto.errors import StorageFailed
from tenuto.language.interpret import Interpreter
from tenuto.language.load import load
from tenuto.runtime.recording import read_entry
from tests.runtime.bench import Bench, bench, document

MARK: Final = "call: 'probe.mark:1.0.0@default', with: {name: %s, value: '${ . }'}"
CHILD: Final = """
    do:
      - one: {call: 'probe.mark:1.0.0@default', with: {name: c1, value: '${ . }'}}
      - pause: {wait: PT0S}
      - two: {call: 'probe.mark:1.0.0@default', with: {name: c2, value: '${ .value }'}}
"""


def mark(name: str) -> str:
    """A task that calls the probe."""
    return "{call: 'probe.mark:1.0.0@default', with: {name: " + name + ", value: '${ . }'}}"


DOCUMENTS: Final = {
    "loop": f"""
        do:
          - start: {{set: {{n: 0}}, export: {{as: '{{seen: 1}}'}}}}
          - l:
              for: {{in: '[range(3)]'}}
              while: '$context.seen == 1'
              do: [{{m: {mark("m")}}}, {{s: {{set: {{n: '${{ $index }}'}}}}}}]
          - go: {{switch: [{{again: {{when: '.n == 2', then: last}}}}, {{no: {{then: end}}}}]}}
          - never: {mark("never")}
          - last: {mark("last")}
    """,
    "fork": f"""
        do:
          - f:
              fork:
                branches:
                  - x: {{do: [{{x1: {mark("x1")}}}, {{x2: {mark("x2")}}}]}}
                  - y: {mark("y")}
                  - z: {{do: [{{w: {{wait: PT0S}}}}, {{z1: {mark("z1")}}}]}}
          - race: {{fork: {{compete: true, branches: [{{q: {mark("q")}}}, {{w: {{wait: P1D}}}}]}}}}
          - last: {mark("last")}
    """,
    "try": f"""
        do:
          - t:
              try:
                - a: {mark("a")}
                - b: {mark("broken")}
              catch:
                errors: {{with: {{status: 503}}}}
                retry: {{delay: PT0S, limit: {{attempt: {{count: 1}}}}}}
                do: [{{back: {{call: 'undo:1.0.0@default'}}}}, {{tell: {mark("tell")}}}]
          - late:
              try: [{{l: {{listen: {{to: {{any: []}}}}, timeout: {{after: PT0S}}}}}}]
              catch: {{errors: {{with: {{status: 408}}}}, do: [{{d: {mark("d")}}}]}}
    """,
    "events": f"""
        do:
          - f:
              fork:
                branches:
                  - hear:
                      listen:
                        to: {{any: [{{with: {{type: t}}}}], until: '. | length >= 2'}}
                      foreach: {{item: e, do: [{{h: {mark("h")}}}]}}
                  - tell:
                      do:
                        - e1: {{emit: {{event: {{with: {{type: t, data: 1}}}}}}}}
                        - p: {mark("p")}
                        - e2: {{emit: {{event: {{with: {{type: t, data: 2}}}}}}}}
    """,
    "children": f"""
        do:
          - sub: {{run: {{workflow: {{namespace: test, name: child, version: '1.0.0', input: 1}}}}}}
          - off: {{run: {{workflow: {{namespace: test, name: child, version: '1.0.0', input: 2}}, await: false}}}}
          - last: {mark("last")}
    """,
    "children side by side": f"""
        do:
          - f:
              fork:
                branches:
                  - p: {{run: {{workflow: {{namespace: test, name: child, version: '1.0.0', input: 1}}}}}}
                  - q: {{run: {{workflow: {{namespace: test, name: child, version: '1.0.0', input: 2}}}}}}
                  - m: {mark("m")}
    """,
    "extended": f"""
        use:
          extensions:
            - log: {{extend: call, when: '.n != 5', before: [{{b: {mark("b")}}}], after: [{{a: {mark("a")}}}]}}
        do:
          - one: {mark("one")}
          - two: {{if: '${{ tojson | test("one") }}', {MARK % "two"}}}
    """,
}


async def outcomes(made: Bench) -> list[tuple[Any, ...]]:
    """How every run ended, the first one first; children that were started late may come in another order."""
    rows = await made.journal.runs()
    shown = sorted((row.name, str(row.outcome), row.status, row.parent or "") for row in rows)
    return list(shown)


async def answered(made: Bench) -> int:
    """How many calls of the probe have their outcome on disk."""
    count = 0
    for row in await made.journal.runs():
        definition = await made.journal.document(row.definition)
        assert definition is not None
        program, run = Interpreter(load(definition.source).data), None
        for _, data in await made.journal.history(row.number):
            event = read_entry(data).event
            if run is not None and isinstance(event, Answered | Failed):
                count += isinstance(run.open[event.id], Perform)
            run, _ = advance(program, run, event)
    return count


async def play(made: Bench, body: str, crash_after: int) -> tuple[int, int]:
    """Run a document; die after so many entries and go on. Answer all entries and the calls under way then."""
    entries = under_way = 0
    dead = False

    def watch(run: str, seq: int, entry: Entry) -> None:
        nonlocal entries, dead
        entries += 1
        if entries == crash_after:
            dead = True
            made.worker.fail(RuntimeError("killed"))

    await made.journal.put_documents([document(CHILD, "child")])
    made.worker.watch(watch)
    try:
        run = await made.start(body, {"n": 1}, run="main")
        await made.worker.settle(run)
    except StorageFailed:
        assert dead
    if dead:
        before = len(made.probe.calls)
        await made.crash()
        under_way = before - await answered(made)
        await made.worker.recover()
        await made.worker.settle("main")
    for row in await made.journal.open_runs():
        await made.worker.settle(row.id)
    return entries, under_way


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
async def test_a_crash_after_any_entry_changes_nothing(tmp_path: Path, name: str) -> None:
    """Every run ends as it would have, and what was recorded is not done again."""
    async with bench(tmp_path / "whole") as made, asyncio.timeout(30.0):
        made.probe.failing.add("broken")
        count, _ = await play(made, DOCUMENTS[name], 0)
        expected = await outcomes(made)
        calls = len(made.probe.calls)
    assert count > 3

    for crash_after in range(1, count):
        async with bench(tmp_path / str(crash_after)) as made, asyncio.timeout(10.0):
            made.probe.failing.add("broken")
            _, under_way = await play(made, DOCUMENTS[name], crash_after)
            found = await outcomes(made)

        assert found == expected, f"after entry {crash_after}"
        assert under_way >= 0
        assert len(made.probe.calls) == calls + under_way, f"after entry {crash_after}"


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
async def test_crashes_again_and_again_change_nothing_either(tmp_path: Path, name: str) -> None:
    """Each process lives for two entries only, and the run ends all the same."""
    async with bench(tmp_path / "whole") as made, asyncio.timeout(30.0):
        made.probe.failing.add("broken")
        await play(made, DOCUMENTS[name], 0)
        expected = await outcomes(made)
    async with bench(tmp_path / "broken") as made, asyncio.timeout(30.0):
        made.probe.failing.add("broken")
        await made.journal.put_documents([document(CHILD, "child")])
        crashes = 0
        while True:
            entries: list[int] = []

            def watch(run: str, seq: int, entry: Entry, entries: list[int] = entries) -> None:
                entries.append(seq)
                if len(entries) == 2:
                    made.worker.fail(RuntimeError("killed"))

            made.worker.watch(watch)
            try:
                await made.start(DOCUMENTS[name], {"n": 1}, run="main")
                await made.worker.recover()
                for row in await made.journal.open_runs():
                    await made.worker.settle(row.id)
                if not await made.journal.open_runs():
                    break
            except StorageFailed:
                crashes += 1
            await made.crash()
        found = await outcomes(made)

    assert found == expected
    assert crashes > 1


async def test_a_store_that_forgets_an_entry_would_be_noticed(tmp_path: Path) -> None:
    """Control: the store itself objects to a second entry in the place of the first."""
    async with bench(tmp_path) as made, asyncio.timeout(10.0):
        await made.start(DOCUMENTS["loop"], {"n": 1}, run="main")
        while len(made.probe.calls) < 2:
            await made.journal.flush()
        await made.crash()
        load_many = made.journal.load_many

        async def forgetful(numbers: list[int]) -> Any:
            return {
                number: (shot, entries[:-1]) for number, (shot, entries) in (await load_many(numbers)).items()
            }

        made.journal.load_many = forgetful  # type: ignore[assignment,method-assign]
        with pytest.raises(StorageFailed, match="UNIQUE"):  # noqa: PT012  # whichever comes after the failure
            await made.worker.recover()
            await made.worker.settle("main")
