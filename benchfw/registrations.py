"""What registrations must be, held against each of them once: whoever reads one later can rely on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import Any

from packaging.requirements import InvalidRequirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from benchfw.errors import PluginError
from benchfw.requirements import distributions
from benchfw.spec.artifact import PROFILES
from benchfw.spec.backend import PRECISIONS, Capabilities
from benchfw.spec.info import MAX_NAME, NAME_PATTERN, SPEC_VERSION, Info
from benchfw.spec.packages import BuiltFor, Bundle

Test = Callable[[Any], bool]


def check_registration(kind: str, info: Info) -> None:
    """Look at every field of a registration.

    Raises:
        PluginError: One is not what the contract says; the message names the registration, the field and its value.
    """
    name_field = "scheme" if hasattr(info, "scheme") else "name"
    place = f"{kind} {getattr(info, name_field)!r:.80}"
    if type(info.spec) is int and info.spec > SPEC_VERSION:  # before its fields, which may mean something else by then
        raise PluginError(f"{place} was written for contract {info.spec}, this benchfw has {SPEC_VERSION}")
    _check_fields(place, info, _FIELDS)
    if isinstance(capabilities := getattr(info, "capabilities", None), Capabilities):
        _check_fields(f"{place}: capabilities", capabilities, _CAPABILITIES)


def _check_fields(place: str, given: Any, rules: Mapping[str, tuple[Test, str]]) -> None:
    for field in fields(given):
        holds, wanted = rules.get(field.name, (_anything, ""))
        value = getattr(given, field.name)
        if not holds(value):
            raise PluginError(f"{place}: {field.name} is {value!r:.80}, not {wanted}")


def _anything(value: Any) -> bool:
    return True  # a field of a plugin's own


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME and re.fullmatch(NAME_PATTERN, value) is not None


def _is_path(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    module, _, name = value.partition(":")
    return all(part.isidentifier() for part in [*module.split("."), name])


def _is_package(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier()


def _is_requirement(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        distributions([value])
    except InvalidRequirement:
        return False
    return True


def _is_yes_or_no(value: Any) -> bool:
    return isinstance(value, bool)


def _is_table_of_tables(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(options, Mapping) for options in value.values())


def _is_table_of_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(key in PRECISIONS and _is_word(text) for key, text in value.items())


def _is_statement(value: Any) -> bool:
    """Say whether what a package was built for can be held against versions, and told."""
    if not isinstance(value, BuiltFor):
        return False
    names = {"version": "1", "found": "1"}
    try:
        hash(value)
        SpecifierSet(value.versions)
        value.cuda_remedy.format(version=names["version"])
        for other in value.wants:
            SpecifierSet(other.versions)
            other.text.format_map(names), other.remedy.format_map(names)
    except (AttributeError, InvalidSpecifier, KeyError, IndexError, TypeError, ValueError):
        return False
    return all(map(_is_word, (value.distribution, *(name for other in value.wants for name in other.distributions))))


def _is_bundle(value: Any) -> bool:
    if not isinstance(value, Bundle) or not _each(_is_requirement)(value.packages):
        return False
    if not _each(_is_word, least=0)(value.instead_of):
        return False
    try:
        SpecifierSet(value.python)
    except (InvalidSpecifier, AttributeError, TypeError):
        return False
    return value.cuda is None or type(value.cuda) is int


def _is_table_of_distributions(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        _is_package(key) and _each(_is_word)(names) for key, names in value.items()
    )


def _each(test: Test, *, least: int = 1) -> Test:
    return lambda value: isinstance(value, tuple) and len(value) >= least and all(map(test, value))


def _one_of(known: Collection[str]) -> Test:
    return lambda value: isinstance(value, str) and value in known


_NAME = (_is_name, f"a name: letters, digits, '.', '_' and '-', up to {MAX_NAME}")
_TEXT, _FORMAT = (_is_text, "a text"), (_is_word, "the name of a format")
_VALUES = (lambda value: isinstance(value, Mapping), "a mapping from options to values")
_FIELDS: dict[str, tuple[Test, str]] = {
    "name": _NAME,
    "scheme": _NAME,
    "factory": (_is_path, "of the form 'package.module:Name'"),
    "options": (lambda value: value == "" or _is_path(value), "of the form 'package.module:Name'"),
    "summary": _TEXT,
    "install": _TEXT,
    "provider": _TEXT,
    "imports": (_each(_is_package, least=0), "a tuple of packages, as ('my_package',) is"),
    "requires": (_each(_is_requirement, least=0), "a tuple of requirements, as ('onnx>=1.19',) is"),
    "spec": (lambda value: type(value) is int, "an integer"),
    "accepts": (_each(_is_word), "a tuple of one or more formats, as ('onnx',) is"),
    "capabilities": (lambda value: isinstance(value, Capabilities), "Capabilities"),
    "format": _FORMAT,
    "source": _FORMAT,
    "target": _FORMAT,
    "makes": (_each(_one_of(PRECISIONS), least=0), f"a tuple of {', '.join(PRECISIONS)}"),
    "on_request": (_is_yes_or_no, "True or False"),
    "runtime": (lambda value: value == "" or _is_name(value), _NAME[1]),
    "typed": (_is_yes_or_no, "True or False"),
    "turns": (_each(_one_of(PRECISIONS), least=0), f"a tuple of {', '.join(PRECISIONS)}"),
    "uses": (_each(_is_word, least=0), "a tuple of distributions, as ('onnxsim',) is"),
    "begins": (_each(lambda value: isinstance(value, bytes) and bool(value), least=0), "a tuple of bytes"),
    "reads": (_each(_is_word, least=0), "a tuple of names of options"),
    "step_options": (_is_table_of_tables, "a mapping from names of steps to mappings of options"),
    "built_for": (_each(_is_statement, least=0), "a tuple of BuiltFor, whose versions are as '>=1.31,<1.32' is"),
    "bundles": (_each(_is_bundle, least=0), "a tuple of Bundle, whose packages are requirements"),
    "modules": (_is_table_of_distributions, "a mapping from modules to tuples of distributions"),
    "exact_options": _VALUES,
    "blocking_options": _VALUES,
    "profiles": (_each(_one_of(PROFILES)), f"a tuple of one or more of {', '.join(PROFILES)}"),
}
_CAPABILITIES: dict[str, tuple[Test, str]] = {
    "precisions": (_each(_one_of(PRECISIONS)), f"a tuple of one or more of {', '.join(PRECISIONS)}"),
    "devices": (_each(_is_word), "a tuple of one or more devices, as ('cpu',) is"),
    "dynamic_shapes": (_is_yes_or_no, "True or False"),
    "specializes": (_is_yes_or_no, "True or False"),
    "asynchronous": (_is_yes_or_no, "True or False"),
    "cuda_graph": (_is_yes_or_no, "True or False"),
    "lacks": (_is_table_of_texts, "a mapping from precisions to sentences"),
}
