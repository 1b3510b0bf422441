"""Files that commands write beside the results."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from benchfw.errors import ResultError


def write_whole(path: Path, parts: Iterable[bytes], *, hint: str) -> None:
    """Write a file whole or not at all; what is no regular file, a pipe for one, is written to as it is.

    Raises:
        ResultError: It cannot be written.
    """
    target = Path(os.path.realpath(path))
    whole = target.is_file() or not target.exists()
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp") if whole else target
    try:
        try:
            with draft.open("wb") as file:
                file.writelines(parts)
            if whole:
                os.replace(draft, target)
        except BaseException:
            if whole:
                with contextlib.suppress(OSError):
                    draft.unlink()
            raise
    except OSError as error:
        raise ResultError(f"{path} cannot be written: {error.strerror}", hint=hint) from error
