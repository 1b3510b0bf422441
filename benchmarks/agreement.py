"""Does benchfw time an engine of TensorRT as the shortest loop does that one writes by hand?

`python benchmarks/agreement.py SCENARIO [--pairs N] [--seconds S]`, on a machine with a GPU. SCENARIO has `trt-static`
as its only backend, at one precision and one batch, with the graphs that are wanted and `cache = "warm"`, as
`agreement.toml` beside this file. `benchfw run` and `bare_tensorrt.py`, which loads the engine that benchfw has built
and knows nothing of benchfw, take turns, each time in new processes, in the order A B B A. Of each figure the table has
both medians over their processes with the range, and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomllib

import benchfw

BARE = Path(__file__).with_name("bare_tensorrt.py")
FIGURES = ("latency_p50_ns", "enqueue_p50_ns", "compute_p50_ns", "inferences_per_s")
Found = Mapping[str, Mapping[str, float]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--pairs", type=int, default=2, help="how often A B B A is run")
    parser.add_argument("--seconds", type=float, default=1.0, help="what each loop by hand lasts")
    options = parser.parse_args()
    scenario = tomllib.loads(options.scenario.read_text())
    by_benchfw(options.scenario)  # builds the engine
    engine = find_engine()
    found: dict[str, list[Found]] = {"benchfw": [], "by hand": []}
    for _ in range(options.pairs):
        for who in ("benchfw", "by hand", "by hand", "benchfw"):
            one = by_benchfw(options.scenario) if who == "benchfw" else by_hand(scenario, engine, options.seconds)
            found[who].append(one)
    print_table(found)


def by_benchfw(scenario: Path) -> Found:
    """Run the scenario and return its figures by `graph`."""
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, "-m", "benchfw", "run", str(scenario), "--out", results, "--quiet"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        cases = benchfw.load(results).cases
        failed = cases[cases.status != "OK"]
        if len(failed) or not len(cases):
            raise SystemExit(f"{list(failed.status_reason)}\n{done.stderr[-2000:]}")
        return {
            str(case.graph): {
                **{name: float(case[name]) for name in FIGURES[:3]},
                "inferences_per_s": float(case.throughput_samples_s) / float(case.batch),
            }
            for _, case in cases.iterrows()
        }


def find_engine() -> Path:
    """Return the engine that was used last."""
    command = [sys.executable, "-m", "benchfw", "cache", "ls", "--json"]
    entries = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["entries"]
    folder = next(Path(entry["path"]) for entry in entries if "EngineFromOnnx" in entry["step"])
    return max((file for file in folder.iterdir() if file.is_file()), key=lambda file: file.stat().st_size)


def by_hand(scenario: Mapping[str, Any], engine: Path, seconds: float) -> Found:
    """Run the loop by hand where the scenario runs its backend."""
    environment = scenario.get("environments", {}).get(scenario["backend"][0].get("environment"), {})
    python = environment.get("python", sys.executable)
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environment.get("env", {})
    command = [python, str(BARE), str(engine), str(seconds)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=variables)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    result: Found = json.loads(done.stdout.splitlines()[-1])
    return result


def print_table(found: Mapping[str, list[Found]]) -> None:
    """Print a row per graph and figure."""
    print("| graph | figure | benchfw | by hand | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for graph in sorted(found["benchfw"][0]):
        for figure in FIGURES:
            values: dict[str, list[float]] = defaultdict(list)
            for who, results in found.items():
                values[who] = [result[graph][figure] for result in results]
            ratio = statistics.median(values["benchfw"]) / statistics.median(values["by hand"])
            print(f"| {graph} | {figure} | {_cell(values['benchfw'])} | {_cell(values['by hand'])} | {ratio:.4f} |")


def _cell(values: list[float]) -> str:
    return f"{statistics.median(values):.0f}, {min(values):.0f} to {max(values):.0f}"


if __name__ == "__main__":
    main()
