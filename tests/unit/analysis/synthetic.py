"""Synthetic runs: what `benchfw run` and `benchfw ab` store, made of a seed and nothing measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchfw.store.writer import RunWriter

MACHINE = {"system": "Linux", "architecture": "x86_64", "cpu": "Made-up CPU", "cpus": 2, "affinity": [0, 1]}
SOFTWARE = {"benchfw": "0.1.0", "commit": None}


class Synthetic:
    """The tables of one run.

    Args:
        seed: Of all noise.
        invocations: Processes per case.
        rounds: Rounds per process.
        between: Relative standard deviation between processes.
        noise: That of a block in its round; all cases share the drift of a round.
    """

    def __init__(
        self, seed: int, *, invocations: int = 5, rounds: int = 25, between: float = 0.005, noise: float = 0.002
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.invocations, self.rounds, self.between, self.noise = invocations, rounds, between, noise
        self.drift = np.cumsum(self.rng.normal(0, 0.01, (invocations, rounds)), axis=1)
        self.tables: dict[str, list[dict[str, Any]]] = {name: [] for name in ("cases", "invocations", "blocks")}
        self.tables["comparisons"] = []
        self.latencies: list[dict[str, Any]] = []

    def case(self, name: str, ms: float, *, batch: int = 1, iterations: int = 0, **more: Any) -> str:
        """Add a case of this median; iterations per block only where they are asked for. Returns its id."""
        labels: dict[str, Any] = {
            "cohort": f"batch{batch}",
            "model": "net",
            "backend": name,
            "name": name,
            "precision": "fp32",
        }
        labels |= {"profile": "any", "batch": batch, "shape": json.dumps({"batch": batch}), "interleave": "all"}
        labels |= {key: value for key, value in more.items() if key in (*labels, "arm")}
        slug = "/".join((*(str(labels[key]) for key in _SLUG), labels.get("arm") or "")).rstrip("/")
        case_id = str(more.pop("case_id", slug))
        processes = ms * 1e6 * np.exp(self.rng.normal(0, self.between, self.invocations))
        medians = processes[:, None] * np.exp(self.drift + self.rng.normal(0, self.noise, self.drift.shape))
        ids = {"case_id": case_id, "cohort": labels["cohort"]}
        self.tables["cases"].append(
            {**ids, **labels, **_measured(float(np.exp(np.log(processes).mean())), batch), **more}
        )
        self.tables["invocations"] += [
            {**ids, "invocation": place, **_statistics(float(value), batch)} for place, value in enumerate(processes)
        ]
        for place, (invocation, round_) in enumerate(np.ndindex(*medians.shape)):
            median = float(medians[invocation, round_])
            place_of = {"invocation": invocation, "block": place, "round": round_, "phase": "measure", "steady": 1}
            block = {"n": 20, "rewarm": 0, "depth": 1, "duration_ns": int(20 * median), "median_ns": median}
            self.tables["blocks"].append({**ids, **place_of, **block})
            if iterations:
                drawn = median * np.exp(np.abs(self.rng.normal(0, 0.05, iterations)))
                self.latencies += [
                    {"case_id": case_id, "block": place, "phase": "measure", "host_latency_ns": int(value)}
                    for value in drawn
                ]
        return case_id

    def fail(self, name: str, status: str, **more: Any) -> None:
        """Add a case without numbers."""
        self.case(name, 1.0, **more)
        row = self.tables["cases"][-1]
        kept = {key: value for key, value in row.items() if not key.startswith(("latency", "through", "verdict"))}
        self.tables["cases"][-1] = kept | {"status": status, "status_reason": f"{name} could not"}

    def frames(self, run_id: str = "r") -> dict[str, pd.DataFrame]:
        frames = {name: pd.DataFrame(rows) for name, rows in self.tables.items()}
        frames["iterations"] = pd.DataFrame(self.latencies)
        return {name: frame.assign(run_id=run_id) for name, frame in frames.items()}

    def write(self, out: Path, **manifest: Any) -> Path:
        """Store the run with all of its cases as one part, and return its folder."""
        with RunWriter(out) as writer:
            facts = {"state": "finished", "machine": MACHINE, "software": SOFTWARE} | manifest
            writer.write_manifest(facts)
            iterations = {key: [row[key] for row in self.latencies] for key in (self.latencies or [{}])[0]}
            writer.write_cohort("all", {**self.tables, "iterations": iterations})
        return writer.folder


_SLUG: Sequence[str] = ("model", "name", "precision", "profile", "cohort")


def _statistics(median: float, batch: int) -> dict[str, float]:
    return {"latency_p50_ns": median, "latency_p99_ns": 1.1 * median, "throughput_samples_s": batch * 1e9 / median}


def _measured(median: float, batch: int) -> dict[str, Any]:
    labels = {"model_hash": "0af", "seed": 1, "device": "cpu", "threads": 2, "io_scope": "host", "graph": "off"}
    labels |= {"sync": "blocking", "cache": "rotate", "timer": "host", "depth": 1, "effort": "standard"}
    labels |= {"accuracy": "pass", "rel_l2": 2.5e-7, "reference": "torch-eager", "throughput_depth": 1}
    return {**labels, **_statistics(median, batch), "status": "OK", "verdict": "VALID"}
