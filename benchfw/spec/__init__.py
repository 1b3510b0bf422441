"""The contract between benchfw and its plugins; `hooks` is where they enter.

All but `hooks` is handed to workers: stdlib only (numpy where arrays are touched), CPython 3.10 and later.
"""

from benchfw.spec.artifact import Artifact, FileFormat, FormatInfo, ModelSource, ModelSourceInfo, Step, StepInfo
from benchfw.spec.backend import Backend, BackendInfo, Bound, Capabilities, Context
from benchfw.spec.command import CommandInfo
from benchfw.spec.device import DeviceName
from benchfw.spec.executor import Executor, ExecutorInfo, Job, Outcome
from benchfw.spec.info import SPEC_VERSION
from benchfw.spec.layers import LayerProfile, LayerTime
from benchfw.spec.packages import BuiltFor, Bundle, Wants
from benchfw.spec.plan import PlanEdit, PlannedCase
from benchfw.spec.sampler import Sampler, SamplerInfo
from benchfw.spec.tensors import AxisRange, IoSpec, Profile, TensorSpec

__all__ = [
    "SPEC_VERSION",
    "Artifact",
    "AxisRange",
    "Backend",
    "BackendInfo",
    "Bound",
    "BuiltFor",
    "Bundle",
    "Capabilities",
    "CommandInfo",
    "Context",
    "DeviceName",
    "Executor",
    "ExecutorInfo",
    "FileFormat",
    "FormatInfo",
    "IoSpec",
    "Job",
    "LayerProfile",
    "LayerTime",
    "ModelSource",
    "ModelSourceInfo",
    "Outcome",
    "PlanEdit",
    "PlannedCase",
    "Profile",
    "Sampler",
    "SamplerInfo",
    "Step",
    "StepInfo",
    "TensorSpec",
    "Wants",
]
