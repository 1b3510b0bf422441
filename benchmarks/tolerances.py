"""How far outputs are from the reference's when nothing is wrong: what the tolerances of accuracy are calibrated on.

`python benchmarks/tolerances.py builtin:resnet18 builtin:bert` runs `benchfw check` on every backend of BACKENDS in
every precision for several seeds, which draw the weights and the inputs, and prints a row per model, backend and
precision: the 99th percentile over all seeds, inputs and outputs of the relative L2 distance and of the share of
elements outside, times 3, beside what fails now (docs/concepts/accuracy.md); what is above its limit is bold. What a
backend cannot compute in is said and left out. Seeds, inputs and sizes of the models that come with benchfw are those
of SETTINGS unless options say otherwise.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchfw.spec.accuracy import TOLERANCES

FACTOR = 3.0
BACKENDS = ("ort-cpu", "openvino", "torch-eager")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
_MAY_END = (0, 3, 5)
_HEADER = (
    *("model", "backend", "precision", "outputs"),
    *("p99 rel. L2, times 3", "fails above", "p99 share, times 3", "at most"),
)


@dataclass(frozen=True)
class Setting:
    """How a model is calibrated.

    Attributes:
        seeds: Of weights and inputs.
        samples: Inputs for each seed, batch 1.
        sizes: `--size` of `benchfw check`: small, as one core has to do it.
    """

    seeds: int = 5
    samples: int = 20
    sizes: tuple[str, ...] = ()


SETTINGS = {
    "builtin:mlp": Setting(),
    "builtin:resnet18": Setting(seeds=3, sizes=("height=64", "width=64")),
    "builtin:resnet50": Setting(seeds=2, samples=10, sizes=("height=64", "width=64")),
    "builtin:bert": Setting(seeds=1, samples=10, sizes=("sequence=32",)),
    "builtin:vit": Setting(seeds=1, samples=10),
    "builtin:detr": Setting(seeds=1, samples=10, sizes=("height=128", "width=128")),
}


def main() -> None:
    """Print the table."""
    arguments, more = _parsed()
    print(f"| {' | '.join(_HEADER)} |")
    print(f"| {' | '.join('---' for _ in _HEADER)} |")
    for model in arguments.models:
        rows = list(_rows(model, arguments, more))
        for key in dict.fromkeys((row["backend"], row["precision"]) for row in rows):
            mine = [row for row in rows if (row["backend"], row["precision"]) == key]
            print(f"| {' | '.join((model, *key, *_cells(key[1], mine)))} |", flush=True)


def _cells(precision: str, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    limits = TOLERANCES[precision]
    l2, share = (FACTOR * float(np.quantile([row[name] for row in rows], 0.99)) for name in ("rel_l2", "outside_share"))
    any_share = limits.outside_share == 1.0
    yield str(len(rows))
    yield _marked(f"{l2:.1e}", l2 > limits.rel_l2)
    yield f"{limits.rel_l2:.0e}"
    yield "-" if any_share else _marked(f"{share:.2%}", share > limits.outside_share)
    yield "-" if any_share else f"{limits.outside_share:.2%}"


def _marked(text: str, above: bool) -> str:
    return f"**{text}**" if above else text


def _parsed() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="references of models")
    parser.add_argument("--backend", action="append", dest="backends", help=f"repeatable; default: {BACKENDS}")
    parser.add_argument("--precision", action="append", dest="precisions", help=f"repeatable; default: {PRECISIONS}")
    parser.add_argument("--size", action="append", dest="sizes", help="AXIS=N; repeatable")
    parser.add_argument("--seeds", type=int, help="seeds of weights and inputs")
    parser.add_argument("--samples", type=int, help="inputs for each seed")
    return parser.parse_known_args()  # all else is `benchfw check`'s: --batch, --threads, --against


def _rows(model: str, arguments: argparse.Namespace, more: list[str]) -> Iterator[dict[str, Any]]:
    """Yield rows of the table `accuracy` with `backend` and `precision`."""
    setting = SETTINGS.get(model, Setting())
    chosen = [f"--backend={name}" for name in arguments.backends or BACKENDS]
    chosen += [f"--precision={name}" for name in arguments.precisions or PRECISIONS]
    chosen += [f"--size={size}" for size in arguments.sizes or setting.sizes]
    for seed in range(arguments.seeds or setting.seeds):
        print(f"{model}: seed {seed}", file=sys.stderr)
        run = subprocess.run(
            [
                *(sys.executable, "-c", "from benchfw.cli import main; main()", "check", model, *chosen, *more),
                *(f"--seed={seed}", f"--samples={arguments.samples or setting.samples}", "--json"),
            ],
            stdout=subprocess.PIPE,
            check=False,
        )
        if run.returncode not in _MAY_END or not run.stdout:
            raise SystemExit(f"benchfw check ended with {run.returncode}")
        for item in json.loads(run.stdout)["checks"]:
            labels = {"backend": item["backend"], "precision": item["precision"]}
            if item["status"] != "OK":
                print(f"  {item['status']} {item['backend']} {item['precision']}: {item['reason']}", file=sys.stderr)
            yield from ({**labels, **row} for row in item["rows"])


if __name__ == "__main__":
    main()
