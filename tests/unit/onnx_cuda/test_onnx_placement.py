"""Where the nodes of a graph run, in versions of ONNX Runtime that tell it and in those that log it alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as states

from benchfw.errors import BuildFailed, FellBack, Unsupported
from benchfw.worker.timing import HostTiming, Mode, timing_of
from benchfw_onnxruntime import placement
from tests.unit.onnx_cuda.lab import CPU, CUDA, TENSORRT, Lab
from tests.unit.onnx_steps.graphs import artifact, convolutions

NODES = len(convolutions().graph.node)
STAMP = "2026-11-22 02:05:45.658347917 [V:onnxruntime:, session_state.cc:1149 VerifyEachNodeIsAssignedToAnEp] "
BOTH = f"""\
{STAMP}Node placements
{STAMP} Node(s) placed on [{CUDA}]. Number of nodes: 7
{STAMP}  Conv (placed on [nothing])
{STAMP} Node(s) placed on [{CPU}]. Number of nodes: 2
{STAMP}  Shape (s)
"""


@pytest.fixture
def old(lab: Lab) -> Lab:
    """With a session as before 1.24, which does not tell where nodes are."""

    def missing(session: Any) -> Any:
        raise AttributeError("get_provider_graph_assignment_info")

    lab.session.get_provider_graph_assignment_info = property(missing)
    return lab


def saying(text: str) -> Callable[[], None]:
    """Return what writes to the standard error of the process, as ONNX Runtime does."""
    return lambda: (os.write(2, text.encode()), None)[1]


# --- the log --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        (BOTH, {CUDA: 7, CPU: 2}),
        (f"a\n{STAMP} All nodes placed on [{TENSORRT}]. Number of nodes: 1\nb\n", {TENSORRT: 1}),
        (BOTH + f"{STAMP} All nodes placed on [{CPU}]. Number of nodes: 3\n", {CUDA: 7, CPU: 5}),  # a graph in a graph
        (b"\xff\n".decode("latin-1") + BOTH, {CUDA: 7, CPU: 2}),
    ],
)
def test_nodes_in_a_log(text: str, nodes: dict[str, int]) -> None:
    assert placement.logged(saying(text)) == nodes


def test_a_log_without_them_is_an_error() -> None:
    with pytest.raises(ValueError, match=f"the log of onnxruntime {ort.__version__} does not say"):
        placement.logged(saying("nothing of the kind\n"))


def test_the_log_of_others_is_where_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))

    def fail() -> None:
        raise RuntimeError("no session")

    placement.logged(saying(BOTH))
    with pytest.raises(RuntimeError, match="no session"):
        placement.logged(fail)
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"
    assert len(os.listdir("/proc/self/fd")) == descriptors


# --- a backend ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"), reason="since 1.24")
def test_a_session_that_tells_is_asked(lab: Lab) -> None:
    assert lab.backend(optimization="disabled").facts()["nodes"] == {CPU: NODES}
    assert len(lab.session.made) == 1


@pytest.mark.parametrize("name", ["OrtCuda", "OrtTensorrt"])
def test_one_that_cannot_is_made_once_more_and_read(old: Lab, name: str) -> None:
    backend = old.backend(name, optimization="disabled")
    facts = [backend.facts() for _ in range(3)]
    assert [told["nodes"] for told in facts] == [{CPU: NODES}] * 3
    assert "nodes_unknown" not in facts[0]
    assert old.session.made == [ort.SessionOptions().log_severity_level, placement.VERBOSE], "loaded quietly, once more"


def test_what_cannot_be_known_says_why(old: Lab) -> None:
    backend = old.backend()
    old.session.refusal = RuntimeError("CUDA failure 2: out of memory ; GPU=0\n ; expr=cudaMalloc(&p, size)")
    facts = backend.facts()
    assert facts["nodes"] == {}
    assert facts["nodes_unknown"].startswith("onnxruntime: CUDA failure 2: out of memory")


# --- what is refused ------------------------------------------------------------------------------------------------


def test_nodes_on_the_cpu_may_be_refused(lab: Lab) -> None:
    words = "This session contains graph nodes that are assigned to the default CPU EP, but …"
    lab.session.refusal = states.Fail(f"[ONNXRuntimeError] : 1 : FAIL : {words}")
    with pytest.raises(FellBack, match=f"not all nodes run on {CUDA}: .*default CPU EP") as raised:
        lab.backend(disable_cpu_ep_fallback=True)
    assert "disable_cpu_ep_fallback" in str(raised.value.hint) and "doctor" in str(raised.value.hint)


def test_and_are_not_by_default(lab: Lab) -> None:
    lab.backend(disable_cpu_ep_fallback=True).close()
    assert lab.session.banned
    lab.backend()
    assert not lab.session.banned


@pytest.mark.parametrize(
    "words", ["Invalid TensorRT EP option: trt_bf16_enable", 'Unknown provider option: "enable_cudnn".']
)
def test_an_option_of_another_version_is_no_missing_library(lab: Lab, words: str) -> None:
    lab.session.refusal = RuntimeError(words)
    with pytest.raises(BuildFailed, match=words) as raised:
        lab.backend("OrtTensorrt", precision="bf16", allow_fallback=True)
    assert raised.value.hint == f"leave it out, or take another onnxruntime-gpu than {ort.__version__}"


@pytest.mark.parametrize("name", ["OrtCuda", "OrtTensorrt"])
@pytest.mark.parametrize("place", ["", "Load model from /a/cuda/m.onnx failed:"])
def test_a_format_that_is_too_new_has_a_remedy(lab: Lab, name: str, place: str) -> None:
    """The words are those of 1.17.1. A path may have the name of a provider in it, and is no library."""
    lab.session.refusal = states.Fail(f"{place}Unsupported model IR version: 10, max supported IR version: 9\n")
    with pytest.raises(BuildFailed, match="Unsupported model IR version: 10") as raised:
        lab.backend(name, allow_fallback=True)
    assert "m.ir_version = 9;" in str(raised.value.hint)


@pytest.mark.parametrize(("name", "provider"), [("OrtCuda", CUDA), ("OrtTensorrt", TENSORRT)])
def test_a_bad_model_is_no_missing_library_wherever_it_lies(lab: Lab, name: str, provider: str) -> None:
    """The words are ONNX Runtime's own, and have the path of the model in them."""
    source = artifact(convolutions(), lab.folder)
    model = onnx.load(source.path)
    model.graph.node[0].input[0] = "nobody"
    bad = lab.folder / "cuda-and-tensorrt.onnx"
    onnx.save(model, bad)
    with pytest.raises(BuildFailed, match=r"Load model from .*cuda-and-tensorrt.*nobody"):
        lab.backend(name, allow_fallback=True, source=replace(source, path=str(bad)))
    assert provider in lab.session.asked, "it is not tried on another one"


def test_a_graph_needs_launches_that_return_early(lab: Lab) -> None:
    backend = lab.backend(asynchronous=False)
    assert isinstance(timing_of(backend, None, Mode()), HostTiming)
    with pytest.raises(Unsupported, match='graph = "on" needs a backend that enqueues on a stream'):
        timing_of(backend, None, Mode(graph="on"))


@pytest.mark.parametrize("allowed", [True, False])
def test_what_onnxruntime_puts_in_the_place_by_itself_is_made_anew(old: Lab, allowed: bool, tmp_path: Path) -> None:
    """1.17 goes on with CUDA where TensorRT is not to be had, but without its options: not on our stream."""
    old.session.drops = [TENSORRT]
    if not allowed:
        with pytest.raises(FellBack, match=rf"asked for {TENSORRT}, got \['{CUDA}'"):
            old.backend("OrtTensorrt")
        return
    backend = old.backend("OrtTensorrt", allow_fallback=True)
    assert backend.facts()["provider_effective"] == CUDA
    assert [*old.session.asked] == [CUDA], "of the session that is kept"
    assert old.session.asked[CUDA]["user_compute_stream"] == str(backend.stream)
