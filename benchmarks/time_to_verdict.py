"""Seconds of measuring until a median is known to 1 %: by benchfw's stopping rule, and by 10 000 iterations.

`benchmarks/.venv-tools/bin/python benchmarks/time_to_verdict.py [--pairs N] [--iterations N]`, with any Python that has
benchfw and its plugins for torch and ONNX Runtime. Both are `benchfw time` on ResNet-18 at batch 1 and 112x112, so that
they differ in nothing but when they end: at effort `quick`, or after a number of iterations that is given. They take
turns, A B B A. One thread, since the machine may not be ours alone. The interval is benchfw's of the median, corrected
for autocorrelation, half of it over the median, of all iterations that were measured; `verdict` is what benchfw says of
the case, which also looks at whether the iterations are steady.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import benchfw
from benchfw.stats import quantile_interval

RULE, FIXED = "stopping rule", "fixed"
COMMAND = [
    "time",
    "builtin:resnet18",
    "--backend",
    "ort-cpu",
    "--size",
    "height=112",
    "--size",
    "width=112",
    "--threads",
    "1",
]


def limits(arm: str, iterations: int) -> list[str]:
    """Return what makes a run end where `arm` says; a median that is known to a billionth is never reached."""
    if arm == RULE:
        return []
    keys = {"median_width": 1e-9, "max_time": 3600, "max_iterations": iterations}
    return [word for key, value in keys.items() for word in ("--set", f"measure.{key}={value}")]


def measure(arm: str, iterations: int, folder: Path) -> tuple[pd.Series, NDArray[np.int64]]:
    """Run `benchfw time` and return the row of its case and the latencies that were measured, in time order."""
    code = "from benchfw.cli import main; main()"
    command = [sys.executable, "-c", code, *COMMAND, *limits(arm, iterations), "--results", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if not folder.is_dir():
        raise SystemExit(done.stderr)
    results = benchfw.load(folder)
    row = results.cases.iloc[0]
    if row["status"] != "OK":
        raise SystemExit(f"{row['status']}: {row['status_reason']}")
    rows = results.iterations
    return row, rows[rows["phase"] == "measure"].sort_values("start_ns")["host_latency_ns"].to_numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=10_000)
    arguments = parser.parse_args()
    print(f"CPython {platform.python_version()}, onnxruntime {version('onnxruntime')}")
    print(f"{'':15} iterations  measured s  warm-up s  median ms  interval  verdict         load")
    taken: dict[str, list[float]] = {RULE: [], FIXED: []}
    with tempfile.TemporaryDirectory() as name:
        for pair in range(arguments.pairs):
            for arm in (RULE, FIXED) if pair % 2 == 0 else (FIXED, RULE):
                row, latencies = measure(arm, arguments.iterations, Path(name) / f"{pair} {arm}")
                median = quantile_interval(latencies, 0.5)
                print(
                    f"{arm:15} {len(latencies):10} {row['measured_s']:11.2f} {row['warmup_s']:10.2f} "
                    f"{median.value / 1e6:10.3f} {median.relative_half_width:9.2%}  {row['verdict']:15} "
                    f"{os.getloadavg()[0]:.1f}",
                    flush=True,
                )
                taken[arm].append(row["measured_s"])
    rule, fixed = np.array(taken[RULE]), np.array(taken[FIXED])
    print(f"median of measuring: {np.median(rule):.2f} s by the rule, {np.median(fixed):.1f} s fixed", end="; ")
    ratios = fixed / rule
    print(f"fixed over rule, pair by pair: median {np.median(ratios):.0f}, {ratios.min():.0f} to {ratios.max():.0f}")


if __name__ == "__main__":
    main()
