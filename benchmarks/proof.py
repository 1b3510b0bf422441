"""What the statistics promise, tried on traces whose truth is known.

`python -m benchmarks.proof [--traces 400]` prints the tables of benchmarks/proof.md; it takes minutes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator

import numpy as np

from benchfw.testing.traces import DRIFTS, PROCESSES, SHAPES
from benchmarks.trials import (
    DESIGNS,
    LENGTHS,
    MARGIN,
    MIXTURES,
    bimodal,
    classified,
    effects,
    family_errors,
    invocation_coverage,
    mean_coverage,
    noise_floors,
    paired_coverage,
    quantile_coverage,
    shift_coverage,
    stopped_coverage,
    tail_coverage,
    two_sided,
    verdict_shares,
)

MEANS = ((0.0, 30), (0.9, 30), (0.99, 100))


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def coverage_tables(traces: int) -> Iterator[str]:
    rows = []
    for name in PROCESSES:
        for q in (0.5, 0.99):
            fixed, m = quantile_coverage(name, q, traces)
            stopped, n, _ = stopped_coverage(name, q, traces)
            early, early_n, _ = stopped_coverage(name, q, traces, early=True)
            cells = [f"{m:.0f}", f"{fixed:.3f}", f"{n:.0f}", f"{stopped:.3f}", f"{early_n:.0f}", f"{early:.3f}"]
            rows.append([name, f"p{100 * q:g}", f"{LENGTHS[name, q]}", *cells])
    yield "## Coverage of quantiles (nominal 0.95)"
    yield (
        "First with a fixed n; then stopped by the rule of the effort `standard` (median ± 0.5 %, p99 ± 2 %); then by\n"
        "the same rule without a least time and with small blocks, so that it may stop from 300 iterations on."
    )
    head = ["latencies", "quantile", "n", "m", "coverage", "n, stopped", "coverage", "n, stopped early", "coverage"]
    yield table(head, rows)
    yield "## Coverage of other intervals (nominal 0.95)"
    other = [(f"mean of {blocks} block means, rho {rho}", mean_coverage(rho, blocks, traces)) for rho, blocks in MEANS]
    other += [(f"across {count} invocations", invocation_coverage(count, traces)) for count in (2, 3, 5, 10)]
    other += [
        (f"paired effect, {rounds} rounds, {tail}", paired_coverage(rounds, tail, traces))
        for rounds in (6, 20, 80)
        for tail in ("normal", "t")
    ]
    other += [(f"shift of {count} and {count} invocations", shift_coverage(count, traces)) for count in (4, 5, 10)]
    other += [(f"ratio of p99s, {rounds} rounds", tail_coverage(rounds, traces)) for rounds in (20, 50)]
    yield table(["interval", "coverage"], ([name, f"{share:.3f}"] for name, share in other))


def class_tables(traces: int) -> Iterator[str]:
    yield "## Steady state: share of right classes"
    yield table(
        ["course of 100 blocks", "class", "rho 0", "rho 0.5"],
        ([name, SHAPES[name][0], *(f"{classified(name, rho, traces):.3f}" for rho in (0.0, 0.5))] for name in SHAPES),
    )
    yield "## Two modes: share of traces said to have them"
    sizes = (1000, 5000, 20_000)
    few = min(traces, 100)
    yield table(
        ["latencies", *(f"n = {n}" for n in sizes)],
        ([name, *(f"{bimodal(name, n, few):.2f}" for n in sizes)] for name in MIXTURES),
    )


def verdict_tables(traces: int) -> Iterator[str]:
    yield "## False verdicts, of two arms that are equal"
    rows = []
    for drift in DRIFTS:
        for design in DESIGNS:
            found = effects(drift, design, traces, 0.0)
            shares = (two_sided(verdict_shares(found, margin)) for margin in (0.0, MARGIN))
            error = math.sqrt(float(np.mean([math.log(effect.value) ** 2 for effect in found])))
            rows.append([drift, design, *(f"{share:.3f}" for share in shares), f"{error:.2%}"])
    yield table(["drift", "design", "margin 0", "margin 1 %", "root mean square error"], rows)
    yield "## Power: share of regressions found, arms in turns"
    rows = []
    for drift in DRIFTS:
        by_effect = [effects(drift, "in turns", traces, effect) for effect in (0.005, 0.01, 0.02, 0.05)]
        for margin in (0.0, MARGIN):
            found_shares = [verdict_shares(found, margin).get("regression", 0.0) for found in by_effect]
            rows.append([drift, f"{margin:.0%}", *(f"{share:.3f}" for share in found_shares)])
    yield table(["drift", "margin", "+0.5 %", "+1 %", "+2 %", "+5 %"], rows)
    yield "## Families: share with a false regression, members exactly at the margin"
    cells = ((1, 0), (5, 0), (5, 3), (20, 0), (20, 10))
    errors = {cell: family_errors(*cell, traces) for cell in cells}
    yield table(
        ["members", "far beyond the margin", "Holm", "no correction"],
        (
            [str(members), str(beyond), f"{share['Holm']:.3f}", f"{share['no correction']:.3f}"]
            for (members, beyond), share in errors.items()
        ),
    )
    yield "## Noise floors, of 20 rounds"
    floors = {drift: noise_floors(drift, traces) for drift in DRIFTS}
    yield table(
        ["drift", *floors["none"]],
        ([drift, *(f"{value:.2%}" for value in found.values())] for drift, found in floors.items()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage, false verdicts and power of the statistics, in Markdown.")
    parser.add_argument("--traces", type=int, default=400, help="traces per cell (400)")
    traces = parser.parse_args().traces
    print(f"# Proof of the statistics\n\nMade by `python -m benchmarks.proof --traces {traces}`: seeded simulations,")
    print(f"{traces} traces per cell, so that a share of 0.95 is known to ± {1.96 * math.sqrt(0.0475 / traces):.3f}.")
    print("What each statistic is: [Statistics](../docs/concepts/statistics.md).")
    for part in (coverage_tables, class_tables, verdict_tables):
        for text in part(traces):
            print(f"\n{text}", flush=True)


if __name__ == "__main__":
    main()
