"""The worker: one process that serves one session, and the protocol by which the parent conducts it.

Handed to every interpreter that runs a backend: stdlib and numpy only, CPython 3.10 and later.
"""
