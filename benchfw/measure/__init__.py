"""The conductor: everything that decides, between blocks, where it can disturb nothing."""

from benchfw.measure.conductor import Conductor
from benchfw.measure.settings import Settings
from benchfw.spec.events import Event

__all__ = ["Conductor", "Event", "Settings"]
