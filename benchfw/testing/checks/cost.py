"""Checks of what a backend takes: threads and memory."""

from __future__ import annotations

import contextlib
import time

import pytest

from benchfw.errors import Unsupported
from benchfw.spec.device import CPU
from benchfw.spec.tensors import Profile
from benchfw.testing.bench import Bench

_LEAK_BYTES = 4 << 20
_LEAK_S = 3.0
_CYCLES, _CYCLES_S = 50, 20.0
_DEVICE_LEAK_BYTES = 8 << 20


class CostChecks:
    """Threads, memory that is kept, and memory that `launch` takes."""

    def test_threads_are_those_of_the_context(self, live: Bench) -> None:
        """Or one, for an engine that has no more: the number in the results is true, and nobody has an advantage."""
        for threads in (1, 2):
            with live.loaded_for(Profile.fixed(live.points[0]), threads=threads) as instance:
                effective = instance.facts().get("threads_effective")
            assert effective is not None, (
                "facts() should say `threads_effective`: what the engine was given or tells, 1 if it has no more"
            )
            assert effective in (1, threads), f"facts() says {effective} threads, the context {threads}"

    def test_rebinding_does_not_leak(self, live: Bench) -> None:
        instance, arrays = live.loaded, live.case.arrays(live.points[-1])
        size = sum(array.nbytes for array in arrays.values())
        for _ in range(20):
            instance.infer(arrays)
        before, count, end = instance.rss_bytes(), 0, time.monotonic() + _LEAK_S
        while count < 50 or (count * size < _LEAK_BYTES and time.monotonic() < end):
            instance.bind(arrays)
            instance.launch()
            count += 1
        grown = instance.rss_bytes() - before
        allowed = count * size // 4 + (2 << 20)
        assert grown < allowed, (
            f"{count} times binding {size} bytes to one slot took {grown} bytes of memory for good: keep nothing of an "
            "earlier bind, and let `launch` not refer to its Bound, as such a cycle is not collected during a run"
        )

    def test_launch_allocates_nothing_of_its_own(self, live: Bench) -> None:
        live.loaded.infer(live.case.arrays(live.points[-1]))
        found = live.loaded.facts()["probe"]["allocations"]
        assert not found, f"the plugin's code allocates in launch, in bytes: {found}; allocate in bind instead"

    def test_closing_gives_device_memory_back(self, live: Bench) -> None:
        """What libraries keep for a process they have after the first fifth of the cycles."""
        if live.device == CPU:
            pytest.skip("cpu has no memory of its own")
        profile, left, end = Profile.fixed(live.points[0]), list[int](), time.monotonic() + _CYCLES_S
        arrays = live.case.arrays(live.points[0])
        while len(left) < 2 or (len(left) < _CYCLES and time.monotonic() < end):
            instance = live.open()
            instance.load(live.artifact(profile), profile)
            instance.infer(arrays)
            with contextlib.suppress(Unsupported):
                instance.capture()
            kept = instance.close()
            if kept is None:
                pytest.skip(f"{live.device} does not tell how much of its memory is free")
            left.append(kept)
        grown = sum(left[len(left) // 5 + 1 :])
        assert grown < _DEVICE_LEAK_BYTES, (
            f"{len(left)} times loaded, launched, captured and closed, it kept {grown} bytes of {live.device}, beside "
            f"{left[0]} of the first time: give back in `close` what it takes; MiB each time: {[b >> 20 for b in left]}"
        )
