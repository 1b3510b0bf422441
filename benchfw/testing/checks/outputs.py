"""Checks of what a backend computes, and of inputs that it must not compute with."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchfw.errors import BackendError, CaseError, Invalid, Unsupported
from benchfw.spec.backend import PRECISIONS
from benchfw.spec.tensors import Profile
from benchfw.testing.bench import Bench
from benchfw.testing.checks.refusals import refused


class OutputChecks:
    """Outputs at all sizes, in all slots, of all inputs."""

    def test_outputs_are_right_at_every_point(self, live: Bench) -> None:
        for precision in sorted({*PRECISIONS} & {*live.info.capabilities.precisions}):
            same = precision == live.precision
            how = contextlib.nullcontext(live.loaded) if same else live.loaded_for(live.profile, precision=precision)
            with contextlib.ExitStack() as stack:
                try:
                    instance = stack.enter_context(how)
                except Unsupported:
                    if same:
                        raise
                    continue  # not on this machine, whose processor may lack the instructions
                for sizes in live.points:
                    inputs = live.case.arrays(sizes)
                    live.check(instance.infer(inputs), inputs, f"{precision} at {sizes}", precision)
                facts = instance.facts()
            for what, asked in (("provider", live.info.provider), ("precision", precision)):
                effective = facts.get(f"{what}_effective")
                assert effective == asked, f"facts() says {what}_effective {effective!r}, {asked!r} was asked for"

    def test_outputs_of_an_artifact_for_one_shape(self, live: Bench) -> None:
        sizes = Profile(live.case.axes).sizes("max")
        inputs = live.case.arrays(sizes)
        with live.loaded_for(Profile.fixed(sizes)) as instance:
            live.check(instance.infer(inputs), inputs, f"made for {sizes}")

    def test_bind_copies_the_inputs(self, live: Bench) -> None:
        inputs = live.case.arrays(live.points[0])
        live.loaded.bind(inputs)
        live.loaded.spoil()
        live.loaded.launch()
        live.check(live.loaded.outputs(), inputs, "the arrays that bind gets go away, so it has to copy them")

    def test_slots_do_not_disturb_each_other(self, live: Bench) -> None:
        instance, sizes = live.loaded, live.points[0]
        inputs = [live.case.arrays(sizes, seed) for seed in (1, 2)]
        for slot, arrays in enumerate(inputs):
            instance.bind(arrays, slot)
        for launched in ((0, 1), (1, 0), (0,)):
            for slot in launched:
                instance.launch(slot, n=2)
            for slot in (0, 1):
                what = f"slot {slot} beside another: each needs its own buffers"
                live.check(instance.outputs(slot), inputs[slot], what)

    def test_threads_launch_slots_at_once(self, live: Bench) -> None:
        """As many as `Capabilities.releases_gil` allows: throughput is measured with one thread per inference then."""
        lanes = [[0], [1]] if live.info.capabilities.releases_gil else [[0]]
        instance, sizes = live.loaded, live.points[0]
        inputs = [live.case.arrays(sizes, seed) for seed in range(len(lanes))]
        for slot, arrays in enumerate(inputs):
            instance.bind(arrays, slot)
            instance.launch(slot)
        instance.ask("window", lanes=lanes, order=[0] * 32)
        for slot in range(len(lanes)):
            what = f"slot {slot}, launched while another thread launches another one: declare no `releases_gil`"
            live.check(instance.outputs(slot), inputs[slot], what)

    def test_a_slot_can_be_bound_again_to_another_shape(self, live: Bench) -> None:
        for seed, sizes in enumerate([*live.points, live.points[0]]):
            inputs = live.case.arrays(sizes, seed)
            live.check(live.loaded.infer(inputs), inputs, f"slot 0 bound anew at {sizes}")

    def test_inputs_that_do_not_fit_are_refused(self, live: Bench) -> None:
        instance = live.loaded
        good = live.case.arrays(live.points[0])
        name, array = next(iter(good.items()))
        wrong: dict[str, dict[str, NDArray[Any]]] = {
            "an unknown name": {f"{key}_other": value for key, value in good.items()},
            "another dtype": {**good, name: array.astype(np.float64 if array.dtype != np.float64 else np.float32)},
            "another rank": {**good, name: array[None]},
            "no input at all": {},
        }
        fixed = [place for place, dim in enumerate(live.case.inputs[0].shape) if isinstance(dim, int)]
        if fixed:
            wrong["another size of a fixed dimension"] = {**good, name: np.repeat(array, 2, axis=fixed[-1])}
        for what, arrays in wrong.items():
            refused(
                Invalid,
                lambda arrays=arrays: instance.bind(arrays),  # type: ignore[misc]
                f"bind with {what}",
                "use `check_inputs` of benchfw.spec.backend",
            )
        live.check(instance.infer(good), good, "after inputs that were refused")

    def test_sizes_outside_of_the_profile_are_refused_or_right(self, live: Bench) -> None:
        if not live.case.axes:
            pytest.skip("the model has no named axis")
        sizes = {name: size + 1 for name, size in live.profile.sizes("max").items()}
        inputs = live.case.arrays(sizes)
        try:
            outputs = live.loaded.infer(inputs)
        except BackendError:
            return
        except CaseError as error:
            pytest.fail(
                f"at {sizes}, outside of the profile, the worker was lost: {error.message}; raise Invalid in bind"
            )
        live.check(outputs, inputs, f"outside of the profile, at {sizes}")
        assert live.info.capabilities.dynamic_shapes, (
            "it serves another size than its artifact was made for: Capabilities.dynamic_shapes is wrong"
        )
