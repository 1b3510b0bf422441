"""What the artifact steps make of the models that come with benchfw: a table of time, size, nodes and error.

`python benchmarks/steps.py builtin:resnet18 builtin:bert` runs each step once per model, anew, through the cache that
BENCHFW_CACHE names: the export with a dynamic batch, then every other step on what was exported. The error is the
largest relative L2 distance that the step itself found between its outputs and those of the model before; a step that
does not compare has none. Steps of plugins that are not installed are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchfw import plugins
from benchfw.artifacts import Builder, Made, Wanted
from benchfw.cli.inputs import input_specs, split_model
from benchfw.cli.shapes import make_profile
from benchfw.errors import CaseError
from benchfw.executors.making import making
from benchfw.registry import Registry
from benchfw.spec.tensors import AxisRange, Profile, TensorSpec
from benchfw.store.files import size_text

SIZES = {
    "builtin:resnet18": {"height": AxisRange.fixed(224), "width": AxisRange.fixed(224)},
    "builtin:resnet50": {"height": AxisRange.fixed(224), "width": AxisRange.fixed(224)},
    "builtin:bert": {"sequence": AxisRange(min=16, opt=64, max=128)},
    "builtin:detr": {"height": AxisRange.fixed(256), "width": AxisRange.fixed(256)},
}
BATCH = AxisRange(min=1, opt=2, max=4)
_HEADER = ("model", "step", "seconds", "size", "nodes", "error", "note")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="references of models")
    models = parser.parse_args().models
    registry = plugins.registry()
    print(f"| {' | '.join(_HEADER)} |")
    print(f"| {' | '.join('---' for _ in _HEADER)} |")
    with making(registry, rebuild=True) as builder:
        for model in models:
            for row in _rows(registry, builder, model):
                print(f"| {' | '.join(row)} |", flush=True)


def _rows(registry: Registry, builder: Builder, model: str) -> Iterator[tuple[str, ...]]:
    scheme, target = split_model(registry, model)
    resolved = builder.resolve(registry.model_source(scheme), target, root=Path.cwd(), seed=0, weights=None)
    inputs = input_specs(model, resolved.io, ())
    profile = make_profile(inputs, BATCH, SIZES.get(model, {}))
    exported = builder.make(resolved.artifact, Wanted(accepts=("onnx",)), inputs=inputs, profile=profile)
    yield (model, *_cells(registry, builder, exported))
    for wanted, made_for in _wishes(registry, profile):
        yield (model, *_made(registry, builder, exported, wanted, inputs, made_for))


def _wishes(registry: Registry, profile: Profile) -> Iterator[tuple[Wanted, Profile]]:
    """Yield what is wanted of an ONNX model in fp32, one step each, and for which sizes."""
    steps = [step for step in registry.steps.values() if step.source == "onnx"]
    fixed = Profile({name: AxisRange.fixed(1 if name == "batch" else axis.opt) for name, axis in profile.axes.items()})
    for step in steps:
        if step.on_request:
            yield Wanted(accepts=(step.target,), given={step.name: {}}), profile
        elif step.target != "onnx":
            yield Wanted(accepts=(step.target,)), profile
        elif step.makes:
            yield Wanted(accepts=("onnx",), precision=step.makes[0]), profile
        else:
            yield Wanted(accepts=("onnx",), specialize=True), fixed


def _made(
    registry: Registry,
    builder: Builder,
    exported: Made,
    wanted: Wanted,
    inputs: Sequence[TensorSpec],
    profile: Profile,
) -> tuple[str, ...]:
    try:
        return _cells(registry, builder, builder.make(exported.artifact, wanted, inputs=inputs, profile=profile))
    except CaseError as error:
        what = next(iter(wanted.given), None) or wanted.precision or wanted.accepts[0]
        return (what, "", "", "", "", f"{error.status}: {error.message}")


def _cells(registry: Registry, builder: Builder, made: Made) -> tuple[str, ...]:
    path, meta = Path(made.artifact.path), made.metas[-1]
    files = [file for file in path.parent.iterdir() if file.name.startswith(path.name)]
    onnx = registry.formats["onnx"]
    nodes = builder.ask_format("describe", onnx, path=str(path))["nodes"] if path.suffix == ".onnx" else "-"
    size = size_text(sum(file.stat().st_size for file in files))
    return (made.steps[-1], f"{made.seconds:.1f}", size, str(nodes), _error(meta), _note(meta))


def _error(meta: Mapping[str, Any]) -> str:
    found = [meta["agreement"]] if "agreement" in meta else list(meta.get("errors", {}).values())
    return f"{max(item['rel_l2'] for item in found):.1e}" if found else "-"


def _note(meta: Mapping[str, Any]) -> str:
    """Return what a step counted."""
    notes = []
    if "quantised" in meta:
        counts = meta["quantised"]
        share = f"{counts['quantised_share']:.1%} of the MACs"
        notes.append(f"{counts['quantised_nodes']} of {counts['nodes']} products, {share}")
    for name in ("zeroed", "casts"):
        if name in meta:
            notes.append(f"{name} {meta[name]}")
    if isinstance(meta.get("layers"), Mapping):
        notes.append(f"{meta['layers']['count']} layers")
    return "; ".join(notes)


if __name__ == "__main__":
    main()
