"""`python -m pipeline_assets_tests.mutation`: try a sample of faults; fails when fewer than 90 % are caught."""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from . import targets
from .running import SURVIVED, Outcome, try_all, workshop
from .sampling import Mutant, candidates, drawn
from .survivors import argued, entry, reason

ENOUGH = 0.9


def main() -> int:
    """Draw, try, report."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    found = candidates(only=options.only)
    mutants, accepted = _sample(found, options.sample, options.seed)
    print(f"{len(found)} possible faults; seed {options.seed} draws {len(mutants)}.", flush=True)
    for mutant, why in accepted:
        print(f"{'argued':10} {mutant.title}: {why}", flush=True)
    if options.list:
        for mutant in mutants:
            print(f"{mutant.title}\n    - {mutant.before}\n    + {mutant.after}")
        return 0
    outcomes = []
    with workshop() as shop:
        for outcome in try_all(shop, mutants, jobs=options.jobs, stages=options.stages):
            outcomes.append(outcome)
            print(line(outcome), flush=True)
    print(report(outcomes), flush=True)
    return 0 if rate(outcomes) >= ENOUGH else 1


def _sample(found, size: int, seed: int) -> tuple[list[Mutant], list[tuple[Mutant, str]]]:
    """The sample, and what the seed drew besides that was argued before."""
    entries, accepted = argued(), []

    def counted():
        for mutant in drawn(found, seed):
            if why := reason(mutant, entries):
                accepted.append((mutant, why))
            else:
                yield mutant

    return list(islice(counted(), size)), accepted


def line(outcome: Outcome) -> str:
    """One line about a mutant, two more if it survived."""
    by = f"  by {outcome.test}" if outcome.test else ""
    said = f"{outcome.state:10} {outcome.mutant.title}{by}  ({outcome.seconds:.0f} s)"
    if outcome.state == SURVIVED:
        said += f"\n           - {outcome.mutant.before}\n           + {outcome.mutant.after}"
    return said


def rate(outcomes: Sequence[Outcome]) -> float:
    """The share of faults that were noticed; a test that hangs has noticed one."""
    return sum(outcome.state != SURVIVED for outcome in outcomes) / len(outcomes) if outcomes else 1.0


def report(outcomes: Sequence[Outcome]) -> str:
    """A table by package, the rate, and entries for those that survived."""
    groups: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        groups.setdefault(targets.group(outcome.mutant.file), Counter())[outcome.state] += 1
    states = sorted({outcome.state for outcome in outcomes})
    lines = ["", f"{'package':14}" + "".join(f"{state:>12}" for state in states)]
    lines += [f"{name:14}" + "".join(f"{groups[name][state]:>12}" for state in states) for name in sorted(groups)]
    noticed = sum(outcome.state != SURVIVED for outcome in outcomes)
    lines.append(f"\n{noticed} of {len(outcomes)} caught, {rate(outcomes):.0%}; {ENOUGH:.0%} are asked for.")
    survivors = [outcome.mutant for outcome in outcomes if outcome.state == SURVIVED]
    if survivors:
        lines.append("Write a test for each survivor, or argue it in survivors.toml:\n")
        lines += [f"{entry(mutant)}\n" for mutant in survivors]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline_assets_tests.mutation", description=__doc__)
    parser.add_argument("--sample", type=int, default=40, help="how many faults; 40 by default")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws other faults; 1 by default")
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="files whose path has this part")
    parser.add_argument("--jobs", type=int, default=2, help="faults tried at a time; 2 by default")
    parser.add_argument("--stages", type=int, help="ask only the nearest tests, e.g. 3; all by default")
    parser.add_argument("--list", action="store_true", help="print the sample and try nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
