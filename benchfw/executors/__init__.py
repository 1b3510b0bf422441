"""Executors: where placements are conducted. `local` conducts on this machine."""
