"""V01 and V02: outputs that show that the inference did not happen, or had not happened yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.measure.gates import GateFailed
from benchfw.measure.member import Member
from benchfw.spec.accuracy import TOLERANCES, compare, match

Outputs = Mapping[str, NDArray[Any]]
FENCE_NS = 20_000
FENCE_SHARE = 0.02
LAZY_NS = 500_000
LAZY_SHARE = 0.1
"""A second look finds warm caches: up to 60 µs were seen on honest backends, so that more is allowed."""

_LOOKS = 5
_ATTEMPTS = 4
_LOOKS_NS = 100_000_000
"""Looks behind the fence take about so long for slow models, which get fewer."""


def check_alive(outputs: Outputs, *, may_repeat: bool = False) -> None:
    """Look at the outputs of a case that others are compared with: nothing else would notice that they are wrong.

    One constant output among others is left alone: a mask, a padding, a state.

    Raises:
        GateFailed: One is not finite, or all of them are constant: zero, or the same everywhere.
    """
    floats = {name: output for name, output in outputs.items() if output.dtype.kind == "f" and output.size}
    for name, output in floats.items():
        bad = int(np.count_nonzero(~np.isfinite(output)))
        if bad:
            raise GateFailed(
                "V01",
                f"output {name!r}: {bad} of {output.size} elements are NaN or infinite",
                value=bad,
                threshold=0,
                hint="look at the weights and at the range of the inputs",
            )
    if may_repeat or not floats or not all(output.size > 1 and np.ptp(output) == 0 for output in floats.values()):
        return
    for name, output in floats.items():
        what = "zero" if not output.any() else "the same"
        raise GateFailed(
            "V01",
            f"output {name!r}: all {output.size} elements are {what}",
            value=0,
            threshold=0,
            hint="look at the conversion of the model, and at its inputs; or [accuracy] may_repeat = true",
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
            hint="it does not read its inputs at each launch (a stale graph or buffer); or the model ignores them: "
            "set [accuracy] may_repeat = true",
        )


def _is_dead(output: NDArray[Any]) -> bool:
    return output.size > 0 and bool(not np.isfinite(output).all() or (output.size > 1 and np.ptp(output) == 0))


def check_unchanged(before: Outputs, now: Outputs, precision: str, *, what: str = "since the first time") -> None:
    """Compare outputs of a case with others that it gave itself: before, or in another lane.

    A tolerance of the scenario is for the distance from the reference, and does not count here.

    Raises:
        GateFailed: They are further off than two runs of this precision may be.
        Invalid: They are others.
    """
    for name, output, wanted in match(now, before):
        metrics = compare(output, wanted, precision)
        if metrics["verdict"] == "fail":
            raise GateFailed(
                "V01",
                f"output {name!r} has changed {what}: {metrics['reason']}",
                value=metrics["rel_l2"],
                threshold=TOLERANCES[precision].rel_l2,
                hint="something of an inference stays behind and changes the next one",
            )


def check_fence(member: Member) -> None:
    """Look whether a launch was complete when it was said to be: when it returned, or when its stream was done.

    Then its outputs are there at once, and the rest of the device has nothing more to do.

    Raises:
        GateFailed: Asked for right after a launch they take longer than after a rest, by more than 20 µs and 2 % of the
            latency; or than once more, by more than 0.5 ms and 10 % of it. Or the whole device takes longer than an
            idle one once the stream is done, by more than 20 µs and 2 % of the latency.
    """
    assert member.instance is not None
    key, slot, latency_ns = member.instance.key, member.slots.of(0), member.order.expected_ns(0)
    looks = max(1, min(_LOOKS, round(_LOOKS_NS / latency_ns)))
    rest_s = min(1.0, 1.2 * latency_ns / 1e9)
    excess = (float("inf"), 0.0)
    for _ in range(_ATTEMPTS):  # the machine may be late once, or a few times in a row; a liar always is
        answer = member.session.ask("fence", member.settings.build_s, instance=key, slot=slot, n=looks, rest_s=rest_s)
        excess = min(excess, max(_excesses(answer.values, latency_ns)))
        if excess[0] <= 0.0:
            return
    late_ns = excess[1]
    if member.is_asynchronous:
        raise GateFailed(
            "V02",
            f"the device went on for {late_ns / 1e3:.0f} µs after the backend's stream was done",
            value=late_ns,
            threshold=late_ns - excess[0],
            hint="`stream` must be the one that launch enqueues on, and wait for all others that it uses",
        )
    raise GateFailed(
        "V02",
        f"launch returned before its outputs were complete: the first look took {late_ns / 1e3:.0f} µs more",
        value=late_ns,
        threshold=late_ns - excess[0],
        hint="launch must return completed outputs, or the backend must give its stream",
    )


def _excesses(answer: Mapping[str, float], latency_ns: float) -> Iterator[tuple[float, float]]:
    """Yield by how much the first look was later than it may be, and how late it was, in ns."""
    if "behind_ns" in answer:
        late_ns = answer["behind_ns"] - answer["idle_ns"]
        yield late_ns - max(FENCE_NS, FENCE_SHARE * latency_ns), late_ns
        return
    for other, least_ns, share in (("rested_ns", FENCE_NS, FENCE_SHARE), ("again_ns", LAZY_NS, LAZY_SHARE)):
        late_ns = answer["first_ns"] - answer[other]
        yield late_ns - max(least_ns, share * latency_ns), late_ns
