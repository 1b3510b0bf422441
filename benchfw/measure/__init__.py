"""The conductor: everything that decides, between blocks, where it can disturb nothing."""

from benchfw.measure.conductor import Conductor
from benchfw.measure.events import Event
from benchfw.measure.settings import Settings

__all__ = ["Conductor", "Event", "Settings"]
