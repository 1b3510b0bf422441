"""Writes docs/reference/faults.md: runs the table of tests/faults, which takes a minute or two, and tells what it saw.

python tools/faults.py

A test of tests/faults compares the page with what it sees, so that CI runs the table once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    test = "tests/faults/test_faults.py::test_the_page_tells_what_was_seen"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", test], cwd=ROOT, env={**os.environ, "BENCHFW_WRITE_PAGES": "1"}
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
