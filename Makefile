# make install | run | test | lint | docs | docs-html | clean. Everything is installed into .venv; nothing else is
# needed before.
PYTHON ?= python3
BIN = .venv/bin
PLUGINS = torch onnxruntime openvino tensorrt torch_tensorrt
EXTRAS_torch = $(DEVICE),models
EXTRAS_onnxruntime = $(DEVICE),optimize,images
EXTRAS_tensorrt = rtx

# 1: with what runs on NVIDIA GPUs. make CUDA=0 and make CUDA=1 decide; else what .venv was made for stays, and the driver
# is asked where there is none.
ifeq ($(filter 0 1,$(CUDA)),)
ifeq ($(origin CUDA),command line)
$(error CUDA=$(CUDA): it is 0 or 1)
endif
made_for = $(wildcard .venv/.for-$(1) .venv/.installed-$(1))
CUDA := $(if $(call made_for,cuda),1,$(if $(call made_for,cpu),0,$(shell $(PYTHON) tools/driver.py)))
endif

DEVICE = $(if $(filter 1,$(CUDA)),cuda,cpu)
STAMP = .venv/.installed-$(DEVICE)
MARK = .venv/.for-$(DEVICE)

export PIP_CONSTRAINT = $(if $(filter 1,$(CUDA)),constraints-cuda.txt,constraints.txt)
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Bytecode is kept, whatever the surroundings say: without it each of a thousand processes would compile all it imports.
export PYTHONDONTWRITEBYTECODE =

.PHONY: install run test lint style types worker-types layers docs docs-html clean

install: $(STAMP)

run: $(STAMP)
	$(BIN)/benchfw run scenarios/res18.toml

# What waits for deadlines, counts processes or measures comes when no framework computes beside it, and in three
# processes: most of it is waiting. In the order of the folders: modules that take minutes with few tests come first, so
# that neither process waits for the other's last.
# One thread of BLAS in each: a second one would spin where the other process computes.
PYTEST = OPENBLAS_NUM_THREADS=1 $(BIN)/pytest --dist loadscope --no-loadscope-reorder
# Each process collects for itself, which takes seconds: here the few modules that have such tests.
QUIET = $(sort $(shell grep -rl --include='test_*.py' 'mark\.quiet' tests))
test: $(STAMP)
	$(PYTEST) -n 2 -m "not quiet"
	$(PYTEST) -n 3 -m quiet $(QUIET)

lint: $(STAMP)
	$(MAKE) --no-print-directory --jobs 2 types style worker-types layers

style: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

worker-types: $(STAMP)
	$(BIN)/mypy --python-version 3.10 --config-file .mypy-worker.ini

layers: $(STAMP)
	$(BIN)/lint-imports --no-logo

# Reference pages that are generated from the code; a test fails if they are out of date.
docs: $(STAMP)
	$(BIN)/python tools/reference.py
	$(BIN)/python tools/faults.py

# The pages as a site, as tests/docs builds it too.
docs-html: $(STAMP)
	$(BIN)/python -m sphinx -c docs -W --keep-going -n -q -b html . docs/_build
	@echo docs/_build/docs/index.html

# Modules are compiled when they are first imported: most never are, and pip would compile all, on one core. Workers
# write no bytecode, so what they alone import is compiled here.
IN_WORKERS = mpmath networkx numpy onnx onnx_ir onnxruntime onnxscript openvino sympy torch
# What was installed for the other device goes first, as onnxruntime and onnxruntime-gpu overwrite each other. TensorRT's
# libraries, which torch-tensorrt needs too, come from NVIDIA's own index, which may not be reached.
$(STAMP): $(PIP_CONSTRAINT) pyproject.toml $(PLUGINS:%=plugins/%/pyproject.toml)
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "benchfw needs CPython 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(if $(filter-out $(MARK),$(wildcard .venv/.for-* .venv/.installed)),--clear) .venv
	touch $(MARK)
	$(BIN)/pip install --quiet --no-compile -e '.[dev]' $(foreach plugin,$(PLUGINS),-e 'plugins/$(plugin)[$(or $(EXTRAS_$(plugin)),cpu)]')
	cd .venv/lib/python3*/site-packages && ../../../bin/python -m compileall -qq -j 0 -x 'tests/|torch/testing/_internal/' $(IN_WORKERS)
ifeq ($(CUDA),1)
	tools/optional.sh $(BIN)/pip .venv/tensorrt.log 'TensorRT' -e 'plugins/tensorrt[cu13]'
	tools/optional.sh $(BIN)/pip .venv/torch-tensorrt.log 'torch-tensorrt' torch-tensorrt
endif
	touch $@

clean:
	rm -rf .venv docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
