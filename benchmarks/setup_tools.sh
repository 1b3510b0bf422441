#!/bin/sh
# Makes benchmarks/.venv-tools: benchfw, two of its plugins, and the tools that the benchmarks compare it with.
# Not under constraints.txt: optimum-benchmark needs older versions of what PyTorch needs too.
set -eu
cd "$(dirname "$0")/.."
"${PYTHON:-python3}" -m venv benchmarks/.venv-tools
PIP_DISABLE_PIP_VERSION_CHECK=1 benchmarks/.venv-tools/bin/pip install --quiet \
  -e . -e 'plugins/torch[cpu]' -e 'plugins/onnxruntime[cpu]' -r benchmarks/requirements.txt
