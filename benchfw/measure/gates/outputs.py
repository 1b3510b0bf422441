"""V01 and V02: outputs that show that the inference did not happen, or had not happened yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.measure.accuracy import TOLERANCES, compare, match
from benchfw.measure.gates import GateFailed
from benchfw.measure.member import Member

Outputs = Mapping[str, NDArray[Any]]
FENCE_NS = 20_000
FENCE_SHARE = 0.02
_LOOKS = 5
_LOOKS_NS = 100_000_000
"""Looks behind the fence take about so long for slow models, which get fewer."""


def check_alive(outputs: Outputs) -> None:
    """Look at the outputs of a case that others are compared with: nothing else would notice that they are wrong.

    Raises:
        GateFailed: They are not finite, or all are zero or the same.
    """
    for name, output in outputs.items():
        if output.dtype.kind != "f" or not output.size:
            continue
        bad = int(np.count_nonzero(~np.isfinite(output)))
        if bad:
            raise GateFailed(
                "V01",
                f"output {name!r}: {bad} of {output.size} elements are NaN or infinite",
                value=bad,
                threshold=0,
                hint="look at the weights and at the range of the inputs",
            )
        if output.size > 1 and np.ptp(output) == 0:
            what = "zero" if not output.any() else "the same"
            raise GateFailed(
                "V01",
                f"output {name!r}: all {output.size} elements are {what}",
                value=0,
                threshold=0,
                hint="look at the conversion of the model, and at what its inputs are",
            )


def check_following(inputs: Sequence[str], outputs: Sequence[Outputs]) -> None:
    """Compare the outputs of one shape for different inputs.

    Args:
        inputs: A hash of each set of inputs.
        outputs: What each set gave, without any preparation in between.

    Raises:
        GateFailed: All are the same, to the bit, although the inputs differ. Outputs that are all zero, the same or not
            finite are left to who compares them: that is what is wrong with them.
    """
    floats = [{name: array for name, array in of_set.items() if array.dtype.kind == "f"} for of_set in outputs]
    if len(set(inputs)) < 2 or not floats[0] or all(map(_is_dead, floats[0].values())):
        return
    same = all(
        np.array_equal(array, other[name], equal_nan=True) for other in floats[1:] for name, array in floats[0].items()
    )
    if same:
        raise GateFailed(
            "V01",
            f"{len(outputs)} different sets of inputs gave the same outputs",
            value=1,
            threshold=len(outputs),
            hint="it does not read its inputs at each launch (a stale graph or buffer), or the model ignores them",
        )


def _is_dead(output: NDArray[Any]) -> bool:
    return output.size > 0 and bool(not np.isfinite(output).all() or (output.size > 1 and np.ptp(output) == 0))


def check_unchanged(before: Outputs, now: Outputs, precision: str) -> None:
    """Compare outputs of a case that has no reference with those that it gave itself.

    Raises:
        GateFailed: They are further off than two runs of this precision may be.
        Invalid: They are others.
    """
    for name, output, wanted in match(now, before):
        metrics = compare(output, wanted, precision)
        if metrics["verdict"] == "fail":
            raise GateFailed(
                "V01",
                f"output {name!r} has changed since the first time: {metrics['reason']}",
                value=metrics["rel_l2"],
                threshold=TOLERANCES[precision].fail,
                hint="something of an inference stays behind and changes the next one",
            )


def check_fence(member: Member) -> None:
    """Look whether a launch that has returned was complete: then its outputs are there at once.

    Raises:
        GateFailed: Right after a launch they take longer than after a rest, by more than 20 µs and 2 % of the latency.
    """
    assert member.instance is not None
    latency_ns = member.expected(0)
    looks = max(1, min(_LOOKS, round(_LOOKS_NS / latency_ns)))
    answer = member.session.ask(
        "fence",
        member.settings.build_s,
        instance=member.instance.key,
        slot=member.slots.of(0),
        n=looks,
        rest_s=min(1.0, 1.2 * latency_ns / 1e9),
    ).values
    late_ns = answer["at_once_ns"] - answer["rested_ns"]
    threshold_ns = max(FENCE_NS, FENCE_SHARE * latency_ns)
    if late_ns > threshold_ns:
        raise GateFailed(
            "V02",
            f"launch returned before its outputs were complete: these took {late_ns / 1e3:.0f} µs more at once",
            value=late_ns,
            threshold=threshold_ns,
            hint="launch must return completed outputs, or the backend must give its stream",
        )
