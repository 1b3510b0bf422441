"""Models from Python code: resolved once, their weights written for every other worker to load."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_model
from torch import nn

from benchfw.errors import BadReference, BuildFailed
from benchfw.spec import Artifact, IoSpec, ModelSource
from benchfw_torch.builtin import BUILTIN, find_builtin
from benchfw_torch.denormals import survey

_WEIGHTS_HINT = "model.weights takes a state dict saved by torch.save(model.state_dict(), …), or a .safetensors file"


class BuiltinSource(ModelSource):
    """`builtin:NAME`."""

    def resolve(
        self, target: str, *, root: Path, destination: Path, seed: int, weights: Path | None
    ) -> tuple[Artifact, IoSpec | None]:
        factory = find_builtin(target)
        own = BUILTIN[target]
        return _resolve(f"builtin:{target}", factory, root, destination, seed, weights, origin=own.origin), own.io


class PythonSource(ModelSource):
    """`python:MODULE:CALLABLE`; the module is found from the scenario's folder."""

    def resolve(
        self, target: str, *, root: Path, destination: Path, seed: int, weights: Path | None
    ) -> tuple[Artifact, IoSpec | None]:
        factory = _import(target, root)
        return _resolve(f"python:{target}", factory, root, destination, seed, weights), None


def build(artifact: Artifact) -> nn.Module:
    """Return the model of a torch artifact, its weights loaded, in eval mode."""
    reference = str(artifact.meta["ref"])
    scheme, _, target = reference.partition(":")
    factory = find_builtin(target) if scheme == "builtin" else _import(target, Path(artifact.meta["root"]))
    model = _call(factory, reference, int(artifact.meta["seed"]))
    missing, unexpected = load_model(model, artifact.path, strict=False)
    if missing or unexpected:
        raise BuildFailed(f"{reference} has other parameters than when it was resolved: {missing or unexpected}")
    return model.eval()


def _resolve(
    reference: str,
    factory: Callable[[], nn.Module],
    root: Path,
    destination: Path,
    seed: int,
    weights: Path | None,
    *,
    origin: str = "",
) -> Artifact:
    model = _call(factory, reference, seed).eval()
    if weights is not None:
        _load_weights(model, weights)
    draft = destination / f".{os.getpid()}.safetensors"
    try:
        save_model(model, str(draft))
        found = survey(draft)
        _refuse_nan(reference if weights is None else weights.name, found.nans)
        digest = _sha256_of(draft)
        path = destination / f"{digest}.safetensors"
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    parts = [digest, reference, _source(factory), *_sources_below(root), *([origin] if origin else [])]
    meta = {
        "ref": reference,
        "seed": seed,
        "root": str(root),
        "values": found.values,
        "denormals": found.denormals,
        "warnings": [found.warning] if found.warning else [],
    }
    identity = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return Artifact(format="torch", path=str(path), sha256=identity, meta=meta)


def _refuse_nan(place: str, nans: Mapping[str, int]) -> None:
    if not nans:
        return
    name, count = next(iter(nans.items()))
    others = f", and there are more in {len(nans) - 1} other tensors" if len(nans) > 1 else ""
    raise BuildFailed(
        f"weights of {place}: {count} NaN in {name!r}{others}",
        hint="every output would be NaN: take other weights",
    )


def _call(factory: Callable[[], nn.Module], reference: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = factory()
    if not isinstance(model, nn.Module):
        raise BuildFailed(f"{reference} returned a {type(model).__name__}, not an nn.Module")
    return model


def _import(target: str, root: Path) -> Callable[[], nn.Module]:
    module_name, _, name = target.partition(":")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}.")
        kind = BadReference if missing else BuildFailed  # or one that the module itself imports
        raise kind(f"python:{target}: {error}", hint=f"modules are looked for in {root} first") from error
    factory = getattr(module, name, None)
    if not callable(factory):
        raise BadReference(
            f"python:{target}: {module_name} has no callable {name!r}",
            hint="python:MODULE:CALLABLE names what returns the nn.Module",
        )
    return factory


def _load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict; files of other formats and pickles of code are refused, and nothing in them runs.

    Raises:
        BuildFailed: It is none, or not one of this model.
    """
    try:
        model.load_state_dict(_read_weights(path))
    except BuildFailed:
        raise
    except Exception as error:  # torch, zip and safetensors each have their own
        raise BuildFailed(f"weights {path.name}: {error}", hint=_WEIGHTS_HINT) from error


def _read_weights(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        return dict(load_file(str(path)))
    try:
        state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # its message tells how to let code run, which is not on offer
        raise BuildFailed(
            f"weights {path.name}: no state dict, or one that holds more than tensors and would have to run code",
            hint=_WEIGHTS_HINT,
        ) from error
    return state


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _sources_below(root: Path) -> list[str]:
    """Return the sources of all imported modules that lie in the scenario's folder: a model may be spread over them."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    below = sorted(Path(file) for file in files if file and Path(file).is_relative_to(root))
    return [path.read_text(encoding="utf-8", errors="replace") for path in below if path.suffix == ".py"]


def _source(factory: Callable[[], nn.Module]) -> str:
    """Return the source of the module that defines a factory, or its name where there is none."""
    module = inspect.getmodule(factory)
    try:
        return inspect.getsource(module) if module else repr(factory)
    except OSError:
        return repr(factory)
