"""`benchfw check` with fake backends: what it asks for, what it says, how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("warm_workers")

Cli = Callable[..., tuple[str, str]]
MODEL = ("check", "null:m", "--input", "x=batchx4", "--against", "fake")


def faulty(fault: str, at: str) -> tuple[str, ...]:
    options = "backend.fake-special.options"
    return "--set", f"{options}.fault={fault}", "--set", f"{options}.at={at}"


def test_a_table_for_people(cli: Cli) -> None:
    out, err = cli(*MODEL, "--backend", "fake-special", "--batch", "3")
    assert "m: 4 inputs per shape, against fake in fp32" in out
    assert "fake-special fp32  batch=3  output" in out
    assert "comparing 4 inputs at batch3" in err
    assert not Path("results").exists()


def test_outputs_that_are_off_end_with_5_and_what_cannot_run_with_3(cli: Cli) -> None:
    out, _ = cli(*MODEL, "--backend", "fake-special", "--set", "backend.fake-special.options.scale=1.1", code=5)
    assert "fail fake-special fp32 at batch=1, output: 4 of 4 inputs, worst is input" in out
    assert "relative L2 1.0e-01 is above 1e-05" in out
    out, _ = cli(*MODEL, "--backend", "fake-special", "--precision", "int8", code=3)
    assert "UNSUPPORTED fake-special int8 at batch=1: fake-special does not compute in int8" in out
    out, _ = cli(*MODEL, "--backend", "fake-special", "--backend", "fake", *faulty("exit", "outputs"), code=3)
    assert "CRASH fake-special fp32" in out
    assert "fake fp32  batch=1  output" in out  # the others go on


def test_what_only_a_tolerance_lets_pass_is_a_warn_that_says_so(cli: Cli) -> None:
    off = ("--backend", "fake-special", "--precision", "fp16", "--set", "backend.fake-special.options.scale=1.01")
    out, _ = cli(*MODEL, *off, code=5)
    assert "relative L2 1.0e-02 is above 0.006" in out
    wide = ("--set", "accuracy.tolerance.fp16.rel_l2=0.02")
    out, _ = cli(*MODEL, *off, *wide)
    assert "warn fake-special fp16 at batch=1, output: worst is input" in out
    assert "beyond the default of fp16: relative L2 1.0e-02 is above 0.006" in out
    (check,) = json.loads(cli(*MODEL, *off, *wide, "--json")[0])["checks"]
    assert {(row["verdict"], row["default_verdict"]) for row in check["rows"]} == {("warn", "fail")}
    cli(*MODEL, *off, "--set", "accuracy.tolerance.fp16.outputs.output.rel_l2=0.02")
    out, _ = cli(*MODEL, *off, "--set", "accuracy.tolerance.fp16.outputs.logits.rel_l2=0.02", code=3)
    assert "INVALID fake-special fp16" in out
    assert "the tolerance of fp16 is for the output 'logits', the reference has ['output']" in out


def test_another_precision_than_was_asked_for_is_told(cli: Cli) -> None:
    out, _ = cli(*MODEL, "--backend", "fake-special", *faulty("other_precision", "facts"), code=3)
    assert "FALLBACK fake-special fp32 at batch=1: asked for the precision fp32, int8 is in effect" in out


def test_a_reference_that_cannot_be_right_is_none(cli: Cli) -> None:
    _, err = cli(*MODEL, "--backend", "fake-special", "--set", "backend.reference.options.scale=0.0", code=3)
    assert "the reference fake: V01: output 'output': all 12 elements are zero" in err


def test_what_is_not_given_as_onnx_cannot_be_bisected(cli: Cli) -> None:
    wrong = ("--backend", "fake-special", "--set", "backend.fake-special.options.scale=1.1")
    out, _ = cli(*MODEL, *wrong, "--bisect", "--json", code=5)
    (bisection,) = json.loads(out)["bisections"]
    assert bisection["departures"] == []
    assert bisection["note"].startswith("fake-special is given the model as 'null'")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backend", "nothing"), "nothing"),
        (("--backend", "fake", "--steps", "Simplify"), "steps.Simplify: no installed plugin provides this step"),
        (("--backend", "fake", "--precision", "fp31"), "backend[1].precision[0]"),
        (("--backend", "fake", "--batch", "0"), "--batch 0: is neither N nor MIN:OPT:MAX"),
        (("--backend", "fake", "--batch", "1:2"), "--batch 1:2: is neither N nor MIN:OPT:MAX"),
        (("--backend", "fake", "--batch", "3:2:1"), "--batch 3:2:1: is neither N nor MIN:OPT:MAX"),
        (("--backend", "fake", "--size", "words=2"), "--size words: the model has no such axis; it has batch"),
        (("--backend", "fake", "--inputs", "absent"), "model.data: no such folder: 'absent'"),
    ],
)
def test_what_cannot_be_is_refused(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    _, err = cli(*MODEL, *arguments, code=2)
    assert message in err


def test_samples_that_do_not_fit_are_refused(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    _, err = cli(*MODEL, "--backend", "fake", "--inputs", str(folder), code=2)
    assert "has no samples" in err
    np.save(folder / "a.npy", np.zeros(5, np.float32))
    _, err = cli(*MODEL, "--backend", "fake", "--inputs", str(folder), code=2)
    assert "a.npy: a sample of 'x' has shape [5], wanted [4]" in err


def test_a_model_that_no_backend_takes_as_it_is_needs_a_reference(cli: Cli) -> None:
    _, err = cli("check", "null:m", "--backend", "null", "--input", "x=batchx4", code=2)
    assert "no installed backend takes a model of the format 'null' as it is" in err
