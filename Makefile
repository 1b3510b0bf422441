# make install | run | test | lint | docs | docs-html | clean. Everything is installed into .venv; nothing else is
# needed before.
PYTHON ?= python3
BIN = .venv/bin
STAMP = .venv/.installed
PLUGINS = torch onnxruntime openvino tensorrt torch_tensorrt
EXTRAS_torch = cpu,models
EXTRAS_onnxruntime = cpu,optimize,images
EXTRAS_tensorrt = rtx

export PIP_CONSTRAINT = constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: install run test lint docs docs-html clean

install: $(STAMP)

run: $(STAMP)
	$(BIN)/benchfw run scenarios/res18.toml

# Two by two what does not mind, then one by one what waits for deadlines, counts processes or measures. In the order of
# the folders: modules that take minutes with few tests come first, so that neither process waits for the other's last.
test: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not quiet"
	$(BIN)/pytest -m quiet

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 --config-file .mypy-worker.ini
	$(BIN)/lint-imports --no-logo

# Reference pages that are generated from the code; a test fails if they are out of date.
docs: $(STAMP)
	$(BIN)/python tools/reference.py
	$(BIN)/python tools/faults.py

# The pages as a site, as tests/docs builds it too.
docs-html: $(STAMP)
	$(BIN)/python -m sphinx -c docs -W --keep-going -n -q -b html . docs/_build
	@echo docs/_build/docs/index.html

# Modules are compiled when they are first imported: most never are, and pip would compile all.
$(STAMP): constraints.txt pyproject.toml $(PLUGINS:%=plugins/%/pyproject.toml)
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "benchfw needs CPython 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile -e '.[dev]' $(foreach plugin,$(PLUGINS),-e 'plugins/$(plugin)[$(or $(EXTRAS_$(plugin)),cpu)]')
	touch $@

clean:
	rm -rf .venv docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
