"""Small runs to be read, damaged and continued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchfw.store.writer import RunWriter


class Maker:
    """Makes runs and their rows."""

    def case(self, cohort: str, **more: Any) -> dict[str, Any]:
        return {"case_id": f"net/fake/fp32/any/{cohort}", "cohort": cohort, "status": "OK", "batch": 4, **more}

    def iterations(self, cohort: str, n: int = 5) -> dict[str, Any]:
        return {
            "case_id": [self.case(cohort)["case_id"]] * n,
            "block": np.zeros(n, np.int32),
            "phase": ["rewarm"] + ["measure"] * (n - 1),
            "batch": np.full(n, 4, np.int32),
            "start_ns": np.arange(n) * 1000 + 2**60,
            "host_latency_ns": np.arange(n) + 100,
        }

    def tables(self, cohort: str, **more: Any) -> dict[str, Any]:
        rows = [self.case(cohort, latency_p50_ns=1.5, case_hash="0af", **more)]
        return {"cases": rows, "iterations": self.iterations(cohort), "warnings": []}

    def run(self, out: Path, *cohorts: str) -> Path:
        with RunWriter(out) as writer:
            writer.write_manifest({"state": "running"})
            for cohort in cohorts:
                writer.write_cohort(cohort, self.tables(cohort))
            writer.write_manifest({"state": "finished"})
        return writer.folder


@pytest.fixture(scope="session")
def make() -> Maker:
    return Maker()
