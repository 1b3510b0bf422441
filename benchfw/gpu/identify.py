"""Which GPU is `cuda:0`? Its UUID, asked for in a process of its own: a driver may hang, and stays unloaded here.

Nothing is made on the GPU: what another run measures there is not disturbed. Also the program of that process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence

from benchfw.errors import BackendError, NvmlError
from benchfw.gpu.nvml import Nvml, open_nvml
from benchfw.spec.device import DeviceName

_NAME = re.compile(r"[A-Za-z0-9-]+")
TIMEOUT_S = 30.0
"""A driver that is not kept loaded (persistence mode) takes seconds to answer, with eight GPUs some more."""


def uuids(devices: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the UUIDs of the GPUs that CUDA calls `cuda:0`, … in an environment; what cannot be told is left out.

    NVML is asked, and where it is not there CUDA. Of a slice of a GPU (MIG) it is the whole GPU's, as far as NVML
    tells: slices share clocks and power.
    """
    command = [sys.executable, "-P", "-m", "benchfw.gpu.identify", *devices]
    path = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(
        command,
        env={**environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
        found = json.loads(output)
    except (subprocess.TimeoutExpired, ValueError):
        return {}
    finally:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in the driver does not even die
            process.wait(1.0)
        if process.stdout is not None:
            process.stdout.close()
    return {str(device): str(uuid) for device, uuid in found.items()}


def told(devices: Sequence[str], environ: Mapping[str, str], module: object = None) -> dict[str, str]:
    """Return what `uuids` does, from within the process that may ask.

    Args:
        devices: As CUDA calls them.
        environ: Names the GPUs that CUDA sees.
        module: Takes the place of `pynvml`.
    """
    found: dict[str, str] = {}
    with contextlib.suppress(NvmlError), open_nvml(module) as nvml:
        found = _by_nvml(nvml, devices, environ)
    missing = [device for device in devices if device not in found]
    if missing:
        from benchfw.worker.cuda import uuid_of  # and with it numpy, which takes longer than NVML does

        for device in missing:
            with contextlib.suppress(BackendError):
                found[device] = uuid_of(_number(device))
    return found


def _by_nvml(nvml: Nvml, devices: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    visible = nvml.visible(environ)
    found = {}
    for device in devices:
        if _number(device) < len(visible):
            whole = nvml.device(visible[_number(device)].index)
            uuid = whole.read("uuid")["uuid"] or ""
            if _NAME.fullmatch(uuid):
                found[device] = uuid
    return found


def _number(device: str) -> int:
    return DeviceName.parse(device).number


if __name__ == "__main__":
    sys.stdout.write(json.dumps(told(sys.argv[1:], os.environ)))
