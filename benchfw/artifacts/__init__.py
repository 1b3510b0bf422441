"""Models and what is made of them: references resolved, routes of steps found, artifacts cached."""

from benchfw.artifacts.builder import Builder
from benchfw.artifacts.cache import Cache
from benchfw.artifacts.made import BrokenModel, Made, ResolvedModel
from benchfw.artifacts.routes import Wanted, find_route

__all__ = ["BrokenModel", "Builder", "Cache", "Made", "ResolvedModel", "Wanted", "find_route"]
