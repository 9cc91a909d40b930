"""Plays one seed, or many, and prints what is needed to play them again.

python -m tests.reliability.simulation --seed 17                       that seed
python -m tests.reliability.simulation --seed 17 --trace               with all that happened
python -m tests.reliability.simulation --seed 17 --bug "a gap in seq"  with a bug of the zoo
python -m tests.reliability.simulation --seed 1 --seeds 10000          many, and what they covered
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections import Counter

from tests.reliability.simulation.layer import played
from tests.reliability.simulation.plan import Plan
from tests.reliability.simulation.play import let_go
from tests.reliability.zoo import BUGS


def main() -> int:
    """Play; return 1 if something was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--bug", choices=sorted(BUGS), metavar="NAME", help="switch on a bug of the zoo")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    given = parser.parse_args()
    gc.disable()
    failed = 0
    counts: Counter[str] = Counter()
    for number, seed in enumerate(range(given.seed, given.seed + given.seeds), 1):
        outcome = played(seed, given.bug, traced=given.trace)
        counts.update(outcome.counts)
        if given.trace:
            print(*outcome.trace, sep="\n")
        if outcome.violations:
            failed += 1
            with_bug = f' --bug "{given.bug}"' if given.bug else ""
            print(f"seed {seed}: python -m tests.reliability.simulation --seed {seed}{with_bug} --trace")
            for violation in outcome.violations:
                print(f"  {violation.invariant} {violation.run}: {violation.seen}")
        if number % 100 == 0:
            let_go()
    if given.seeds == 1:
        print(f"seed {given.seed}: {_said(Plan(given.seed))}")
    for name, count in sorted(counts.items()):
        print(f"{count:10d}  {name}")
    print(f"{given.seeds} seeds, {failed} violate something")
    return 1 if failed else 0


def _said(plan: Plan) -> str:
    endings = " -> ".join(str(life.target or life.ending or "no fault") for life in plan.lives)
    return f"theme {plan.theme}, lives: {endings}"


if __name__ == "__main__":
    sys.exit(main())
