#!/usr/bin/env bash
# environments.sh [VERSION]: makes the environment trt11 with this TensorRT 11. Its libraries come from NVIDIA's own
# index; if they cannot be had, the image goes without, and says so.
set -euo pipefail
version=${1:-}
if [ -n "$version" ]; then
    command=(benchfw env create trt11 --pip --with "tensorrt-cu13==$version" --with 'cuda-bindings>=13,<14')
    "${command[@]}" || echo "Without the environment trt11. In the container, where the index is reached: ${command[*]@Q}" >&2
fi
