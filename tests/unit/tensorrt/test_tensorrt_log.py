"""What is kept of a builder's log, and how its progress is told."""

from __future__ import annotations

import pytest

from benchfw_tensorrt.log import BuildLog, Progress

ERROR, WARNING, INFO, VERBOSE = 1, 2, 3, 4


def test_warnings_are_kept_once_and_counted() -> None:
    log = BuildLog("error")
    for _ in range(3):
        log.add(WARNING, "ModelImporter.cpp:1071: Make sure input ids has Int64 binding.")
    log.add(INFO, "nothing to keep")
    assert log.warnings == ["Make sure input ids has Int64 binding."]
    assert log.warning_count == 3
    assert log.important == []


def test_at_most_fifty_warnings_are_kept() -> None:
    log = BuildLog("error")
    for number in range(80):
        log.add(WARNING, f"warning {number}")
    assert (len(log.warnings), log.warning_count) == (50, 80)


@pytest.mark.parametrize(
    "text",
    [  # as TensorRT 8.6 says them
        "Your ONNX model has been generated with INT64 weights, while TensorRT does not natively support INT64. "
        "Attempting to cast down to INT32.",
        "Weights [name=conv1.weight] had the following issues when converted to FP16:  - Subnormal FP16 values "
        "detected.",
        "[MS] Multi stream is disabled because the stream assignment failed.",
    ],
)
def test_what_changes_the_numbers_is_important(text: str) -> None:
    log = BuildLog("error")
    log.add(WARNING, text)
    assert log.important == [text]


def test_a_failure_has_the_first_error_and_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    log = BuildLog("warning")
    log.add(0, "Thread context has not been set! Using global log stream.")  # said of every build
    log.add(ERROR, "no tactics to implement the operation within workspace limit\nand more")
    log.add(ERROR, "something that follows from it")
    log.add(INFO, "not asked for")
    error = log.failure("it cannot build")
    assert error.message == "it cannot build: no tactics to implement the operation within workspace limit"
    assert error.hint == "a larger option workspace, or none"
    assert log.failure("nor now").message == "nor now: it gives no reason"  # what was told is not told again
    printed = capsys.readouterr().err
    assert "[error] something that follows from it" in printed and "not asked for" not in printed


def test_a_failure_without_words_says_so() -> None:
    assert BuildLog("error").failure("it cannot build").message == "it cannot build: it gives no reason"


def test_a_failure_without_an_error_tells_the_last_warning() -> None:
    log = BuildLog("error")
    log.add(WARNING, "Unable to determine GPU memory usage")
    text = "CUDA initialization failure with error: 35."  # TensorRT 8.6 where there is no driver
    log.add(WARNING, text)
    error = log.failure("it makes no builder")
    assert error.message == f"it makes no builder: it gives no reason; its last warning: {text}"
    assert error.hint == "this needs an NVIDIA GPU and its driver"


def test_progress_is_a_share_of_the_whole_and_never_falls() -> None:
    told: list[str] = []
    times = iter(range(100))
    progress = Progress(told.append, clock=lambda: next(times))
    progress.start("build", 4)
    progress.done("build", 0)
    progress.start("optimise", 2)
    progress.done("optimise", 0)  # a half of the second quarter
    progress.done("optimise", 1)
    progress.finish("optimise")
    progress.start("time", 2)  # another one within the same quarter
    progress.done("time", 0)
    progress.finish("time")
    progress.done("build", 3)
    assert told == [
        "build, 0 %",
        "build, 25 %",
        "optimise, 25 %",
        "optimise, 38 %",
        "optimise, 50 %",
        "time, 50 %",
        "time, 50 %",
        "build, 100 %",
    ]


def test_progress_is_told_twice_a_second_at_most() -> None:
    told: list[str] = []
    progress = Progress(told.append, clock=iter([0.0, 0.1, 0.4, 0.5, 0.6]).__next__)
    for _ in range(5):
        progress.start("phase", 1)
    assert len(told) == 2


def test_a_phase_that_was_not_opened_is_no_error() -> None:
    progress = Progress(lambda text: None)
    progress.done("unknown", 3)
    progress.finish("unknown")
