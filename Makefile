# Two commands to know: make demo, make test.  Both make .venv on first use and say what they do.

VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= auto

.PHONY: help demo test test-all check bench clean
.DELETE_ON_ERROR:  # a half-made environment is made again

help:
	@echo "make demo      install into $(VENV) and run the main job on real data (figure and kernels in demo/)"
	@echo "make test      install and run the tests (minutes)"
	@echo "make test-all  the slow tests too"
	@echo "make check     ruff and mypy"
	@echo "make bench     times and memory against neural-tangents, an hour: benchmarks/results/"
	@echo "make clean     remove $(VENV) and what the commands wrote"

$(BIN)/python:
	@echo "==> making $(VENV)"
	@./scripts/make_venv.sh $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "==> installing widenet with what the demo needs"
	@$(BIN)/python -m pip install --quiet --editable ".[demo]"
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	@echo "==> installing widenet with what the tests need"
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --editable . --group test --group lint
	@touch $@

demo: $(VENV)/.demo
	@echo "==> widenet demo"
	@$(BIN)/widenet demo --out demo

test: $(VENV)/.test
	@echo "==> running the tests, all but the slow ones"
	@$(BIN)/python -m pytest -q -n $(WORKERS)

test-all: $(VENV)/.test
	@echo "==> running all tests"
	@$(BIN)/python -m pytest -q -n $(WORKERS) -m "slow or not slow"

check: $(VENV)/.test
	@echo "==> ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "==> mypy"
	@$(BIN)/mypy

bench: $(VENV)/.demo
	@echo "==> an environment for neural-tangents"
	@./benchmarks/make_peer.sh $(VENV)/peer
	@echo "==> timing"
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache
