#!/usr/bin/env bash
# install.sh VENV [cuda|cpu]: makes a virtual environment that sees the packages of the image, and installs benchfw, its
# plugins and the frameworks into it. Of TensorRT it takes the image's: pip brings none.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
device=${2:-cuda}
case $device in
cuda) pins=constraints-cuda.txt ;;
cpu) pins=constraints.txt ;;
*) echo "install.sh: $device is neither cuda nor cpu" >&2 && exit 2 ;;
esac

python3 -m venv --system-site-packages "$venv"
python3 docker/constraints.py "$pins" >"$venv/constraints.txt"
export PIP_CONSTRAINT=$venv/constraints.txt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
declare -A extras=([torch]="$device,models" [onnxruntime]="$device,optimize,images" [openvino]=cpu) # others bring TensorRT
plugins=()
for file in plugins/*/pyproject.toml; do
    name=$(basename "$(dirname "$file")")
    plugins+=("./plugins/$name${extras[$name]:+[${extras[$name]}]}")
done
"$venv/bin/pip" install --quiet . "${plugins[@]}"

# Its own requirements name TensorRT's distributions, under names that the image may not have.
if grep -q '^torch-tensorrt==' "$venv/constraints.txt"; then
    "$venv/bin/pip" install --quiet --no-deps torch-tensorrt
    "$venv/bin/pip" install --quiet dllist executorch
fi
