"""Checks of what a backend says of its layers."""

from __future__ import annotations

import numpy as np
import pytest

from benchfw.errors import CaseError, Unsupported
from benchfw.spec.tensors import Profile
from benchfw.testing.bench import Bench

_N = 5
_OF_THE_ORDER = 20.0
"""So many times smaller or larger than the latency a sum of layers may be: a wrong unit is a thousand times off."""


class LayerChecks:
    """Times of layers, where `Capabilities.profiles` claims them."""

    def test_layers_take_the_time_of_an_inference(self, live: Bench) -> None:
        sizes = Profile(live.case.axes).sizes("max")
        if not live.info.capabilities.profiles:
            pytest.skip("it does not claim to tell the times of layers")
        with live.loaded_for(Profile.fixed(sizes)) as instance:
            instance.bind(live.case.arrays(sizes))
            latency = float(np.median(instance.launch(n=2 * _N)))
            try:
                layers, times = instance.profile(_N)
            except Unsupported as error:
                if live.device == "cpu":
                    pytest.fail(f"profile() raised: {error.message}; Capabilities.profiles says that it can")
                pytest.skip(f"on {live.device}: {error.message}")
            except CaseError as error:
                pytest.fail(f"profile() raised: {error.message}; Capabilities.profiles says that it can")
            live.check(instance.infer(live.case.arrays(sizes)), live.case.arrays(sizes), "after a profile")
        unnamed = [layer for layer in layers if not layer["name"] or not layer["op"]]
        assert not unnamed, f"layers without a name or an operator: {unnamed}"
        names = [layer["name"] for layer in layers]
        assert len({*names}) == len(names), f"two layers have one name: {sorted(names)}"
        assert (times["layers"].sum(axis=1) > 0).all(), f"layers that take no time did not run: {layers}"
        for what, taken in (  # the fastest of a few: a busy machine makes any of them slow, and a unit all of them
            ("the layers of an inference", float(np.min(times["layers"].sum(axis=0)))),
            ("a profiled inference", float(np.min(times["inferences"]))),
        ):
            assert latency / _OF_THE_ORDER < taken < latency * _OF_THE_ORDER, (
                f"{what} took {taken:.0f} ns, a launch {latency:.0f} ns: times are in ns"
            )
