"""How far outputs are from the reference, and whether that is still the same model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import Invalid

Outputs = Mapping[str, NDArray[Any]]
_FLOOR = 1e-3
_ORDER = ("pass", "warn", "fail")


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What a precision may differ by (docs/concepts/accuracy.md): relative L2 that fails and that warns, and the
    share of elements that may lie beyond rtol |r| + atol RMS(r)."""

    fail: float
    warn: float
    rtol: float
    atol: float
    share: float
    cosine: float = -1.0


TOLERANCES = {
    "fp32": Tolerance(fail=1e-5, warn=1e-6, rtol=1e-4, atol=1e-5, share=0.0),
    "tf32": Tolerance(fail=4e-3, warn=1e-3, rtol=1e-2, atol=5e-3, share=4e-3),
    "fp16": Tolerance(fail=6e-3, warn=1e-3, rtol=1e-2, atol=5e-3, share=4e-3),
    "bf16": Tolerance(fail=5e-2, warn=1e-2, rtol=5e-2, atol=2e-2, share=8e-2),
    "fp8": Tolerance(fail=1e-1, warn=5e-2, rtol=1.0, atol=1.0, share=1.0, cosine=0.99),
    "int8": Tolerance(fail=1e-1, warn=5e-2, rtol=1.0, atol=1.0, share=1.0, cosine=0.99),
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


def compare(output: NDArray[Any], reference: NDArray[Any], precision: str) -> dict[str, Any]:
    """Return the metrics of one output, with its verdict: columns of the table `accuracy`.

    Args:
        output: Any shape.
        reference: Of the same shape, from fp32.
        precision: Whose tolerance applies.
    """
    tolerance = TOLERANCES[precision]
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


def worst(verdicts: list[str]) -> str:
    """Return the worst of some verdicts."""
    return max(verdicts, key=_ORDER.index, default="pass")


def _judge(metrics: Mapping[str, Any], y: NDArray[Any], r: NDArray[Any], tolerance: Tolerance) -> tuple[str, str]:
    if metrics["nonfinite"] and np.isfinite(r).all():
        return "fail", f"{metrics['nonfinite']} elements are NaN or infinite"
    if not y.any() and r.any():
        return "fail", "all elements are zero"
    if y.size > 1 and np.ptp(y) == 0 and np.ptp(r) > 0:
        return "fail", "all elements are the same"
    failed, warned = [], []
    rel_l2, share = metrics["rel_l2"], metrics["outside_share"]
    if not rel_l2 <= tolerance.fail:
        failed.append(f"relative L2 {rel_l2:.1e} is above {tolerance.fail:.0e}")
    elif rel_l2 > tolerance.warn:
        warned.append(f"relative L2 {rel_l2:.1e} is above {tolerance.warn:.0e}")
    if share > tolerance.share:
        failed.append(
            f"{share:.2%} of the elements are outside of rtol {tolerance.rtol:g}, atol {tolerance.atol:g} RMS"
        )
    if metrics["cosine"] < tolerance.cosine:
        failed.append(f"cosine {metrics['cosine']:.4f} is below {tolerance.cosine}")
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
