"""Checks of the order of calls, and of what comes out of the wrong one."""

from __future__ import annotations

import contextlib

import pytest

from benchfw.errors import BuildFailed, CaseError, Invalid
from benchfw.plugins import options_model
from benchfw.spec.tensors import Profile
from benchfw.testing.bench import Bench
from benchfw.testing.checks.refusals import refused


class LifeChecks:
    """From the constructor to `close`, and errors on the way."""

    def test_options_reach_the_backend(self, live: Bench) -> None:
        model = options_model(live.info)
        given = model.model_validate(live.case.options).model_dump(mode="json") if model else {}
        assert live.loaded.facts()["probe"]["options"] == given, "Backend.__init__ must pass its arguments on"

    def test_bind_before_load_is_refused(self, live: Bench) -> None:
        with live.opened() as instance:
            arrays = live.case.arrays(live.points[0])
            refused(
                Invalid, lambda: instance.bind(arrays), "bind before load", "look in bind whether load has been called"
            )

    def test_close_is_idempotent_and_safe_at_any_time(self, live: Bench) -> None:
        """Each is closed twice: one that is not loaded, one that has run, and one that could not be loaded."""
        fresh, used, failed = live.open(), live.open(), live.open()
        profile = Profile.fixed(live.points[0])
        used.load(live.artifact(profile), profile)
        used.infer(live.case.arrays(live.points[0]))
        with contextlib.suppress(CaseError):
            failed.load(live.broken_artifact(), live.profile)
        for instance, what in ((fresh, "before load"), (used, "after a launch"), (failed, "after a load that failed")):
            try:
                instance.close()
            except CaseError as error:
                pytest.fail(f"close {what}, or once more, raised: {error.message}")

    def test_an_artifact_that_is_none_is_a_failed_build(self, live: Bench) -> None:
        if "*" in live.info.accepts:
            pytest.skip("a backend that accepts any format may never look at the file")
        with live.opened() as instance:
            broken = live.broken_artifact()
            words = refused(
                BuildFailed, lambda: instance.load(broken, live.profile), "a file that is no model", "raise BuildFailed"
            )
        assert words.strip(), "BuildFailed says what is wrong, in the framework's words"

    def test_what_means_nothing_is_not_explained(self, live: Bench) -> None:
        meaning = live.loaded.facts()["probe"]["explains_nothing_as"]
        assert meaning is None, f"explain() {meaning} for an error that it cannot know; it must return None"
