"""Models of options: imported when somebody names what they belong to, and not before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from benchfw.errors import BuildFailed, PluginError
from benchfw.plugins import Registry, options_model


class _WhenAsked(Mapping[str, Any]):
    """Values that are made when they are asked for: a module that cannot be imported costs those who name it."""

    def __init__(self, names: Collection[str], make: Callable[[str], Any]) -> None:
        self._names = names
        self._make = make

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def backend_options(registry: Registry, names: Collection[str]) -> Mapping[str, Any]:
    """Return the pydantic model of the options of each of these backends that is installed; None where it has none.

    A model is imported when it is asked for, which raises `PluginError` if it cannot be.
    """
    installed = [name for name in names if name in registry.backends]
    return _WhenAsked(installed, lambda name: options_model(registry.backends[name]))


def step_options(registry: Registry) -> Mapping[str, Any]:
    """Return the pydantic model of the options of each step, as `backend_options` does."""
    return _WhenAsked(registry.steps, lambda name: options_model(registry.steps[name]))


def filled_in(models: Mapping[str, Any], given: Mapping[str, Mapping[str, Any]]) -> Mapping[str, dict[str, Any]]:
    """Return the options of each step, defaults filled in; `BuildFailed` for one whose model cannot be imported."""

    def fill_in(name: str) -> dict[str, Any]:
        try:
            model = models[name]
        except PluginError as error:
            raise BuildFailed(error.message) from error
        return model.model_validate(given.get(name, {})).model_dump(mode="json") if model else {}

    return _WhenAsked(models, fill_in)
