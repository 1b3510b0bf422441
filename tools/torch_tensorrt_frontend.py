"""Runs the backend `torch-tensorrt` through a real torch-tensorrt on a CPU, all but the building of engines.

    pip download --no-deps --python-version 3.11 --only-binary :all: --dest WHEELS torch-tensorrt==2.13.0 \
        tensorrt-cu13-bindings==11.0.0.114
    python tools/torch_tensorrt_frontend.py WHEELS [MODEL [PRECISION [OPTIONS]]]

Exports a built-in model, lowers and partitions it, and lets PyTorch run what would become engines; prints facts, and
how far the outputs are from the model's. The native libraries are left out, TensorRT's are stubs (a C compiler is
needed), and a few functions of `torch.cuda` answer for a GPU that is not there. WHEELS holds one version of each
package; torch, safetensors, psutil, filelock and dllist are installed. OPTIONS is JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

MAJORS = (10, 11)
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
SYMBOLS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
    *("getBuilderPluginRegistry", "getPluginRegistry", "initLibNvInferPlugins", "createNvOnnxParser_INTERNAL"),
    *("createNvOnnxParserRefitter_INTERNAL", "getNvOnnxParserVersion"),
)
TENSORRT = "from tensorrt_bindings import *\nfrom tensorrt_bindings import __path__, __version__\n"
SIZES = {"batch": (1, 4, 8), "height": (64, 64, 64), "width": (64, 64, 64), "sequence": (8, 32, 64)}


def unpack(wheels: Path, folder: Path) -> None:
    """Unpack the Python code, and make the libraries that TensorRT's bindings ask for."""
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as opened:
            opened.extractall(folder)
    shutil.rmtree(folder / "torch_tensorrt/lib", ignore_errors=True)
    (folder / "tensorrt").mkdir()
    (folder / "tensorrt/__init__.py").write_text(TENSORRT)
    (folder / "stub.c").write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS))
    for library in (f"lib{name}.so.{major}" for name in LIBRARIES for major in MAJORS):
        command = ["cc", "-shared", "-fPIC", "-o", str(folder / library), str(folder / "stub.c")]
        subprocess.run([*command, f"-Wl,-soname,{library}"], check=True)


def stand_in(torch: Any) -> None:
    """Let PyTorch answer for a GPU, and the compiler make parts of the graph engines without building them."""
    answers = {
        "get_device_capability": (9, 0),
        "current_device": 0,
        "device_count": 1,
        "mem_get_info": (1 << 36, 1 << 36),
    }
    for name, answer in {**answers, "get_device_name": "none", "synchronize": None, "empty_cache": None}.items():
        setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    torch._C._CudaDeviceProperties = object
    from torch_tensorrt.dynamo import _compiler
    from torch_tensorrt.dynamo.runtime import TorchTensorRTModule

    class Engine(TorchTensorRTModule):  # type: ignore[misc]
        def __init__(self, graph: Any) -> None:
            torch.nn.Module.__init__(self)
            self.graph = graph

        def forward(self, *values: Any) -> Any:
            return self.graph(*values)

        def set_output_tensors_as_unowned(self, enabled: bool) -> None:
            pass

    to_device = _compiler.to_torch_tensorrt_device
    _compiler.convert_module = lambda graph, *_, **__: Engine(graph)
    _compiler.to_torch_tensorrt_device = lambda device: to_device(torch.device("cuda:0"))
    _compiler.to_torch_device = lambda device: torch.device("cpu")


def run(folder: Path, name: str, precision: str, options: dict[str, Any]) -> None:
    """Compile a model, and compare it with itself at three sizes."""
    import numpy as np
    import torch

    stand_in(torch)
    from benchfw.spec import AxisRange, Context, Profile
    from benchfw.spec.values import random_inputs
    from benchfw_torch.sources import BuiltinSource, build
    from benchfw_torch.tensors import arguments, named_outputs
    from benchfw_torch_tensorrt.backend import TorchTensorrt
    from benchfw_torch_tensorrt.options import TorchTensorrtOptions

    artifact, io = BuiltinSource().resolve(name, root=folder, destination=folder, seed=0, weights=None)
    assert io is not None
    axes = {dim: SIZES[dim] for spec in io.inputs for dim in spec.shape if isinstance(dim, str)}
    profile = Profile({axis: AxisRange(min=low, opt=opt, max=high) for axis, (low, opt, high) in axes.items()})
    context = Context(device="cpu", threads=2, precision=precision, cache_dir=folder, root=folder, inputs=io.inputs)
    backend = TorchTensorrt(TorchTensorrtOptions(**options).model_dump(mode="json"), context)
    backend.load(backend.prepare(artifact, profile))
    print(json.dumps(dict(backend.facts()), indent=1))
    model = build(artifact)
    for point in ("min", "opt", "max"):
        arrays = random_inputs(io.inputs, profile.sizes(point))
        bound = backend.bind(0, arrays)
        bound.launch()
        wanted = named_outputs(model(**arguments({key: torch.tensor(array) for key, array in arrays.items()})))
        for key, output in bound.outputs().items():
            off = np.abs(output - wanted[key].numpy()).max()
            print(f"{point} {key} {list(output.shape)} {output.dtype} off by {off:.1e}")


def main(wheels: str, name: str = "resnet18", precision: str = "fp32", options: str = "{}") -> None:
    if Path(wheels, "stub.c").exists():  # unpacked, by the process that started this one
        run(Path(wheels), name, precision, json.loads(options))
        return
    with tempfile.TemporaryDirectory() as folder:
        unpack(Path(wheels), Path(folder))
        paths = os.pathsep.join([folder, str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "LD_LIBRARY_PATH": folder, "PYTHONPATH": paths}
        subprocess.run([sys.executable, __file__, folder, name, precision, options], env=env, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
