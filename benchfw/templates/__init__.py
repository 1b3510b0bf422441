"""What `benchfw new-plugin` writes: the files beside this one, with `${...}` filled in."""

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from pathlib import Path
from string import Template

from benchfw.errors import UsageError

_SUFFIX = ".tmpl"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MAX_NAME = 60
_HINT = f"it begins with a letter: lower-case letters and digits, joined by '-', up to {_MAX_NAME}"


def write_plugin(name: str, out: Path | None = None) -> Path:
    """Write the distribution of a plugin with one backend, whole or not at all.

    Args:
        name: Name of the backend: lower-case words joined by `-`.
        out: The folder to make; default: `benchfw-NAME` here.

    Returns:
        The folder.

    Raises:
        UsageError: The name cannot be one, the folder is there already, or it cannot be written.
    """
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        raise UsageError(f"{name!r} is no name for a backend", hint=_HINT)
    folder = out or Path(f"benchfw-{name}")
    if folder.exists():
        raise UsageError(f"{folder} is there already", hint="-o names another folder")
    words = name.split("-")
    values = {"name": name, "package": "_".join(["benchfw", *words]), "class_name": "".join(map(str.capitalize, words))}
    if keyword.iskeyword(values["class_name"]):
        raise UsageError(f"{name!r} would make a class {values['class_name']!r}, which Python has already")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for source, target in _files(values):
                target = draft / target
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(Template(source.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
            draft.chmod(0o755)
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror or error}", hint="-o names another folder"
        ) from error
    return folder


def _files(values: dict[str, str]) -> list[tuple[Path, Path]]:
    """Return every template with the path of what is made of it."""
    root = Path(__file__).parent / "plugin"
    return [
        (source, Path(Template(str(source.relative_to(root)).removesuffix(_SUFFIX)).substitute(values)))
        for source in sorted(root.rglob(f"*{_SUFFIX}"))
    ]
