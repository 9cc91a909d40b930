"""How many calls of a step may be under way and begin, for each key: in order, fairly, and forgotten afterwards."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.authoring.declare import Concurrency, Rate, Retry, Step, step
from tenuto.errors import Faulted
from tenuto.runtime.limits import DEAD_LANES_KEPT, Limits
from tenuto.runtime.steps import Steps
from tests.runtime.stepping import Time, perform


class Scene:
    """Calls of one step, and which of them have begun."""

    def __init__(self, declared: Step[..., Any]) -> None:
        self.step = declared
        self.time = Time()
        self.limits = Limits(self.time)
        self.begun: list[Any] = []
        self.begun_at: dict[Any, float] = {}
        self._releases: dict[Any, Callable[[], None]] = {}

    def call(self, name: Any, **arguments: Any) -> None:
        """Ask for a call."""

        def begin() -> None:
            self.begun.append(name)
            self.begun_at[name] = self.time.now

        release = self.limits.admit(self.step, arguments, begin)
        assert release is not None
        self._releases[name] = release

    def end(self, name: Any) -> None:
        """End it, or take it back."""
        self._releases[name]()


def declared(concurrency: Concurrency | None = None, rate: Rate | None = None) -> Step[..., Any]:
    """Return a step with these limits."""

    @step(concurrency=concurrency, rate=rate)
    def charge(customer: str = "", shop: str = "") -> None:
        """Be called."""

    return charge


def customer(customer: str, shop: str) -> str:
    """Return a key."""
    return customer


def shop(customer: str, shop: str) -> str:
    """Return another key."""
    return shop


def test_a_step_without_limits_begins_at_once_and_costs_nothing() -> None:
    """There is nothing to release, and nothing is remembered."""
    limits, begun = Limits(Time()), []

    assert limits.admit(declared(), {}, lambda: begun.append(1)) is None
    assert [1] == begun
    assert 0 == len(limits)


def test_so_many_are_under_way_and_the_others_follow_in_order() -> None:
    """Each end lets the next begin; releasing twice is releasing once."""
    scene = Scene(declared(Concurrency(2)))
    for name in "abcde":
        scene.call(name)

    assert ["a", "b"] == scene.begun
    scene.end("b")
    scene.end("b")
    assert ["a", "b", "c"] == scene.begun
    scene.end("a")
    scene.end("c")
    assert ["a", "b", "c", "d", "e"] == scene.begun


def test_a_call_that_is_taken_back_before_it_began_never_begins() -> None:
    """Its place in the queue is the next one's, wherever it stood."""
    scene = Scene(declared(Concurrency(1)))
    for name in "abcd":
        scene.call(name)

    scene.end("b")
    scene.end("d")
    scene.end("a")
    assert ["a", "c"] == scene.begun
    scene.end("c")
    assert ["a", "c"] == scene.begun
    assert 0 == len(scene.limits)


def test_each_key_has_its_own_limit() -> None:
    """The key is made of the arguments, as the function gets them, with defaults."""
    scene = Scene(declared(Concurrency(1, key=customer)))
    for name, who in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        scene.call(name, customer=who)

    assert ["a1", "b1"] == scene.begun
    scene.end("a1")
    assert ["a1", "b1", "a2"] == scene.begun


def test_so_many_begin_in_any_time_of_that_length() -> None:
    """The window slides: what began at its end counts in the next."""
    scene = Scene(declared(rate=Rate(2, per_seconds=10)))
    scene.call("a")
    scene.time.turn(9)
    for name in "bcde":
        scene.call(name)

    assert ["a", "b"] == scene.begun
    scene.time.turn(1)
    assert ["a", "b", "c"] == scene.begun
    scene.time.turn(8.9)
    assert ["a", "b", "c"] == scene.begun
    scene.time.turn(0.1)
    assert ["a", "b", "c", "d"] == scene.begun
    scene.time.turn(1)
    assert ["a", "b", "c", "d", "e"] == scene.begun


def test_the_end_of_a_call_changes_no_rate() -> None:
    """What has begun has begun."""
    scene = Scene(declared(rate=Rate(1, per_seconds=10)))
    scene.call("a")
    scene.call("b")
    scene.end("a")

    assert ["a"] == scene.begun


def test_a_call_that_one_key_holds_back_lets_others_pass() -> None:
    """A busy customer does not keep the shop's places free for itself."""
    scene = Scene(declared(Concurrency(2, key=shop), Rate(1, 10, key=customer)))
    for name, who in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        scene.call(name, customer=who)

    assert ["a1", "b1"] == scene.begun
    scene.time.turn(10)
    assert ["a1", "b1"] == scene.begun
    scene.end("b1")
    assert ["a1", "b1", "a2"] == scene.begun


def test_what_is_free_goes_to_the_oldest_that_can_use_it() -> None:
    """Of all customers, not to all calls of one."""
    scene = Scene(declared(Concurrency(1, key=customer), Rate(2, 10)))
    scene.call("x1", customer="x")
    scene.call("x2", customer="x")
    scene.call("y1", customer="y")
    for number, who in enumerate("abab"):
        scene.call(f"{who}{number}", customer=who)
    assert ["x1", "y1"] == scene.begun
    scene.end("x1")
    scene.time.turn(10)

    assert ["x1", "y1", "x2", "a0"] == scene.begun
    scene.time.turn(10)
    assert ["x1", "y1", "x2", "a0", "b1"] == scene.begun
    scene.end("a0")
    assert ["x1", "y1", "x2", "a0", "b1", "a2"] == scene.begun


keys = st.sampled_from(["a", "b", "c"])
moves = st.one_of(
    st.tuples(st.just("call"), keys, keys),
    st.tuples(st.just("end"), st.integers(0, 40), st.just("")),
    st.tuples(st.just("turn"), st.sampled_from([0.5, 1.0, 3.0]), st.just("")),
)


@given(
    moves=st.lists(moves, max_size=60),
    at_once=st.integers(1, 3),
    in_time=st.integers(1, 3),
    keyed=st.tuples(st.booleans(), st.booleans()),
)
def test_limits_hold_and_nobody_waits_for_nothing(
    moves: list[tuple[str, Any, str]], at_once: int, in_time: int, keyed: tuple[bool, bool]
) -> None:
    """Whatever happens: no limit is passed, no call is held back by a free one, none begins twice."""
    of_customer, of_shop = customer if keyed[0] else None, shop if keyed[1] else None
    scene = Scene(declared(Concurrency(at_once, key=of_customer), Rate(in_time, 2.0, key=of_shop)))
    calls: list[tuple[str, str]] = []
    ended: set[int] = set()
    for what, first, second in moves:
        if what == "call":
            calls.append((first, second))
            scene.call(len(calls) - 1, customer=first, shop=second)
        elif what == "end" and first < len(calls):
            scene.end(first)
            ended.add(first)
        elif what == "turn":
            scene.time.turn(first)
        assert len(scene.begun) == len(set(scene.begun))
        running = Counter(calls[n][0] if keyed[0] else "" for n in scene.begun if n not in ended)
        assert all(count <= at_once for count in running.values())
        used = Counter(
            calls[n][1] if keyed[1] else "" for n, at in scene.begun_at.items() if at > scene.time.now - 2.0
        )
        assert all(count <= in_time for count in used.values())
        for number, (who, where) in enumerate(calls):
            if number not in scene.begun_at and number not in ended:
                busy = running[who if keyed[0] else ""] == at_once
                assert busy or used[where if keyed[1] else ""] == in_time
    for number in range(len(calls)):
        scene.end(number)
    scene.time.turn(10)
    assert 0 == len(scene.limits)
    assert 0 == scene.time.waiting()


