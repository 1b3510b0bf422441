"""What a worker does with models and artifacts: it resolves references, tells what files hold, and runs steps."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchfw.spec.artifact import Artifact, Step
from benchfw.spec.tensors import Profile, TensorSpec
from benchfw.worker.imports import load_class
from benchfw.worker.protocol import Message, ok

_FORMATS = {"onnx": "benchfw.spec.onnx_files:weights"}
"""What counts the weights in a file, by its format; imported with the format's own package, where that is installed."""


class Making:
    """Handlers of the messages about models and artifacts; nothing of what they make stays in the process.

    Args:
        tell: Sends the parent a message before the answer: how far a step is.
    """

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self._tell = tell

    def on_resolve(self, values: Mapping[str, Any]) -> Message:
        """Turn a model reference into an artifact."""
        source = load_class(values["factory"])()
        artifact, io = source.resolve(
            values["target"],
            root=Path(values["root"]),
            destination=Path(values["destination"]),
            seed=values["seed"],
            weights=Path(values["weights"]) if values["weights"] else None,
        )
        artifact = replace(artifact, meta={**artifact.meta, **_about(Path(artifact.path), artifact.format)})
        return ok(artifact=asdict(artifact), io=asdict(io) if io else None)

    def on_describe(self, values: Mapping[str, Any]) -> Message:
        """Tell what a file holds."""
        return ok(facts=dict(load_class(values["factory"])().describe(Path(values["path"]))))

    def on_copy(self, values: Mapping[str, Any]) -> Message:
        """Copy an artifact and what lies beside it."""
        source = load_class(values["factory"])()
        return ok(facts=dict(source.copy(Path(values["path"]), Path(values["destination"]))))

    def on_step(self, values: Mapping[str, Any]) -> Message:
        """Run one step: artifact in, file out."""
        step, destination = self._step(values), Path(values["destination"])
        meta = step.run(
            Artifact.from_json(values["artifact"]),
            inputs=[TensorSpec.from_json(item) for item in values["inputs"]],
            profile=Profile.from_json(values["profile"]),
            precision=values["precision"],
            destination=destination,
        )
        return ok(meta={**meta, **_about(destination, destination.suffix[1:])})

    def on_step_reads(self, values: Mapping[str, Any]) -> Message:
        """Tell what is in the files and the code that a step's options name."""
        inputs = [TensorSpec.from_json(item) for item in values["inputs"]]
        return ok(reads=dict(self._step(values).reads(inputs, Profile.from_json(values["profile"]))))

    def _step(self, values: Mapping[str, Any]) -> Step:
        step: Step = load_class(values["factory"])(values["options"])
        step.report = lambda text: self._tell(Message("progress", {"text": str(text)}))
        step.root, step.cache_dir = Path(values["root"]), Path(values["cache_dir"])
        step.device = values["device"]
        return step


def _about(path: Path, format_: str) -> dict[str, Any]:
    """Count the weights in a file of a known format: they stand in the artifact's meta, whoever has made it."""
    if format_ not in _FORMATS or not path.is_file():
        return {}
    module, _, name = _FORMATS[format_].partition(":")
    try:
        count = getattr(importlib.import_module(module), name)
    except ImportError:
        return {}
    return {"weights": count(path)}
