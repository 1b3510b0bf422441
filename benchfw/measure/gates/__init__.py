"""Gates: what makes a number less sure, from plain data. Pure functions that return a finding or None."""

from benchfw.measure.gates.finding import Finding

__all__ = ["Finding"]
