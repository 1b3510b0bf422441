"""How far outputs are from the reference's when nothing is wrong: what the tolerances of accuracy are calibrated on.

`python benchmarks/tolerances.py builtin:resnet18 --backend ort-cpu --backend openvino --size height=64 --size width=64`
runs `benchfw check` for several seeds, which draw the weights and the inputs, and prints a row per model, backend and
precision: the 99th percentile over all seeds, inputs and outputs of the relative L2 distance and of the share of
elements outside, times 3, beside what fails now (docs/concepts/accuracy.md). What a backend cannot compute is said and
left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchfw.spec.accuracy import TOLERANCES

FACTOR = 3.0
_MAY_END = (0, 3, 5)


def main() -> None:
    """Print the table."""
    arguments, more = _parsed()
    rows = [row for model in arguments.models for row in _rows(model, arguments, more)]
    print(
        "| model | backend | precision | outputs | p99 rel. L2, times 3 | fails above | p99 share, times 3 | at most |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for key in dict.fromkeys((row["model"], row["backend"], row["precision"]) for row in rows):
        mine = [row for row in rows if (row["model"], row["backend"], row["precision"]) == key]
        limits = TOLERANCES[key[2]]
        l2, share = (
            FACTOR * float(np.quantile([row[name] for row in mine], 0.99)) for name in ("rel_l2", "outside_share")
        )
        cells = (*key, len(mine), f"{l2:.1e}", f"{limits.fail:.0e}", f"{share:.2%}", f"{limits.share:.2%}")
        print(f"| {' | '.join(map(str, cells))} |")


def _parsed() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="references of models")
    parser.add_argument("--backend", action="append", required=True, dest="backends", help="repeatable")
    parser.add_argument(
        "--precision", action="append", default=None, dest="precisions", help="repeatable; default: fp32"
    )
    parser.add_argument("--seeds", type=int, default=5, help="seeds of weights and inputs; default: 5")
    parser.add_argument("--samples", type=int, default=20, help="inputs for each seed; default: 20")
    return parser.parse_known_args()  # all else is `benchfw check`'s: --size, --batch, --threads, --against


def _rows(model: str, arguments: argparse.Namespace, more: list[str]) -> Iterator[dict[str, Any]]:
    """Yield rows of the table `accuracy` with `model`, `backend` and `precision`."""
    chosen = [f"--backend={name}" for name in arguments.backends]
    chosen += [f"--precision={name}" for name in arguments.precisions or ["fp32"]]
    for seed in range(arguments.seeds):
        print(f"{model}: seed {seed}", file=sys.stderr)
        run = subprocess.run(
            [
                *(sys.executable, "-c", "from benchfw.cli import main; main()", "check", model, *chosen, *more),
                *(f"--seed={seed}", f"--samples={arguments.samples}", "--json"),
            ],
            stdout=subprocess.PIPE,
            check=False,
        )
        if run.returncode not in _MAY_END or not run.stdout:
            raise SystemExit(f"benchfw check ended with {run.returncode}")
        for item in json.loads(run.stdout)["checks"]:
            labels = {"model": model, "backend": item["backend"], "precision": item["precision"]}
            if item["status"] != "OK":
                print(f"  {item['status']} {item['backend']} {item['precision']}: {item['reason']}", file=sys.stderr)
            yield from ({**labels, **row} for row in item["rows"])


if __name__ == "__main__":
    main()
