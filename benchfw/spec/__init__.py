"""The contract between benchfw and its plugins.

Everything here but `hooks` is handed to workers: stdlib and numpy only, CPython 3.10 and later.
"""

from benchfw.spec.artifact import Artifact, ModelSource, ModelSourceInfo, Step, StepInfo
from benchfw.spec.backend import SPEC_VERSION, Backend, BackendInfo, Bound, Capabilities, Context
from benchfw.spec.tensors import AxisRange, IoSpec, Profile, TensorSpec

__all__ = [
    "SPEC_VERSION",
    "Artifact",
    "AxisRange",
    "Backend",
    "BackendInfo",
    "Bound",
    "Capabilities",
    "Context",
    "IoSpec",
    "ModelSource",
    "ModelSourceInfo",
    "Profile",
    "Step",
    "StepInfo",
    "TensorSpec",
]
