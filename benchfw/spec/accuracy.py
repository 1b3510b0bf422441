"""How far outputs are from the reference, and whether that is still the same model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import Invalid

Outputs = Mapping[str, NDArray[Any]]
_FLOOR = 1e-3
_ORDER = ("pass", "warn", "fail")


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What outputs may differ by from the reference's (docs/concepts/accuracy.md).

    Attributes:
        rel_l2: Relative L2 above which an output fails.
        rel_l2_warn: Relative L2 above which it is a `warn`.
        rtol: An element is outside if it differs by more than rtol |r| + atol RMS(r).
        atol: The other term of it.
        outside_share: Share of the elements that may be outside, from 0 to 1.
        cosine: Cosine that an output has at least; -1 allows any.
        outputs: Outputs that have a tolerance of their own, by the reference's names.
    """

    rel_l2: float
    rel_l2_warn: float
    rtol: float
    atol: float
    outside_share: float
    cosine: float = -1.0
    outputs: Mapping[str, Tolerance] = field(default_factory=dict)

    def of(self, output: str) -> Tolerance:
        """Return what holds for one output."""
        return self.outputs.get(output, self)


TOLERANCES = {
    "fp32": Tolerance(rel_l2=1e-5, rel_l2_warn=1e-6, rtol=1e-4, atol=1e-5, outside_share=0.0),
    "tf32": Tolerance(rel_l2=4e-3, rel_l2_warn=1e-3, rtol=1e-2, atol=5e-3, outside_share=4e-3),
    "fp16": Tolerance(rel_l2=6e-3, rel_l2_warn=1e-3, rtol=1e-2, atol=5e-3, outside_share=4e-3),
    "bf16": Tolerance(rel_l2=5e-2, rel_l2_warn=1e-2, rtol=5e-2, atol=2e-2, outside_share=8e-2),
    "fp8": Tolerance(rel_l2=1e-1, rel_l2_warn=5e-2, rtol=1.0, atol=1.0, outside_share=1.0, cosine=0.99),
    "int8": Tolerance(rel_l2=1e-1, rel_l2_warn=5e-2, rtol=1.0, atol=1.0, outside_share=1.0, cosine=0.99),
}


