"""What `benchfw doctor` prints about a machine that is described."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pynvml
import pytest
from rich.console import Console

from benchfw.cli.doctor import show
from benchfw.doctor import cuda, gpu
from benchfw.doctor.findings import Finding, examine
from benchfw.plugins import Registry
from benchfw.testing.nvml import FakeGpu, FakeNvml

GOLDEN = Path(__file__).parents[2] / "golden"
FINDINGS = [
    Finding("machine", "CPUs", "OK", "8, Fast CPU 9000"),
    Finding(
        "machine",
        "quota",
        "FAIL",
        "0.5 CPUs: even one thread is stopped in every period, so latencies are those of the quota",
        "raise the limit: docker run --cpus N, Kubernetes limits.cpu, or systemd CPUQuota=",
    ),
    Finding("machine", "turbo", "WARN", "on: the clock depends on heat", "echo 1 | sudo tee /sys/no_turbo"),
    Finding("storage", "cache", "OK", "/" + "a-very-long-name/" * 6 + ", 12.3 GB free"),
    Finding("plugins", "a plugin with a name that is long (its distribution 0.1)", "FAIL", "Error:\x1b[2J one\ntwo"),
    Finding("backends", "fast", "WARN", "needs fast>=2, which is not installed", "pip install 'fast[cpu]'"),
]


@pytest.mark.parametrize("width", [80, 120])
def test_golden(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """To write it anew, look at the difference first."""
    show(FINDINGS, Console(width=width, highlight=False, markup=False, emoji=False))
    assert capsys.readouterr().out == (GOLDEN / f"doctor-{width}.txt").read_text(encoding="utf-8")


def test_golden_of_gpus(tmp_path: Path, capsys: pytest.CaptureFixture[str], registry: Registry) -> None:
    """One GPU that is well, one with all that can be wrong. What calls cost is left out."""
    (tmp_path / "status").write_text("Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n")
    ill = FakeGpu(
        uuid="GPU-11111111-1111-1111-1111-111111111111",
        mig=True,
        persistence=False,
        display=True,
        reasons=pynvml.nvmlClocksEventReasonSwPowerCap,
        ecc_uncorrected=2,
        processes=[(41, 3 << 30)],
        errors={"nvmlDeviceGetTotalEnergyConsumption": pynvml.NVML_ERROR_NOT_SUPPORTED},
    )
    packages = {"torch": "2.11.0+cu130", "onnxruntime-gpu": "1.31.1", "tensorrt": "11.4"}
    built_for = [each for info in registry.backends.values() for each in info.built_for]
    libraries = cuda.findings("default", packages, built_for, "12.8")
    findings = [*examine(gpu.checks(FakeNvml([FakeGpu(), ill], cuda=12080), process=tmp_path)), *libraries]
    texts = (re.sub(r"\d+ µs", "N µs", finding.text) for finding in findings)
    texts = (re.sub(r"the dearest \w+ ", "the dearest mig ", text) for text in texts)
    findings = [replace(finding, text=text) for finding, text in zip(findings, texts, strict=True)]
    show(findings, Console(width=120, highlight=False, markup=False, emoji=False))
    assert capsys.readouterr().out == (GOLDEN / "doctor-gpu-120.txt").read_text(encoding="utf-8")


def test_a_terminal_gets_the_same_words_in_colours() -> None:
    plain, coloured = io.StringIO(), io.StringIO()
    show(FINDINGS, Console(file=coloured, width=80, force_terminal=True, color_system="standard", highlight=False))
    show(FINDINGS, Console(file=plain, width=80, force_terminal=True, color_system=None, highlight=False))
    assert "\x1b[33mWARN" in coloured.getvalue()
    assert "\x1b[2J" not in coloured.getvalue()
    assert "\x1b" not in plain.getvalue()
    words = [line.split() for line in plain.getvalue().splitlines()]
    assert words == [line.split() for line in (GOLDEN / "doctor-80.txt").read_text(encoding="utf-8").splitlines()]
