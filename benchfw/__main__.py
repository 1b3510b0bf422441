"""`python -m benchfw` is `benchfw`."""

from benchfw.cli import main

main()