def match(outputs: Outputs, reference: Outputs) -> list[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Pair outputs with the reference's: by name if the names are the same, else by place.

    Raises:
        Invalid: Their number, or a shape, differs.
    """
    if len(outputs) != len(reference):
        raise Invalid(
            f"{len(outputs)} outputs {sorted(outputs)}, the reference has {len(reference)} {sorted(reference)}"
        )
    if set(outputs) == set(reference):
        pairs = [(name, outputs[name], reference[name]) for name in reference]
    else:
        pairs = [(r, o, ref) for o, (r, ref) in zip(outputs.values(), reference.items(), strict=True)]
    for name, output, wanted in pairs:
        if output.shape != wanted.shape:
            raise Invalid(f"output {name!r} has shape {list(output.shape)}, the reference {list(wanted.shape)}")
        if (output.dtype.kind == "f") != (wanted.dtype.kind == "f"):
            raise Invalid(f"output {name!r} is {output.dtype}, the reference {wanted.dtype}")
    return pairs


def compare(
    output: NDArray[Any], reference: NDArray[Any], precision: str, tolerance: Tolerance | None = None
) -> dict[str, Any]:
    """Return the metrics of one output, with its verdict: columns of the table `accuracy`.

    Args:
        output: Any shape.
        reference: Of the same shape, from fp32.
        precision: What the output was asked for in.
        tolerance: What is allowed in place of the default of that precision. What only this lets pass is a `warn` at
            least, with `default_verdict` `fail`.
    """
    default = TOLERANCES[precision]
    metrics = _compare(output, reference, tolerance or default)
    metrics["default_verdict"] = metrics["verdict"]
    if tolerance is None or tolerance == default:
        return metrics
    strict = _compare(output, reference, default)
    metrics["default_verdict"] = strict["verdict"]
    if strict["verdict"] == "fail" and metrics["verdict"] != "fail":
        metrics["verdict"] = "warn"
        metrics["reason"] = f"beyond the default of {precision}: {strict['reason']}"
    return metrics


def compare_all(
    outputs: Outputs, reference: Outputs, precision: str, tolerance: Tolerance | None = None
) -> dict[str, dict[str, Any]]:
    """Return what `compare` says of each output, by the reference's names.

    Raises:
        Invalid: They cannot be paired, or the tolerance is for an output that the reference does not have.
    """
    pairs = match(outputs, reference)
    unknown = sorted(set(tolerance.outputs if tolerance else ()) - set(reference))
    if unknown:
        raise Invalid(
            f"the tolerance of {precision} is for the output {unknown[0]!r}, the reference has {sorted(reference)}"
        )
    return {
        name: compare(output, wanted, precision, tolerance.of(name) if tolerance else None)
        for name, output, wanted in pairs
    }


def worst(verdicts: list[str]) -> str:
    """Return the worst of some verdicts."""
    return max(verdicts, key=_ORDER.index, default="pass")


def _compare(output: NDArray[Any], reference: NDArray[Any], tolerance: Tolerance) -> dict[str, Any]:
    y = np.asarray(output, np.float64).ravel()
    r = np.asarray(reference, np.float64).ravel()
    nonfinite = int(np.count_nonzero(~np.isfinite(y)))
    with np.errstate(all="ignore"):
        difference = np.abs(y - r)
        norm, error = float(np.linalg.norm(r)), float(np.linalg.norm(difference))
        rms = norm / np.sqrt(max(1, r.size))
        rel_l2 = error / norm if norm else (0.0 if error == 0 else float("inf"))
        both = norm * float(np.linalg.norm(y))
        cosine = float(y @ r) / both if both else (1.0 if error == 0 else 0.0)
        outside = np.count_nonzero(~(difference <= tolerance.rtol * np.abs(r) + tolerance.atol * rms))
        metrics: dict[str, Any] = {
            "max_abs_err": float(difference.max(initial=0.0)),
            "mean_abs_err": float(difference.mean()) if r.size else 0.0,
            "p99_abs_err": float(np.quantile(difference, 0.99)) if r.size else 0.0,
            "rel_l2": rel_l2,
            "cosine": cosine,
            "snr_db": 20 * float(np.log10(norm / error)) if error and norm else None,
            "mean_rel_err": float((difference / np.maximum(np.abs(r), _FLOOR * rms)).mean()) if rms else None,
            "outside_share": outside / max(1, r.size),
            "nonfinite": nonfinite,
        }
    metrics.update(_ranking(output, reference))
    metrics["verdict"], metrics["reason"] = _judge(metrics, y, r, tolerance)
    return metrics


def _judge(metrics: Mapping[str, Any], y: NDArray[Any], r: NDArray[Any], tolerance: Tolerance) -> tuple[str, str]:
    if metrics["nonfinite"] and np.isfinite(r).all():
        return "fail", f"{metrics['nonfinite']} elements are NaN or infinite"
    if not y.any() and r.any():
        return "fail", "all elements are zero"
    if y.size > 1 and np.ptp(y) == 0 and np.ptp(r) > 0:
        return "fail", "all elements are the same"
    failed, warned = [], []
    rel_l2, share = metrics["rel_l2"], metrics["outside_share"]
    if not rel_l2 <= tolerance.rel_l2:
        failed.append(f"relative L2 {rel_l2:.1e} is above {tolerance.rel_l2:g}")
    elif rel_l2 > tolerance.rel_l2_warn:
        warned.append(f"relative L2 {rel_l2:.1e} is above {tolerance.rel_l2_warn:g}")
    if share > tolerance.outside_share:
        failed.append(
            f"{share:.2%} of the elements are outside of rtol {tolerance.rtol:g}, atol {tolerance.atol:g} RMS"
        )
    if metrics["cosine"] < tolerance.cosine:
        failed.append(f"cosine {metrics['cosine']:.6f} is below {tolerance.cosine}")
    return ("fail" if failed else "warn" if warned else "pass"), "; ".join(failed + warned)


def _ranking(output: NDArray[Any], reference: NDArray[Any]) -> dict[str, float | None]:
    """Return top-1 and top-5 agreement of [rows, classes]."""
    if reference.ndim != 2 or reference.shape[1] < 10 or not reference.size:
        return {"top1_agreement": None, "top5_agreement": None}
    first = np.argmax(output, axis=1)
    five = np.argpartition(reference, -5, axis=1)[:, -5:]
    return {
        "top1_agreement": float(np.mean(first == np.argmax(reference, axis=1))),
        "top5_agreement": float(np.mean((five == first[:, None]).any(axis=1))),
    }
