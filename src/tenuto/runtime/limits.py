"""How many calls of a step may be under way, and how many may begin in a time: for each key, in this process.

A call waits here, before it takes one of the worker's places for actions. Calls of the same keys begin
in their order. Where concurrency and rate have different keys, a call that one of them holds back lets
others pass; of those that could begin it is always the oldest that does, so none waits for ever.

    call ──▶ lane (all calls of the same keys, in order) ──▶ parked at the gauge that holds it back
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from tenuto.authoring.declare import Step
from tenuto.authoring.failures import fault_of_exception
from tenuto.engine.model import Json
from tenuto.errors import Faulted, configuration_fault
from tenuto.runtime.attempts import Alarm, Ticker
from tenuto.runtime.calling import AnyStep, given

Release: TypeAlias = Callable[[], None]

DEAD_LANES_KEPT: Final = 1_000
"""How many parked lanes without calls are kept beside as many with some."""


class _Call:
    """One call; `gauge` counts it while it is under way."""

    __slots__ = ("begin", "gauge", "lane", "number", "over")

    def __init__(self, number: int, begin: Callable[[], None], lane: _Lane) -> None:
        self.number = number
        self.begin = begin
        self.lane = lane
        self.gauge: _Concurrency | None = None
        self.over = False


class _Lane:
    """The calls of the same keys that wait, the oldest first."""

    __slots__ = ("gauges", "name", "parked", "waiting")

    def __init__(self, name: tuple[str, str | None, str | None], gauges: tuple[_Gauge, ...]) -> None:
        self.name = name
        self.gauges = gauges
        self.waiting: OrderedDict[int, _Call] = OrderedDict()
        self.parked: _Gauge | None = None

    def head(self) -> int:
        """Return the number of the oldest call; 0 if there is none."""
        return next(iter(self.waiting), 0)


class _Gauge:
    """One limit for one key: how much of it is used, and the lanes that it holds back, oldest first."""

    __slots__ = ("count", "dead", "lanes", "name", "parked")

    def __init__(self, name: tuple[str, str, str]) -> None:
        self.name = name
        self.count = 0
        self.parked: list[tuple[int, _Lane]] = []
        self.lanes = 0
        self.dead = 0

    def is_free(self, now: float) -> bool:
        """Tell whether one more may begin."""
        raise TypeError(f"{type(self).__name__} measures nothing")

    def is_used(self, now: float) -> bool:
        """Tell whether it has to be remembered."""
        return bool(self.lanes)

    def forget_dead(self) -> None:
        """A lane that is parked here has no calls any more: dead ones must not pile up."""
        self.dead += 1
        if self.dead > len(self.parked) // 2 + DEAD_LANES_KEPT:
            self.parked = [(number, lane) for number, lane in self.parked if lane.waiting]
            heapq.heapify(self.parked)
            self.dead = 0


class _Concurrency(_Gauge):
    """At most `count` under way."""

    __slots__ = ("running",)

    def __init__(self, name: tuple[str, str, str]) -> None:
        super().__init__(name)
        self.running = 0

    def is_free(self, now: float) -> bool:
        """Tell whether one more may begin."""
        return self.running < self.count

    def is_used(self, now: float) -> bool:
        """Tell whether it has to be remembered."""
        return bool(self.lanes or self.running)


class _Rate(_Gauge):
    """At most `count` beginnings in any `per_seconds`; `alarm` is when it is looked at next."""

    __slots__ = ("alarm", "begun", "per_seconds")

    def __init__(self, name: tuple[str, str, str]) -> None:
        super().__init__(name)
        self.per_seconds = 0.0
        self.begun: deque[float] = deque()
        self.alarm: float | None = None

    def is_free(self, now: float) -> bool:
        """Tell whether one more may begin."""
        begun = self.begun
        while begun and begun[0] + self.per_seconds <= now:
            begun.popleft()
        return len(begun) < self.count

    def is_used(self, now: float) -> bool:
        """Tell whether it has to be remembered."""
        self.is_free(now)
        return bool(self.lanes or self.begun)


class Limits:
    """The limits of all steps of one App; belongs to one event loop."""

    def __init__(self, ticker: Ticker | None = None) -> None:
        """Use this time; without it that of the running event loop."""
        self._given_ticker = ticker
        self._concurrencies: dict[tuple[str, str, str], _Concurrency] = {}
        self._rates: dict[tuple[str, str, str], _Rate] = {}
        self._lanes: dict[tuple[str, str | None, str | None], _Lane] = {}
        self._numbers = 0
        self._ready: deque[_Call] = deque()
        self._starting = False
        self._alarms: list[tuple[float, int, _Rate]] = []
        self._alarm: Alarm | None = None
        self._alarm_at = 0.0

    def __len__(self) -> int:
        """Return how many keys are remembered: of calls that wait, run, or began not long ago."""
        return len(self._concurrencies) + len(self._rates)

    def admit(
        self, step: Step[..., Any], arguments: dict[str, Json], begin: Callable[[], None]
    ) -> Release | None:
        """Call `begin` now, or as soon as the step's limits allow.

        Returns what has to be called once the call has ended, or is not wanted any more (a second time
        does nothing); None for a step without limits. Raises `Faulted` if a key cannot be computed:
        `begin` is not called then.
        """
        if step.concurrency is None and step.rate is None:
            begin()
            return None
        lane = self._lane(step, arguments)
        self._numbers += 1
        call = _Call(self._numbers, begin, lane)
        lane.waiting[call.number] = call
        if lane.parked is None:
            self._offer(lane, lane.gauges[0], self._ticker.time())
            self._start_ready()
        return lambda: self._release(call)

    def close(self) -> None:
        """Let nothing begin any more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for kept in (self._concurrencies, self._rates, self._lanes, self._alarms, self._ready):
            kept.clear()

    @property
    def _ticker(self) -> Ticker:
        return asyncio.get_running_loop() if self._given_ticker is None else self._given_ticker

    # ── where a call waits ────────────────────────────────────────────────────────────

    def _lane(self, step: AnyStep, arguments: dict[str, Json]) -> _Lane:
        concurrency, rate = step.concurrency, step.rate
        first = second = None
        if concurrency is not None:
            first = _key(step, "concurrency", concurrency.key, arguments)
        if rate is not None:
            shared = concurrency is not None and rate.key is concurrency.key
            second = first if shared else _key(step, "rate", rate.key, arguments)
        name = (step.name, first, second)
        gauges: list[_Gauge] = []
        if concurrency is not None and first is not None:
            measured = self._concurrencies.get((step.name, "concurrency", first))
            if measured is None:
                measured = _Concurrency((step.name, "concurrency", first))
                self._concurrencies[measured.name] = measured
            measured.count = concurrency.count
            gauges.append(measured)
        if rate is not None and second is not None:
            paced = self._rates.get((step.name, "rate", second))
            if paced is None:
                paced = self._rates[step.name, "rate", second] = _Rate((step.name, "rate", second))
            paced.count, paced.per_seconds = rate.count, rate.per_seconds
            gauges.append(paced)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane(name, tuple(gauges))
            for gauge in gauges:
                gauge.lanes += 1
        return lane

    def _offer(self, lane: _Lane, back: _Gauge, now: float) -> None:
        """Let the oldest call of a lane begin, or park the lane at what holds it back.

        Others go back to the gauge that offers: there may be older calls in other lanes.
        """
        for gauge in lane.gauges:
            if not gauge.is_free(now):
                self._park(lane, gauge)
                return
        _, call = lane.waiting.popitem(last=False)
        for gauge in lane.gauges:
            if isinstance(gauge, _Concurrency):
                gauge.running += 1
                call.gauge = gauge
            elif isinstance(gauge, _Rate):
                gauge.begun.append(now)
                self._arm(gauge)
        self._ready.append(call)
        if lane.waiting:
            self._park(lane, back)
        else:
            self._end_lane(lane, now)

    def _park(self, lane: _Lane, gauge: _Gauge) -> None:
        lane.parked = gauge
        heapq.heappush(gauge.parked, (lane.head(), lane))
        if isinstance(gauge, _Rate):
            self._arm(gauge)

    def _end_lane(self, lane: _Lane, now: float) -> None:
        """Nobody waits in a lane any more."""
        del self._lanes[lane.name]
        for gauge in lane.gauges:
            gauge.lanes -= 1
            self._tidy(gauge, now)

    def _tidy(self, gauge: _Gauge, now: float) -> None:
        if gauge.is_used(now):
            return
        kept: dict[tuple[str, str, str], Any] = (
            self._rates if isinstance(gauge, _Rate) else self._concurrencies
        )
        if kept.get(gauge.name) is gauge:
            del kept[gauge.name]

    # ── when something becomes free ───────────────────────────────────────────────────

    def _release(self, call: _Call) -> None:
        if call.over:
            return
        call.over = True
        lane, now = call.lane, self._ticker.time()
        if lane.waiting.pop(call.number, None) is not None:
            if not lane.waiting:
                if lane.parked is not None:
                    lane.parked.forget_dead()
                self._end_lane(lane, now)
            return
        gauge, call.gauge = call.gauge, None
        if gauge is not None:
            gauge.running -= 1
            self._wake(gauge, now)
            self._tidy(gauge, now)
            self._start_ready()

    def _wake(self, gauge: _Gauge, now: float) -> None:
        """Offer a limit to those that it holds back, as long as there is something of it."""
        while gauge.parked and gauge.is_free(now):
            number, lane = heapq.heappop(gauge.parked)
            if not lane.waiting:
                gauge.dead = max(gauge.dead - 1, 0)
            elif lane.head() != number:
                heapq.heappush(gauge.parked, (lane.head(), lane))  # the oldest was taken back
            else:
                lane.parked = None
                self._offer(lane, gauge, now)

    def _start_ready(self) -> None:
        """Begin what may begin; a `begin` that lets others begin does not call them."""
        if self._starting:
            return
        self._starting = True
        try:
            while self._ready:
                call = self._ready.popleft()
                if not call.over:
                    call.begin()
        finally:
            self._starting = False

    # ── time ──────────────────────────────────────────────────────────────────────────

    def _arm(self, rate: _Rate) -> None:
        """See to it that a rate is looked at when it lets the next begin, or can be forgotten."""
        at = (rate.begun[0] if rate.parked else rate.begun[-1]) + rate.per_seconds
        if rate.alarm is None or at < rate.alarm:
            rate.alarm = at
            self._numbers += 1
            heapq.heappush(self._alarms, (at, self._numbers, rate))
            self._set_alarm()

    def _set_alarm(self) -> None:
        if not self._alarms:
            return
        at = self._alarms[0][0]
        if self._alarm is not None:
            if self._alarm_at <= at:
                return
            self._alarm.cancel()
        ticker = self._ticker
        self._alarm_at = at
        self._alarm = ticker.call_later(max(at - ticker.time(), 0.0), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        now = self._ticker.time()
        while self._alarms and self._alarms[0][0] <= now:
            at, _, rate = heapq.heappop(self._alarms)
            if rate.alarm != at:
                continue
            rate.alarm = None
            self._wake(rate, now)
            rate.is_free(now)  # forgets what is long ago
            if rate.begun:
                self._arm(rate)
            else:
                self._tidy(rate, now)
        self._set_alarm()
        self._start_ready()


def _key(step: AnyStep, what: str, function: Callable[..., str] | None, arguments: dict[str, Json]) -> str:
    """Return the key of a call; raises `Faulted` if it cannot be computed."""
    if function is None:
        return ""
    names = step.parameters.names
    args, kwargs = given(step, {name: value for name, value in arguments.items() if name in names})
    where = f"the {what} key of step `{step.name}`"
    try:
        key: object = function(*args, **kwargs)
    except Exception as error:
        fault = fault_of_exception(error)
        detail = f"{where} could not be computed: {type(error).__qualname__}: {fault.detail}"
        raise Faulted(msgspec.structs.replace(fault, detail=detail)) from None
    if not isinstance(key, str):
        raise configuration_fault(
            f"{where} is a {type(key).__qualname__}, expected a text (write `key=lambda ...: str(...)`)"
        )
    return key
