"""Environments: named interpreters that workers run on, and the virtual environments that benchfw makes for them."""

from benchfw.environments.environment import Environment, from_scenario, start_worker
from benchfw.environments.interpreters import Python, find_python, pythons
from benchfw.environments.managed import DEFAULT
from benchfw.environments.threads import thread_variables, usable_cpus

__all__ = [
    "DEFAULT",
    "Environment",
    "Python",
    "find_python",
    "from_scenario",
    "pythons",
    "start_worker",
    "thread_variables",
    "usable_cpus",
]
