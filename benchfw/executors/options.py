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


def filler(models: Mapping[str, Any]) -> Callable[[str, Mapping[str, Any]], dict[str, Any]]:
    """Return what fills in the options of a step that are not set: with their defaults.

    It raises `BuildFailed` for a step whose model cannot be imported, or does not take what is set.
    """

    def fill_in(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        try:
            model = models[name]
        except PluginError as error:
            raise BuildFailed(error.message) from error
        try:
            return model.model_validate(options).model_dump(mode="json") if model else {}
        except ValueError as error:
            raise BuildFailed(f"options of {name}: {error}") from error

    return fill_in