@given(customers=st.lists(keys, max_size=40))
def test_calls_of_one_key_begin_in_their_order(customers: list[str]) -> None:
    """First come, first served."""
    scene = Scene(declared(Concurrency(1, key=customer), Rate(1, 1.0)))
    order: dict[str, list[int]] = defaultdict(list)
    for number, who in enumerate(customers):
        scene.call(number, customer=who)
    for _ in customers:
        for number in scene.begun:
            scene.end(number)
        scene.time.turn(1)
    for number in scene.begun:
        order[customers[number]].append(number)

    assert sorted(scene.begun) == list(range(len(customers)))
    assert all(numbers == sorted(numbers) for numbers in order.values())


def test_keys_are_forgotten_when_nobody_uses_them() -> None:
    """Memory is bounded by what waits, runs, or began not long ago."""
    scene = Scene(declared(Concurrency(1, key=customer), Rate(1, 5, key=customer)))
    for number in range(100):
        scene.call(number, customer=str(number))
        scene.end(number)
    assert 100 == len(scene.limits)
    scene.time.turn(5)

    assert 0 == len(scene.limits)
    assert 0 == scene.time.waiting()


def test_calls_that_are_taken_back_leave_nothing_behind() -> None:
    """Also while a call that never ends holds all of them back."""
    scene = Scene(declared(Concurrency(1), Rate(1_000_000, 1, key=customer)))
    scene.call("holds", customer="")
    for number in range(3 * DEAD_LANES_KEPT):
        scene.call(number, customer=str(number))
        scene.end(number)
    held = scene.limits._concurrencies["charge", "concurrency", ""]

    assert 2 == len(scene.limits)
    assert len(held.parked) <= DEAD_LANES_KEPT + 1


def test_what_begins_may_end_at_once_a_thousand_times() -> None:
    """A call that is not wanted any more when its turn comes is released while it begins."""
    limits, begun = Limits(Time()), []
    charge = declared(Concurrency(1))
    first = limits.admit(charge, {}, lambda: None)
    releases: dict[int, Callable[[], None] | None] = {}

    def begin(number: int) -> None:
        begun.append(number)
        release = releases[number]
        assert release is not None
        release()

    for number in range(10_000):
        releases[number] = limits.admit(charge, {}, lambda number=number: begin(number))
    assert first is not None
    first()

    assert list(range(10_000)) == begun
    assert 0 == len(limits)


def test_a_key_that_cannot_be_computed_is_the_calls_fault() -> None:
    """It never begins, and holds nothing; the next one is asked again."""

    def broken(customer: str, shop: str) -> str:
        return {"ada": "a"}[customer]

    scene = Scene(declared(Concurrency(1, key=broken)))
    with pytest.raises(Faulted) as refusal:
        scene.call("b", customer="bob")
    with pytest.raises(Faulted, match="parameter `customer`"):
        scene.call("c", customer=7)
    scene.call("a", customer="ada")

    assert "the concurrency key of step `charge` could not be computed: KeyError" in refusal.value.message
    assert ["a"] == scene.begun
    with pytest.raises(Faulted, match=r"the rate key of step `charge` is a int, expected a text"):
        Scene(declared(rate=Rate(1, key=lambda customer, shop: 7))).call("a")  # type: ignore[arg-type, return-value]


async def test_steps_admit_by_the_functions_name() -> None:
    """Steps without limits, and all other functions, begin at once; real time lets the others begin."""

    @step(rate=Rate(1, per_seconds=1e-9), retry=Retry())
    async def ping() -> int:
        return 1

    @step
    async def pong() -> int:
        return 2

    steps, begun = Steps(), []
    steps.know(ping)
    steps.know(pong)
    first = steps.find("python.ping")
    second = steps.find("python.pong")
    assert first is not None
    assert second is not None
    assert (True, False) == (first.limited, second.limited)
    assert steps.admit("python.pong", {}, lambda: begun.append("pong")) is None
    assert steps.admit("sql.query:1.0.0", {}, lambda: begun.append("sql")) is None
    for number in range(3):
        assert steps.admit("python.ping:1.0.0", {}, lambda number=number: begun.append(number)) is not None
    while len(begun) < 5:
        await perform(steps, pong)
    await steps.close()

    assert ["pong", "sql", 0, 1, 2] == begun
