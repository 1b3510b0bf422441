"""The device that is none in the place of CUDA's, in the workers that import this: its backend is `fake-cuda`."""

from __future__ import annotations

from benchfw.testing.device import DeviceBackend
from benchfw.worker.devices import MAKERS

MAKERS["cuda"] = MAKERS["fake"]


class CudaBackend(DeviceBackend):
    """See `DeviceOptions`."""
