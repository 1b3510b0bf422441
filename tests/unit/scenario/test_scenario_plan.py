"""From a scenario to its cases."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchfw.scenario import Case, Plan, Scenario, make_plan
from benchfw.spec.backend import BackendInfo, Capabilities
from benchfw.testing.options import FakeOptions


def _info(name: str, **capabilities: Any) -> BackendInfo:
    return BackendInfo(name=name, summary="", factory="x:Y", accepts=("*",), capabilities=Capabilities(**capabilities))


BACKENDS = {
    info.name: info
    for info in (
        _info("special", precisions=("fp32", "fp16")),
        _info("same", specializes=False),
        _info("rigid", dynamic_shapes=False),
        _info("gpu", devices=("cuda",)),
    )
}
BATCH = {"batch": {"min": 1, "opt": 4, "max": 8}}
MIN_OPT_MAX: dict[str, Any] = {"kind": "min-opt-max"}
RANDOM: dict[str, Any] = {"kind": "random-batch", "seed": 7}


def _fixed(**axes: list[int]) -> dict[str, Any]:
    return {"kind": "fixed", **axes}


def _scenario(
    *sweeps: dict[str, Any],
    backends: list[dict[str, Any]] | None = None,
    shapes: dict[str, dict[str, int]] | None = None,
    **more: Any,
) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "s",
            "model": {"ref": "null:net"},
            "shapes": BATCH if shapes is None else shapes,
            "sweep": list(sweeps),
            "backend": backends or [{"use": "special"}],
            **more,
        }
    )


def _plan(*sweeps: dict[str, Any], **more: Any) -> Plan:
    return make_plan(_scenario(*sweeps, **more), backends=BACKENDS)


def _case(plan: Plan, cohort: str, name: str = "special") -> Case:
    (case,) = (case for case in plan.cases if case.cohort_id == cohort and case.session.entry.label == name)
    return case


def test_fixed_makes_one_static_artifact_per_size() -> None:
    plan = _plan(_fixed(batch=[1, 16]))
    assert [cohort.cohort_id for cohort in plan.cohorts] == ["batch1", "batch16"]
    assert [case.case_id for case in plan.cases] == [
        "net/special/fp32/static/batch1",
        "net/special/fp32/static/batch16",
    ]
    for case, size in zip(plan.cases, (1, 16), strict=True):
        assert case.profile.static
        assert case.sizes == case.profile.sizes("opt") == {"batch": size}
        assert (case.batch, case.sequence, case.point, case.sweeps) == (size, None, None, ("fixed",))


def test_fixed_takes_the_product_of_several_axes_and_the_optimum_of_those_it_leaves_out() -> None:
    shapes = BATCH | {"length": {"min": 16, "opt": 32, "max": 64}, "depth": {"min": 3, "opt": 3, "max": 3}}
    plan = _plan(_fixed(batch=[1, 2], length=[16, 24, 32]), shapes=shapes)
    sizes = [(case.sizes["batch"], case.sizes["length"], case.sizes["depth"]) for case in plan.cases]
    assert sizes == [(b, n, 3) for b in (1, 2) for n in (16, 24, 32)]
    assert plan.cases[0].cohort_id == "batch1_depth3_length16"


def test_min_opt_max_measures_one_dynamic_artifact_at_three_points() -> None:
    plan = _plan(MIN_OPT_MAX)
    assert [(case.point, case.batch) for case in plan.cases] == [("min", 1), ("opt", 4), ("max", 8)]
    assert {case.profile.slug for case in plan.cases} == {"batch1-4-8"}
    assert {case.case_id.split("/")[3] for case in plan.cases} == {"dynamic"}


def test_equal_points_are_one_point() -> None:
    plan = _plan(MIN_OPT_MAX, shapes={"batch": {"min": 4, "opt": 4, "max": 8}})
    assert [(case.point, case.batch) for case in plan.cases] == [("min", 4), ("max", 8)]


def test_random_batch_leaves_the_varying_axis_out_and_others_at_their_optimum() -> None:
    shapes = BATCH | {"length": {"min": 16, "opt": 32, "max": 64}}
    (case,) = _plan(RANDOM, shapes=shapes).cases
    assert case.sequence is not None
    assert case.sequence.sizes == (1, 2, 3, 4)
    assert case.batch is None
    assert case.sizes == {"length": 32}
    assert case.profile.slug == "batch1-4-8_length16-32-64"
    assert case.cohort_id == "random-batch1-4-permuted-seed7_length32"


@pytest.mark.parametrize(
    ("sweep", "sizes"),
    [
        ({"range": "min..max"}, (1, 2, 3, 4, 5, 6, 7, 8)),
        ({"range": "opt..max"}, (4, 5, 6, 7, 8)),
        ({"range": [2, 3]}, (2, 3)),
        ({"draw": "trace", "trace": [5, 2, 5]}, (2, 5)),
    ],
)
def test_ranges_of_random_sweeps(sweep: dict[str, Any], sizes: tuple[int, ...]) -> None:
    (case,) = _plan(RANDOM | sweep).cases
    assert case.sequence is not None
    assert case.sequence.sizes == sizes


def test_a_backend_that_specialises_is_measured_under_both_sweeps() -> None:
    plan = _plan(_fixed(batch=[4]), MIN_OPT_MAX)
    cases = [case for case in plan.cases if case.cohort_id == "batch4"]
    assert [(case.case_id.split("/")[3], case.sweeps, case.point) for case in cases] == [
        ("static", ("fixed",), None),
        ("dynamic", ("min-opt-max",), "opt"),
    ]


def test_a_backend_that_does_not_specialise_is_measured_once_and_labelled_for_both() -> None:
    for sweeps in ((_fixed(batch=[4]), MIN_OPT_MAX), (MIN_OPT_MAX, _fixed(batch=[4]))):
        case = _case(_plan(*sweeps, backends=[{"use": "same"}]), "batch4", "same")
        assert case.case_id == "net/same/fp32/any/batch4"
        assert set(case.sweeps) == {"fixed", "min-opt-max"}
        assert case.point == "opt"
        assert not case.profile.static


def test_a_sweep_that_is_given_twice_changes_nothing() -> None:
    assert _plan(_fixed(batch=[4]), _fixed(batch=[4, 4])).cases == _plan(_fixed(batch=[4])).cases


def test_without_axes_there_is_one_cohort() -> None:
    plan = _plan(_fixed(), MIN_OPT_MAX, shapes={})
    (case,) = plan.cases
    assert (case.cohort_id, case.sweeps, case.sizes) == ("fixed", ("fixed", "min-opt-max"), {})


def test_precisions_are_sessions_of_their_own_and_unsupported_ones_say_so() -> None:
    plan = _plan(_fixed(batch=[1]), backends=[{"use": "special", "precision": ["fp32", "fp16", "int8", "fp32"]}])
    assert [case.session.session_id for case in plan.cases] == ["special-fp32", "special-fp16", "special-int8"]
    assert [case.status for case in plan.cases] == [None, None, "UNSUPPORTED"]
    assert plan.cases[2].reason == "special does not compute in int8"
    assert plan.cases[2].remedy == "it computes in fp32, fp16"
    assert plan.cohorts[0].runnable == plan.cases[:2]


@pytest.mark.parametrize(
    ("policies", "default", "found"),
    [
        (None, "rotate", ["rotate"]),
        (None, "flush", ["flush"]),
        (["flush", "rotate", "flush"], "warm", ["flush", "rotate"]),
        (["warm"], "flush", ["warm"]),
    ],
)
def test_each_state_of_the_cache_is_a_case_on_a_device(policies: Any, default: str, found: list[str]) -> None:
    backends = [{"use": "gpu", "graph": ["on", "off"], **({"cache": policies} if policies else {})}]
    plan = _plan(_fixed(batch=[1]), backends=backends, measure={"cache": default})
    assert [case.mode.cache for case in plan.cases] == found * 2
    labels = {case.mode.cache: case.device_label for case in plan.cases if case.mode.graph == "off"}
    assert labels == {each: "cuda-device" + ("" if each == "rotate" else f"-{each}") for each in found}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, {"spin": "cuda-device"}),
        (["blocking"], {"blocking": "cuda-device-blocking"}),
        (["spin", "blocking", "spin"], {"spin": "cuda-device", "blocking": "cuda-device-blocking"}),
    ],
)
def test_each_way_to_wait_is_a_case_on_a_device(given: Any, found: dict[str, str]) -> None:
    scenario = _scenario(_fixed(batch=[1]), backends=[{"use": "gpu", **({"sync": given} if given else {})}])
    early = {"gpu": _info("gpu", devices=("cuda",), asynchronous=True)}
    cases = make_plan(scenario, backends=early).cases
    assert {case.mode.sync: case.device_label for case in cases} == found
    assert len(cases) == len(found)
    assert [case.mode.sync for case in make_plan(scenario, backends=BACKENDS).cases] == ["blocking"], "it always waits"


@pytest.mark.parametrize(("early", "sync"), [(True, "spin"), (False, "blocking")])
def test_an_option_that_makes_launches_wait_decides_what_they_are_called(early: bool, sync: str) -> None:
    scenario = _scenario(_fixed(batch=[1]), backends=[{"use": "gpu", "options": {"early": early}}])
    info = replace(_info("gpu", devices=("cuda",), asynchronous=True), blocking_options={"early": False})
    (case,) = make_plan(scenario, backends={"gpu": info}).cases
    assert (case.mode.sync, case.device_label) == (sync, "cuda-device")


def test_the_caches_of_a_cpu_are_not_flushed() -> None:
    plan = _plan(_fixed(batch=[1]), backends=[{"use": "special"}, {"use": "gpu"}], measure={"cache": "flush"})
    on_cpu, on_device = plan.cases
    assert (on_cpu.status, on_cpu.remedy) == ("UNSUPPORTED", 'cache = "rotate" exceeds them')
    assert "flushed" in on_cpu.reason
    assert on_device.mode.cache == "flush" and on_device.status != "UNSUPPORTED"


def test_what_cannot_be_measured_is_a_case_with_a_status() -> None:
    backends = [{"use": name, "optional": True} for name in ("absent", "gpu", "rigid")]
    plan = make_plan(_scenario(_fixed(batch=[1]), RANDOM, backends=backends), backends=BACKENDS, has_gpu=False)
    found = {(case.session.entry.label, case.sweeps[0]): case.status for case in plan.cases}
    assert found == {
        ("absent", "fixed"): "SKIPPED",
        ("absent", "random-batch"): "SKIPPED",
        ("gpu", "fixed"): "SKIPPED",
        ("gpu", "random-batch"): "SKIPPED",
        ("rigid", "fixed"): None,
        ("rigid", "random-batch"): "UNSUPPORTED",
    }
    assert all(case.reason and case.remedy for case in plan.cases if case.status)
    assert "'absent'" in plan.cases[0].reason


def test_one_backend_under_two_names() -> None:
    plan = _plan(
        _fixed(batch=[1]), backends=[{"use": "special", "environment": "old"}, {"use": "special", "name": "b"}]
    )
    assert [case.session.session_id for case in plan.cases] == ["special-fp32", "b-fp32"]
    assert [case.session.environment for case in plan.cases] == ["old", "default"]
    assert len({case.case_id for case in plan.cases}) == 2


def test_options_have_their_defaults_filled_in() -> None:
    scenario = _scenario(_fixed(batch=[1]), backends=[{"use": "special", "options": {"scale": 2.0}}])
    plan = make_plan(scenario, backends=BACKENDS, options={"special": FakeOptions})
    assert plan.sessions["special-fp32"].options == FakeOptions(scale=2.0).model_dump()


def test_only_backends_keeps_the_reference() -> None:
    backends: list[dict[str, Any]] = [
        {"use": "special", "precision": ["fp16"]},
        {"use": "same"},
        {"use": "rigid"},
    ]
    scenario = _scenario(_fixed(batch=[1]), backends=backends)
    plan = make_plan(scenario, backends=BACKENDS, only_backends=frozenset({"rigid"}))
    assert [case.session.entry.label for case in plan.cases] == ["same", "rigid"]
    named = _scenario(_fixed(batch=[1]), backends=backends, accuracy={"reference": "rigid"})
    plan = make_plan(named, backends=BACKENDS, only_backends=frozenset({"special"}))
    assert [case.session.entry.label for case in plan.cases] == ["special", "rigid"]


def test_only_sweeps() -> None:
    scenario = _scenario(_fixed(batch=[1, 4]), MIN_OPT_MAX, RANDOM)
    plan = make_plan(scenario, backends=BACKENDS, only_sweeps=frozenset({"min-opt-max", "random-batch"}))
    assert [case.sweeps for case in plan.cases] == [("min-opt-max",)] * 3 + [("random-batch",)]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ({"ref": "onnx:models/my net.v2.onnx"}, "my-net.v2"),
        ({"ref": "python:package.module:make"}, "make"),
        ({"ref": "builtin:resnet18"}, "resnet18"),
        ({"ref": "onnx:///"}, "model"),
        ({"ref": "onnx:x.onnx", "name": "chosen"}, "chosen"),
    ],
)
def test_name_of_the_model(model: dict[str, str], name: str) -> None:
    assert _scenario(_fixed(batch=[1]), model=model).model_name == name


def test_random_sequences_of_two_axes_are_never_merged() -> None:
    shapes = {"b": {"min": 12, "opt": 15, "max": 16}, "b1": {"min": 2, "opt": 5, "max": 16}}
    sweeps = [{"kind": "random-batch", "axis": axis, "range": "min..max"} for axis in shapes]
    assert len(_plan(*sweeps, shapes=shapes).cases) == 2


# --- properties -------------------------------------------------------------------------------------------------

_SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=3)


@st.composite
def _scenarios(draw: st.DrawFn) -> Scenario:
    shapes = {}
    for axis in draw(st.sampled_from([[], ["batch"], ["length"], ["batch", "length"]])):
        low, opt, high = sorted(draw(st.tuples(*[st.integers(1, 6)] * 3)))
        shapes[axis] = {"min": low, "opt": opt, "max": high}
    fixed = st.fixed_dictionaries({"kind": st.just("fixed")}, optional=dict.fromkeys(shapes, _SIZES))
    kinds: list[st.SearchStrategy[dict[str, Any]]] = [fixed, st.just({"kind": "min-opt-max"})]
    if shapes:
        ranges = st.sampled_from(["min..opt", "min..max", "opt..max"])
        kinds.append(
            st.fixed_dictionaries(
                {"kind": st.just("random-batch"), "axis": st.sampled_from(sorted(shapes)), "range": ranges},
                optional={"seed": st.integers(0, 2), "draw": st.sampled_from(["permuted", "iid"])},
            )
        )
    sweeps = draw(st.lists(st.one_of(kinds), min_size=1, max_size=4))
    uses = draw(st.lists(st.sampled_from([*BACKENDS, "absent"]), min_size=1, max_size=4))
    precisions = st.lists(st.sampled_from(["fp32", "fp16", "int8"]), min_size=1, max_size=3)
    backends = [
        {"use": use, "name": f"{use}-{place}", "optional": True, "precision": draw(precisions)}
        for place, use in enumerate(uses)
    ]
    return _scenario(*sweeps, shapes=shapes, backends=backends)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(_scenarios())
def test_every_case_belongs_to_one_cohort_whose_cases_share_their_shapes(scenario: Scenario) -> None:
    plan = make_plan(scenario, backends=BACKENDS)
    assert max(Counter(cohort.cohort_id for cohort in plan.cohorts).values()) == 1
    for cohort in plan.cohorts:
        assert {case.cohort_id for case in cohort.cases} == {cohort.cohort_id}
        assert len({repr((dict(case.sizes), case.sequence)) for case in cohort.cases}) == 1
        sessions = {case.session.session_id for case in cohort.cases}
        assert sessions == set(plan.sessions), "every session has a row in every cohort"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(_scenarios())
def test_case_ids_are_unique_stable_and_tell_the_labels(scenario: Scenario) -> None:
    plan = make_plan(scenario, backends=BACKENDS)
    ids = [case.case_id for case in plan.cases]
    assert len(set(ids)) == len(ids)
    assert ids == [case.case_id for case in make_plan(scenario, backends=BACKENDS).cases]
    for case in plan.cases:
        model, name, precision, kind, *labels, cohort = case.case_id.split("/")
        assert labels == ([case.device_label] if case.session.device != "cpu" else [])
        assert (model, name, precision) == ("net", case.session.entry.label, case.session.precision)
        assert cohort == case.cohort_id
        assert (kind == "any") == (case.session.info is not None and not case.session.info.capabilities.specializes)
        assert kind == "any" or (kind == "static") == case.profile.static


@settings(max_examples=150, deadline=None, derandomize=True)
@given(_scenarios())
def test_sizes_cover_every_axis_and_fit_the_profile(scenario: Scenario) -> None:
    for case in make_plan(scenario, backends=BACKENDS).cases:
        varying = {case.sequence.axis} if case.sequence else set()
        assert set(case.sizes) | varying == set(scenario.shapes)
        assert not varying & set(case.sizes)
        if case.sweeps != ("fixed",) or case.profile.static:
            for axis, size in case.sizes.items():
                assert case.profile.axes[axis].min <= size <= case.profile.axes[axis].max
        if "fixed" not in case.sweeps:
            assert case.profile.axes == {name: axis.to_spec() for name, axis in scenario.shapes.items()}
