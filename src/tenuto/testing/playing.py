"""Plays the cases of test files, and says in what way they went otherwise than expected."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from tenuto.engine.model import Json
from tenuto.engine.ports import RunRow
from tenuto.errors import TenutoError
from tenuto.language.duration import duration_seconds
from tenuto.testing.answers import After, Answers, NoAnswer, full_type
from tenuto.testing.cases import Case, Stub, full_name
from tenuto.testing.differences import difference, matches, part_of, same
from tenuto.testing.doubles import HARMLESS, Recorded, UnexpectedCall
from tenuto.testing.environment import Environment
from tenuto.testing.stage import installed


class Outcome(msgspec.Struct, frozen=True):
    """How a case went: `failures` are empty if it passed; `seconds` are real ones."""

    case: Case
    failures: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.failures


class StubAnswers(Answers):
    """Answers by what a call's arguments match: the first stub that does, and is not used up."""

    def __init__(self, stubs: list[Stub]) -> None:
        super().__init__(None)
        self._stubs = stubs
        self._used = [0] * len(stubs)
        self._chosen: dict[object, Any] = {}

    def next(self, path: str, attempt: object, arguments: dict[str, Json]) -> Any:
        """Return the answer for an attempt; raises `NoAnswer` if no stub is for it."""
        if attempt not in self._chosen:
            self._chosen[attempt] = self._choose(path, arguments)
        return self._chosen[attempt]

    def _choose(self, path: str, arguments: dict[str, Json]) -> Any:
        for index, stub in enumerate(self._stubs):
            used_up = stub.times is not None and self._used[index] >= stub.times
            if not used_up and matches(stub.arguments, arguments):
                self._used[index] += 1
                return stub.answer if stub.takes_seconds is None else _later(stub)
        raise NoAnswer(
            f"no stub of `{path}` is for a call with {msgspec.json.encode(arguments).decode()}",
            "change `with` or `times` of a stub, or add one",
        )


def _later(stub: Stub) -> After:
    return After(None if stub.takes_seconds == float("inf") else stub.takes_seconds, stub.answer)


async def play(case: Case) -> Outcome:
    """Run a case in an environment of its own."""
    begun = time.perf_counter()
    try:
        failures = tuple(await _play(case))
    except UnexpectedCall as error:
        failures = (str(error),)
    except TenutoError as error:
        failures = (error.told(),)
    return Outcome(case, failures, time.perf_counter() - begun)


async def _play(case: Case) -> list[str]:
    file = case.file
    env = Environment(documents=file.documents, secrets=case.secrets, start_time=file.start, allow=file.allow)
    for function in {stub.function: None for stub in case.stubs}:
        env.replace(function, StubAnswers([stub for stub in case.stubs if stub.function == function]))
    async with env:
        handle = await env.start_row(file.workflow, case.input)
        for event in case.events:
            await env.rest()
            if event.after_seconds:
                await env.pass_time(event.after_seconds)
            await env.emit(event.attributes)
        row = await env.settle(handle)
        ended = env.clock.now() if row.ended is None else row.ended
        return list(_failures(case.expect, row, ended - row.started, env.calls()))


def _failures(expect: dict[str, Json], row: RunRow, elapsed: float, calls: list[Recorded]) -> Iterator[str]:
    outcome = row.outcome or {}
    error, output = outcome.get("error"), outcome.get("output")
    status = expect.get("status", "faulted" if "error" in expect else "completed")
    if row.status != status:
        yield f"the run is {row.status}, and was expected to be {status}" + _why(error)
    elif "error" in expect:
        wanted = {**expect["error"]}
        if "type" in wanted:
            wanted["type"] = full_type(wanted["type"])
        if not matches(wanted, error):
            yield "the error is another:\n" + difference(wanted, part_of(wanted, error))
    if row.status == status == "completed":
        if "output" in expect and not same(expect["output"], output):
            yield "the output is another:\n" + difference(expect["output"], output)
        if "contains" in expect and not matches(expect["contains"], output):
            yield "the output is another:\n" + difference(
                expect["contains"], part_of(expect["contains"], output)
            )
    if "calls" in expect:
        yield from _wrong_calls(expect["calls"], calls)
    yield from _wrong_time(expect.get("elapsed") or {}, elapsed)


def _why(error: Json) -> str:
    if not error:
        return ""
    title = error.get("title") or error.get("type")
    detail = f": {error['detail']}" if error.get("detail") else ""
    where = f" (in {error['instance']})" if error.get("instance") else ""
    return f"\n{error.get('status')} {title}{detail}{where}"


def _wrong_calls(expected: list[dict[str, Json]], calls: list[Recorded]) -> Iterator[str]:
    """Yield how the calls differ: all of them, in their order; harmless ones count if they are expected."""
    wanted: list[dict[str, Json]] = [
        {"call": full_name(each["call"], installed()), "with": each.get("with", {})} for each in expected
    ]
    named = {each["call"] for each in wanted}
    harmless = tuple(pattern.removesuffix("*") for pattern in HARMLESS)
    made: list[Json] = [
        {"call": call.function, "with": call.arguments}
        for call in calls
        if call.function in named or not call.function.startswith(harmless)
    ]
    if not matches(wanted, made):
        shown = [
            part_of(wanted[index], each) if index < len(wanted) else each for index, each in enumerate(made)
        ]
        yield "other calls were made:\n" + difference(wanted, shown)


def _wrong_time(expected: dict[str, Json], elapsed: float) -> Iterator[str]:
    took = f"the run took {elapsed:g} s, and was expected to take"
    for name, words in (("atLeast", "at least"), ("atMost", "at most")):
        if name not in expected:
            continue
        seconds = duration_seconds(expected[name])
        if (elapsed < seconds) if name == "atLeast" else (elapsed > seconds):
            yield f"{took} {words} {seconds:g} s"
