"""How long it takes to read ten million iterations: p50 and p99 of each of 40 cases, by DuckDB and by pandas.

`benchmarks/.venv-tools/bin/python benchmarks/reading.py [--results FOLDER]`; `benchmarks/setup_tools.sh` makes the
environment. The run is written by benchfw's own writer, in ten cohorts of four cases; latencies are lognormal and
correlated in time. Every query is asked several times, in turns, of files that the system has in its cache.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

import benchfw
from benchfw.store.writer import RunWriter

COHORTS, CASES, PER_CASE, PER_BLOCK = 10, 4, 250_000, 100
TURNS = 5


def write(out: Path) -> Path:
    """Write a run of ten million iterations into `out` and return its folder."""
    with RunWriter(out) as writer:
        writer.write_manifest({"state": "finished"})
        for batch in range(1, COHORTS + 1):
            writer.write_cohort(f"batch{batch}", {"iterations": cohort(batch)})
        return writer.folder


def cohort(batch: int) -> dict[str, Any]:
    """Return the iterations of one cohort: one case after the other, as a run writes them."""
    random = np.random.default_rng(batch)
    names = [f"resnet18/backend-{case}/fp32/static/batch{batch}" for case in range(CASES)]
    ones = np.ones(PER_CASE, np.int32)
    noise = random.standard_normal((CASES, PER_CASE))
    noise[:, 1:] += 0.5 * noise[:, :-1]
    latencies = (batch * 1e6 * np.exp(0.02 * noise)).astype(np.int64)
    gaps = random.integers(100, 400, latencies.shape)
    starts = 10**15 + np.cumsum(latencies + gaps, axis=1)
    return {
        "case_id": np.repeat(names, PER_CASE),
        "block": np.tile(np.arange(PER_CASE, dtype=np.int32) // PER_BLOCK, CASES),
        "phase": np.full(CASES * PER_CASE, "measure"),
        "batch": np.tile(ones * batch, CASES),
        "start_ns": starts.ravel(),
        "host_latency_ns": latencies.ravel(),
    }


def by_duckdb(folder: Path) -> list[tuple[Any, ...]]:
    """Ask DuckDB, which knows nothing of benchfw, for the quantiles that benchfw means: no interpolation."""
    query = """
        select case_id, quantile_disc(host_latency_ns, [0.5, 0.99]) from read_parquet(?)
        where phase = 'measure' group by case_id order by case_id
    """
    with duckdb.connect() as connection:
        rows: list[tuple[Any, ...]] = connection.execute(query, [str(folder / "iterations/*.parquet")]).fetchall()
        return rows


def by_pandas(folder: Path) -> list[tuple[Any, ...]]:
    """Ask `benchfw.load`, which checks every part, and group its frame."""
    frame = benchfw.load(folder).iterations
    measured = frame[frame["phase"] == "measure"]
    latencies = measured.groupby("case_id", observed=True)["host_latency_ns"]
    table = latencies.quantile(np.array([0.5, 0.99]), interpolation="lower").unstack()
    return sorted((name, [int(p50), int(p99)]) for name, (p50, p99) in zip(table.index, table.to_numpy(), strict=True))


def by_pyarrow(folder: Path) -> list[tuple[Any, ...]]:
    """Read all that `benchfw.load` reads, and stop there: what pandas takes beyond this is pandas'."""
    benchfw.load(folder).table("iterations")
    return []


QUERIES: dict[str, Callable[[Path], list[tuple[Any, ...]]]] = {
    "DuckDB over the files": by_duckdb,
    "benchfw.load and pandas": by_pandas,
    "benchfw.load as Arrow, no statistics": by_pyarrow,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="folder for the run, which stays; default: a temporary one")
    results = parser.parse_args().results
    names = ("duckdb", "pandas", "pyarrow")
    print(f"CPython {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names))
    with tempfile.TemporaryDirectory() as temporary:
        start = time.perf_counter()
        folder = write(results or Path(temporary))
        seconds = time.perf_counter() - start
        rows, size = COHORTS * CASES * PER_CASE, sum(path.stat().st_size for path in folder.rglob("*.parquet"))
        print(
            f"{rows} iterations made and written in {seconds:.1f} s: {size / 1e6:.0f} MB, {size / rows:.1f} bytes each"
        )
        taken: dict[str, list[float]] = {name: [] for name in QUERIES}
        answers: dict[str, list[tuple[Any, ...]]] = {}
        for _ in range(TURNS):
            for name, query in QUERIES.items():
                start = time.perf_counter()
                answers[name] = query(folder)
                taken[name].append(time.perf_counter() - start)
    for name, times in taken.items():
        print(f"{name:40} median {np.median(times):.2f} s of {TURNS}, {min(times):.2f} to {max(times):.2f}")
    first, second = list(answers.values())[:2]
    print(f"{len(first)} cases, " + ("the same figures from both" if first == second else "DIFFERENT figures"))


if __name__ == "__main__":
    main()
