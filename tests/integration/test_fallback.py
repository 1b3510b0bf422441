"""What runs on something else than was asked for: refused, or measured and told where the scenario allows it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import benchfw
from benchfw.measure import warmup
from benchfw.plugins import Registry
from benchfw.testing.project import Project, virtual_backend
from tests.brief import small

pytestmark = pytest.mark.quiet

SCENARIO = small(
    "fallback",
    """\
[measure]
effort = "quick"
settle_time = "1h"
""",
)
KINDS: dict[str, dict[str, Any]] = {
    "provider": {"provider": "other"},
    "precision": {"fault": "other_precision", "at": "facts"},
    "nodes": {"fault": "fallback", "at": "facts"},
    "later": {"fault": "later_provider", "at": "facts"},
}
WORDS = {
    "provider": "asked for the provider fake, other is in effect",
    "precision": "asked for the precision fp32, int8 is in effect",
    "nodes": "V05: no node runs on fake, but 3 on CPUExecutionProvider",
    "later": "asked for the provider fake, CPU is in effect",
}
EFFECTIVE = {
    "provider": ("other", "fp32"),
    "precision": ("fake", "int8"),
    "nodes": ("CPUExecutionProvider", "fp32"),
    "later": ("CPU", "fp32"),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[benchfw.Results]:
    backends = [virtual_backend(kind, **options) + "allow_fallback = true\n" for kind, options in KINDS.items()]
    # the first fp32 case of all is one that does not compute in fp32
    text = SCENARIO + backends.pop(1) + virtual_backend("honest") + "".join(backends)
    text += virtual_backend("refused", **KINDS["precision"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warmup, "SPREAD", math.inf)
        yield Project(tmp_path_factory.mktemp("fallback"), registry).run(text)[1]


@pytest.fixture(scope="module")
def rows(measured: benchfw.Results) -> Mapping[str, Mapping[str, Any]]:
    return {
        str(row["name"]): {str(key): value for key, value in row.items()} for row in measured.cases.to_dict("records")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_allowed_is_measured_and_says_what_ran(
    measured: benchfw.Results, rows: Mapping[str, Mapping[str, Any]], kind: str
) -> None:
    row = rows[kind]
    assert (row["status"], row["verdict"]) == ("OK", "VALID"), row["status_reason"]
    assert row["latency_p50_ns"] == pytest.approx(1e6, rel=1e-2)
    assert (row["provider"], row["precision"]) == ("fake", "fp32")
    assert (row["provider_effective"], row["precision_effective"]) == EFFECTIVE[kind]
    warnings = measured.warnings.query("case_id == @row['case_id'] and code == 'V05'")
    (message,) = warnings["message"]
    assert WORDS[kind] in message
    assert list(warnings["value"]) == [0]
    if kind == "nodes":
        assert json.loads(row["facts"])["nodes"] == {"CPUExecutionProvider": 3}


def test_what_is_not_allowed_is_refused(rows: Mapping[str, Mapping[str, Any]]) -> None:
    row = rows["refused"]
    remedy = "ask for that, or let it count: allow_fallback = true"
    assert (row["status"], row["status_reason"]) == ("FALLBACK", f"{WORDS['precision']} ({remedy})")
    assert math.isnan(row["latency_p50_ns"])


def test_outputs_of_another_precision_are_no_reference(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """It is the first case that says fp32; what the others are compared with is the first that computes in it."""
    assert {rows[name]["reference"] for name in ("honest", "provider", "nodes", "later")} == {"honest"}


def test_a_comparison_tells_what_was_in_effect(measured: benchfw.Results) -> None:
    frame = benchfw.compare(measured, by="name", baseline="honest", metric="p50").set_index("name")
    for kind in ("provider", "nodes", "later"):
        assert frame["speedup"][kind] == pytest.approx(1.0, rel=1e-2)
        assert frame["differs"][kind] == f"provider_effective fake → {EFFECTIVE[kind][0]}"
    assert frame["reason"]["precision"] == "not comparable: precision_effective fp32 → int8"
