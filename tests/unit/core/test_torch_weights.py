"""Weights from strangers: a pickle in them never runs."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.framework

SCENARIO = """
name = "weights"
[model]
ref = "builtin:resnet18"
weights = "evil.pt"
[model.inputs.input]
shape = ["batch", 3, 32, 32]
[shapes]
batch = { min = 1, opt = 1, max = 1 }
[[sweep]]
kind = "fixed"
[[backend]]
use = "torch-eager"
"""

MANY = """
import json, os, pickle, tarfile, warnings
from pathlib import Path
import torch
from safetensors.torch import save_file
from benchfw.errors import BuildFailed
from benchfw_torch.sources import _load_weights

class Evil:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)

warnings.simplefilter("ignore")
model = torch.nn.Linear(2, 2)
state = model.state_dict()
torch.save(state, "good.pt")
torch.save(state, "old.pth", _use_new_zipfile_serialization=False)
save_file(state, "good.safetensors")
torch.save({**state, "weight": Evil()}, "zip.pt")
torch.save(Evil(), "old.pt", _use_new_zipfile_serialization=False)
Path("plain.pth").write_bytes(pickle.dumps(Evil()))
with tarfile.open("tar.pt", "w") as tar:
    tar.add("plain.pth", "pickle")
torch.save(model, "module.pt")
torch.jit.script(model).save("script.pt")
Path("empty.pt").touch()
Path("text.pt").write_text("weights")
Path("misnamed.pt").write_bytes(Path("good.safetensors").read_bytes())
Path("misnamed.safetensors").write_bytes(Path("zip.pt").read_bytes())
torch.save(model.weight, "tensor.pt")
torch.save({"other": model.weight}, "other.pt")
said = {}
for path in sorted(Path().glob("*.*")):
    try:
        _load_weights(model, path)
        said[path.name] = None
    except BuildFailed as error:
        said[path.name] = [error.message, error.hint]
print(json.dumps(said))
"""


class _Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def test_code_in_weights_fails_the_build_and_does_not_run(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    (project.folder / "evil.pt").write_bytes(pickle.dumps(_Evil()))
    outcome, _ = project.run(SCENARIO)
    assert {row["status"] for row in outcome.rows} == {"BUILD_FAILED"}
    for row in outcome.rows:
        assert re.search(r"weights evil\.pt: .*run code.*safetensors", row["status_reason"])
    assert not list(project.folder.rglob("ran"))
    pickle.loads((project.folder / "evil.pt").read_bytes())
    assert (project.folder / "ran").exists(), "it would have run"


def test_every_other_format_is_refused_with_what_is_taken(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", MANY], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert {name for name, error in said.items() if error is None} == {"good.pt", "old.pth", "good.safetensors"}
    assert not (tmp_path / "ran").exists()
    for name, error in said.items():
        if error is not None:
            assert error[0].startswith(f"weights {name}: ") and "state dict" in error[1]
            assert "weights_only" not in error[0], "torch's advice on how to let it run"
