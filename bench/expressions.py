"""What one evaluation of an expression costs: `python bench/expressions.py [--rounds N] [--json]`.

Each expression is evaluated in the first lane (in process), in the second (a warm child), and by the jq
package alone, compiled once, in alternating rounds. Medians, in microseconds. The bound: 1 µs in the
first lane for each of the commonest shapes, marked with *.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import jq

from tenuto.language.expressions import parse
from tenuto.runtime.evaluation import Evaluator

BOUND_US = 1.0
ORDER = {
    "id": 4711,
    "customer": {"name": "Ada", "email": "ada@example.com", "vip": True},
    "items": [{"sku": f"s{at}", "price": at * 3 % 17, "count": at % 4} for at in range(20)],
    "total": 120,
}
VARIABLES = {"context": {"region": "eu", "limits": {"total": 100}}, "item": 7}
NOW = 1700000000.5

COMMON = [
    ".",
    ".total",
    ".customer.email",
    "$item",
    "$context.region",
    "$context.limits.total",
    '"fixed"',
    ". + {state: $context.region}",
    ".total > 100",
    '.customer.name == "Ada"',
    "{id: .id, name: .customer.name}",
    '"order \\(.id) of \\(.customer.name)"',
]
OTHER = [
    ".missing.field",
    ".customer.vip and .total > $context.limits.total",
    "[.items[] | select(.price > 8) | .sku]",
    "[.items[] | .price * .count] | add",
    ".items | map({sku, price}) | sort_by(.price)",
    '.items | map(.sku) | join(", ")',
    ".items[3].price |= . + 1",
    "reduce .items[] as $i (0; . + $i.price)",
]
SECOND = ['.customer.email | test("^[a-z]+@")', '.customer.email | sub("@.*"; "")', "def f: .total; f"]


def per_call_us(function: Callable[[], object], seconds: float) -> float:
    """Return what one call costs, from as many calls as fit into the time."""
    count = 1
    while True:
        started = time.perf_counter()
        for _ in range(count):
            function()
        taken = time.perf_counter() - started
        if taken >= seconds:
            return taken / count * 1e6
        count = max(count + 1, int(count * min(seconds / max(taken, 1e-9) * 1.2, 100)))


async def second_lane_us(evaluator: Evaluator, text: str, count: int) -> float:
    """Return what one evaluation in a warm child costs."""
    await evaluator.evaluate(text, ORDER, VARIABLES, NOW)
    started = time.perf_counter()
    for _ in range(count):
        await evaluator.evaluate(text, ORDER, VARIABLES, NOW)
    return (time.perf_counter() - started) / count * 1e6


def package(text: str) -> Callable[[], object]:
    """Return the evaluation by the jq package, its input given as a value each time."""
    program = jq.compile(f". as $in | $in.context as $context | $in.item as $item | $in.input | {text}")
    wrapped = {"input": ORDER, **VARIABLES}
    return lambda: program.input_value(wrapped).first()


async def measure(rounds: int) -> list[dict[str, Any]]:
    """Return a row for each expression."""
    taken: dict[str, dict[str, list[float]]] = {
        text: {"first": [], "second": [], "package": []} for text in (*COMMON, *OTHER, *SECOND)
    }
    evaluator = Evaluator()
    try:
        for _ in range(rounds):
            for text, times in taken.items():
                expression = parse(text)
                if expression.inline:
                    times["first"].append(
                        per_call_us(lambda e=expression: e.evaluate(ORDER, VARIABLES, NOW), 0.01)
                    )
                times["second"].append(await second_lane_us(evaluator, text, 50))
                times["package"].append(per_call_us(package(text), 0.01))
    finally:
        await evaluator.close()
    return [
        {"expression": text, "common": text in COMMON}
        | {lane: statistics.median(values) if values else None for lane, values in times.items()}
        for text, times in taken.items()
    ]


def commit() -> str:
    """Return the commit that is measured."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def main() -> int:
    """Measure and print; 1 if a common shape is over the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = asyncio.run(measure(options.rounds))
    if options.json:
        print(
            json.dumps(
                {"commit": commit(), "machine": platform.machine(), "unit": "us", "rows": rows}, indent=2
            )
        )
    else:
        print(f"commit {commit()}, Python {platform.python_version()}, median of {options.rounds} rounds, µs")
        print(f"{'expression':50} {'first lane':>10} {'second':>10} {'jq package':>10}")
        for row in rows:
            cells = [
                f"{row[lane]:10.2f}" if row[lane] is not None else f"{'-':>10}"
                for lane in ("first", "second", "package")
            ]
            print(f"{('* ' if row['common'] else '  ') + row['expression']:50} {' '.join(cells)}")
    return int(any(row["common"] and row["first"] > BOUND_US for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
