"""Gates: what is found wrong, and what is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchfw.errors import FellBack
from benchfw.measure.gates import GateFailed, providers
from benchfw.measure.gates.memory import LEFT_BYTES, check_changes, check_growth, left
from benchfw.measure.gates.outputs import check_alive, check_fence, check_following, check_unchanged
from benchfw.measure.gates.providers import check_nodes, effective_provider
from benchfw.measure.references import _tell_widened
from benchfw.worker.protocol import Message

A, B = np.array([1.0, 2.0]), np.array([3.0, 2.0])


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (np.array([1.0, np.nan]), "1 of 2 elements are NaN or infinite"),
        (np.array([np.inf, -np.inf]), "2 of 2 elements are NaN or infinite"),
        (np.zeros((2, 3)), "all 6 elements are zero"),
        (np.full(4, 0.25), "all 4 elements are the same"),
    ],
)
def test_a_reference_must_be_alive(output: Any, words: str) -> None:
    with pytest.raises(GateFailed, match=words) as caught:
        check_alive({"bad": output})
    assert caught.value.code == "V01"
    assert caught.value.message.startswith("V01: output 'bad'")


def test_a_constant_output_among_others_may_be_a_mask() -> None:
    check_alive({"good": A, "mask": np.zeros(4)})
    check_alive({"all": np.zeros(4)}, may_repeat=True)
    with pytest.raises(GateFailed):
        check_alive({"good": A, "bad": np.full(4, np.nan)}, may_repeat=True)


@pytest.mark.parametrize("output", [A, np.array([0.0]), np.zeros(3, np.int64), np.empty((0, 3))])
def test_what_may_be_is_left_alone(output: Any) -> None:
    check_alive({"x": output})


@pytest.mark.parametrize(
    ("inputs", "outputs", "follows"),
    [
        (["a", "b"], [{"x": A}, {"x": B}], True),
        (["a", "b"], [{"x": A}, {"x": A.copy()}], False),
        (["a", "b", "c"], [{"x": A}, {"x": A}, {"x": B}], True),
        (["a", "b"], [{"x": A, "y": A}, {"x": A, "y": B}], True),  # one output need not follow
        (["a", "b"], [{"x": A, "y": B}, {"x": A, "y": B}], False),
        (["a", "a"], [{"x": A}, {"x": A}], True),  # the inputs are the same
        (["a"], [{"x": A}], True),
        (["a", "b"], [{"x": np.array([1, 2])}, {"x": np.array([1, 2])}], True),  # classes often are the same
        (["a", "b"], [{"x": A * 0}, {"x": A * 0}], True),  # told by who compares
        (["a", "b"], [{"x": A * np.nan}, {"x": A * np.nan}], True),
    ],
)
def test_outputs_follow_their_inputs(inputs: list[str], outputs: list[dict[str, Any]], follows: bool) -> None:
    if follows:
        check_following(inputs, outputs)
    else:
        with pytest.raises(GateFailed, match=rf"^V01: {len(outputs)} different sets of inputs gave the same outputs"):
            check_following(inputs, outputs)


@pytest.mark.parametrize(("factor", "fails"), [(1.0, False), (1.0005, False), (1.02, True), (np.nan, True)])
def test_outputs_without_a_reference_stay_what_they_were(factor: float, fails: bool) -> None:
    if fails:
        with pytest.raises(GateFailed, match=r"^V01: output 'x' has changed"):
            check_unchanged({"x": A}, {"x": A * factor}, "fp16")
    else:
        check_unchanged({"x": A}, {"x": A * factor}, "fp16")


@pytest.mark.parametrize(
    ("latency_ms", "late_us", "fails"),
    [
        (0.1, 19, False),
        (0.1, 21, True),  # 20 µs
        (10.0, 190, False),
        (10.0, 210, True),  # 2 %
        (1.0, -50, False),
    ],
)
def test_outputs_must_be_there_once_a_launch_returns(
    latency_ms: float, late_us: float, fails: bool, members: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = members.member()
    member.order.expect(0, latency_ms * 1e6)
    asked: dict[str, Any] = {}

    def ask(self: Any, kind: str, timeout: float, /, **values: Any) -> Message:
        asked.update(values, kind=kind)
        return Message("ok", {"first_ns": 60_000 + late_us * 1000, "again_ns": 30_000, "rested_ns": 60_000}, {})

    monkeypatch.setattr(type(member.session), "ask", ask)
    if fails:
        with pytest.raises(GateFailed, match=rf"^V02: .* {late_us:.0f} µs more") as caught:
            check_fence(member)
        assert caught.value.value == late_us * 1000
    else:
        check_fence(member)
    assert asked["kind"] == "fence"
    assert 1 <= asked["n"] <= 10


def test_slow_models_are_looked_at_less_often(members: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    member = members.member()
    member.order.expect(0, 5e9)
    looks: list[int] = []

    def ask(self: Any, kind: str, timeout: float, /, **values: Any) -> Message:
        looks.append(values["n"])
        return Message("ok", {"first_ns": 0, "again_ns": 0, "rested_ns": 0}, {})

    monkeypatch.setattr(type(member.session), "ask", ask)
    check_fence(member)
    assert looks == [1]


# --- V04 --------------------------------------------------------------------------------------------------------


def test_changes_within_a_block() -> None:
    check_changes({"compilations": 0, "collections": 0})
    check_changes({})
    with pytest.raises(GateFailed, match=r"^V04: within a measured block: 2 compilations, 1 collections$") as caught:
        check_changes({"compilations": 2, "captures": 0, "collections": 1})
    assert (caught.value.value, caught.value.threshold) == (3, 0)


def _grown(members: Any, rss: list[int], objects: list[int] | None = None) -> list[Any]:
    blocks = [members.block([10] * 100) for _ in rss]
    for block, grown, kept in zip(blocks, rss, objects or [0] * len(rss), strict=True):
        block.counters |= {"rss_bytes": grown, "objects": kept}
    return blocks


@pytest.mark.parametrize(
    ("rss", "objects", "words"),
    [
        ([1 << 20] * 20, [0] * 20, r"memory grew by 10486 bytes with every launch"),
        ([1 << 20] * 10 + [0] * 10, [0] * 20, None),  # a pool that has grown to its size
        ([0] * 18 + [64 << 20] * 2, [0] * 20, None),  # a few jumps are no leak of launches
        ([20_000] * 20, [0] * 20, None),  # too little to be told from noise
        ([1 << 20, -(1 << 20)] * 10, [0] * 20, None),
        ([1 << 20] * 14, [0] * 14, None),  # too few blocks to say
        ([0] * 20, [120] * 20, r"every launch left 1\.0 memory blocks of Python behind"),
        ([0] * 20, [1000] * 10 + [10] * 10, None),
    ],
)
def test_growth_with_every_launch(rss: list[int], objects: list[int], words: str | None, members: Any) -> None:
    blocks = _grown(members, rss, objects)
    if words is None:
        check_growth(blocks)
    else:
        with pytest.raises(GateFailed, match=f"^V04: .*{words}"):
            check_growth(blocks)


# --- V05 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "share"),
    [({"p": 3}, None), ({"p": 3, "q": 0}, None), ({}, None), ("many", None), ({"p": 2, "q": 1, "r": 1}, 0.5)],
)
def test_nodes_elsewhere_are_a_warning(nodes: Any, share: float | None, members: Any) -> None:
    member = members.member()
    member.instance.facts = {"nodes": nodes}
    check_nodes(member, "p")
    assert [(row["code"], row["value"]) for row in member.warnings] == ([] if share is None else [("V05", share)])


def test_nodes_that_cannot_be_counted_are_a_warning(members: Any) -> None:
    member = members.member()
    member.instance.facts = {"nodes": {}, "nodes_unknown": "the log does not say it"}
    check_nodes(member, "")
    assert not member.warnings
    check_nodes(member, "p")
    assert [(row["code"], row["value"], row["message"]) for row in member.warnings] == [
        ("V05", None, "which nodes run on p is not known: the log does not say it")
    ]


def test_no_node_at_all_is_a_fallback(members: Any) -> None:
    member = members.member()
    member.instance.facts = {"nodes": {"q": 4, "p": 0}}
    check_nodes(member, "")  # no provider was asked for
    with pytest.raises(FellBack, match="V05: no node runs on p, but 4 on q"):
        check_nodes(member, "p")
    assert [row["code"] for row in member.warnings] == ["V05"]


@pytest.mark.parametrize(
    ("mine", "of_all", "told"),
    [
        (LEFT_BYTES, LEFT_BYTES, False),
        (LEFT_BYTES + 1, LEFT_BYTES + 1, True),
        (LEFT_BYTES + 1, LEFT_BYTES, False),  # another case gave it back
        (-LEFT_BYTES, 2 * LEFT_BYTES, False),
    ],
)
def test_memory_that_does_not_come_back(mine: int, of_all: int, told: bool) -> None:
    finding = left(mine, of_all)
    assert (finding is not None) == told
    if finding is not None:
        assert (finding.code, finding.value, finding.threshold) == ("W23", mine, LEFT_BYTES)


def test_what_only_the_scenario_lets_pass_is_told_once_by_the_farthest(members: Any) -> None:
    """Outputs are compared before and after the timing, and the sentence has a number."""
    member = members.member()
    for far in (2e-3, 4e-3, 3e-3):
        row = {"output": "y", "rel_l2": far, "default_verdict": "fail", "reason": f"relative L2 {far:.1e} is above"}
        member.accuracy.append(row)
        _tell_widened(member)
    (warning,) = member.warnings
    assert (warning["code"], warning["value"], "4.0e-03" in warning["message"]) == ("R05", 4e-3, True)


def test_no_node_at_all_is_a_warning_where_that_is_allowed(members: Any) -> None:
    member = members.member()
    member.case.session.entry.__dict__["allow_fallback"] = True
    member.instance.facts = {"nodes": {"q": 4, "p": 0}, "provider_effective": "p"}
    check_nodes(member, "p")
    assert [row["message"] for row in member.warnings] == ["V05: no node runs on p, but 4 on q"]


def test_one_departure_is_one_warning_though_provider_and_nodes_tell_of_it(members: Any) -> None:
    member = members.member()
    member.case.session.entry.__dict__["allow_fallback"] = True
    member.instance.facts = {"nodes": {"q": 4}, "provider_effective": "q"}
    providers.check(member)
    (row,) = member.warnings
    assert row["code"] == "V05" and "asked for the provider p, q is in effect" in row["message"]


@pytest.mark.parametrize(
    ("nodes", "provider"), [({}, "p"), ({"p": 1, "q": 4}, "p"), ({"q": 4, "r": 5}, "r"), ({"q": 0}, "p"), ("many", "p")]
)
def test_the_provider_in_effect_is_where_nodes_run(nodes: Any, provider: str) -> None:
    assert effective_provider({"provider_effective": "p", "nodes": nodes}) == provider
    assert effective_provider({"nodes": nodes}) is None
