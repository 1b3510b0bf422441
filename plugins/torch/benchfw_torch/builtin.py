"""The models that come with the plugin."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from torch import nn

from benchfw.errors import BadReference, MissingDependency
from benchfw.spec import IoSpec, TensorSpec


@dataclass(frozen=True, kw_only=True)
class Builtin:
    """A model that comes with the plugin.

    Attributes:
        factory: `module:Class`, imported when the model is asked for.
        parameters: How many it has.
        io: Its inputs and outputs; integers have bounds.
        needs: The distribution that its code comes from, if that is not PyTorch.
    """

    factory: str
    parameters: int
    io: IoSpec
    needs: str = ""

    @property
    def origin(self) -> str:
        """What its code comes from, with the version; empty if that is this plugin."""
        return f"{self.needs} {metadata.version(self.needs)}" if self.needs else ""


def _tensor(
    name: str, *shape: int | str, dtype: str = "float32", low: float | None = None, high: float | None = None
) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape, low=low, high=high)


def _io(inputs: tuple[TensorSpec, ...], *outputs: TensorSpec) -> IoSpec:
    return IoSpec(inputs=inputs, outputs=outputs)


_TOKENS = ("batch", "sequence")
_IMAGES = ("batch", 3, "height", "width")

BUILTIN: dict[str, Builtin] = {
    "resnet18": Builtin(
        factory="benchfw_torch.resnet:ResNet18",
        parameters=11_689_512,
        io=_io((_tensor("input", *_IMAGES),), _tensor("output", "batch", 1000)),
    ),
    "resnet50": Builtin(
        factory="benchfw_torch.resnet:ResNet50",
        parameters=25_557_032,
        io=_io((_tensor("input", *_IMAGES),), _tensor("output", "batch", 1000)),
    ),
    "mlp": Builtin(
        factory="benchfw_torch.mlp:Mlp",
        parameters=26_122,
        io=_io((_tensor("input", "batch", 64),), _tensor("output", "batch", 10)),
    ),
    "detr": Builtin(
        factory="benchfw_torch.transformer_models:Detr",
        parameters=41_524_768,
        io=_io(
            (_tensor("pixel_values", *_IMAGES),),
            _tensor("logits", "batch", 100, 92),
            _tensor("pred_boxes", "batch", 100, 4),
        ),
        needs="transformers",
    ),
    "bert": Builtin(
        factory="benchfw_torch.transformer_models:Bert",
        parameters=109_482_240,
        io=_io(
            (
                _tensor("input_ids", *_TOKENS, dtype="int64", low=0, high=30522),
                # all tokens count: a row of zeros would be no text at all
                _tensor("attention_mask", *_TOKENS, dtype="int64", low=1, high=2),
            ),
            _tensor("last_hidden_state", *_TOKENS, 768),
            _tensor("pooler_output", "batch", 768),
        ),
        needs="transformers",
    ),
    "vit": Builtin(
        factory="benchfw_torch.transformer_models:Vit",
        parameters=86_567_656,
        io=_io((_tensor("pixel_values", "batch", 3, 224, 224),), _tensor("logits", "batch", 1000)),
        needs="transformers",
    ),
}


def find_builtin(name: str) -> Callable[[], nn.Module]:
    """Return what makes a builtin model, its weights random.

    Raises:
        BadReference: There is no such model.
        MissingDependency: Its code comes from a package that is not installed, or from another version of it.
    """
    if name not in BUILTIN:
        raise BadReference(f"no builtin model {name!r}", hint=f"there are: {', '.join(sorted(BUILTIN))}")
    needs = BUILTIN[name].needs
    module, _, factory = BUILTIN[name].factory.partition(":")
    try:
        found: Callable[[], nn.Module] = getattr(importlib.import_module(module), factory)
    except ImportError as error:
        if not needs:
            raise
        raise MissingDependency(
            f"builtin:{name} needs the package {needs!r}: {error}", hint="pip install 'benchfw-torch[models]'"
        ) from error
    return found
