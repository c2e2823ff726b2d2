# Everything a newcomer needs: `make run` shows Flowmesh at work, `make test` checks it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test interop check lint types format fuzz soak bench oracle clean help

help:
	@echo "make run     train a digit classifier on a local cluster (1 ps, 2 workers)"
	@echo "make test    all tests, the linter and the type checker"
	@echo "make interop real TensorFlow 1.15 and 2 against Flowmesh, both ways (installs them, each in an environment of its own)"
	@echo "make check   linter and type checker only"
	@echo "make fuzz    100,000 bad inputs for a server, which has to answer and to serve on"
	@echo "make bench   benchmarks beside TensorFlow, PyTorch and JAX (installs them, each in an environment of its own);"
	@echo "             ROWS='softmax_regression ...' for some, CHECK=1 to compare with the recorded ratios"
	@echo "make clean   remove what these commands made"

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Flowmesh needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[examples]"
	@touch $@

$(VENV)/.dev: $(STAMP)
	@echo "Installing what the tests need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

run: $(STAMP)
	@$(BIN)/python examples/digits/run.py

test: $(VENV)/.dev check
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

interop: $(VENV)/.dev
	@tests/interop/install.sh tf115
	@PYTHON=$(BIN)/python tests/interop/install.sh tf2
	$(BIN)/python -m pytest -q tests/interop

check: lint types

lint: $(VENV)/.dev
	$(BIN)/ruff check src tests examples benchmarks
	$(BIN)/ruff format --check src tests examples benchmarks

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format src tests examples benchmarks
	$(BIN)/ruff check --fix src tests examples benchmarks

$(VENV)/.fuzz: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[fuzz]" || echo "atheris cannot be installed here: nothing will guide the inputs"
	@touch $@

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz --inputs 80000
	$(BIN)/python -m tests.fuzz.guided --inputs 20000

soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak --minutes 30

$(VENV)/.bench: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[bench]"
	@touch $@

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(ROWS) $(if $(CHECK),--check)

clean:
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache build dist src/*.egg-info run
