"""Scenario files: what they say, what is wrong with them, and the plan of cases that follows from them."""

from benchfw.scenario.load import Loaded, from_document, load, parse
from benchfw.scenario.plan import Case, Cohort, Plan, Session, make_plan
from benchfw.scenario.schema import Scenario

__all__ = [
    "Case",
    "Cohort",
    "Loaded",
    "Plan",
    "Scenario",
    "Session",
    "from_document",
    "load",
    "make_plan",
    "parse",
]
