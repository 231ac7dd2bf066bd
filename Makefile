# `make record` and `make test` set themselves up: Python >= 3.11 is all they need.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TEST_READY := $(VENV)/.ready-to-test
BENCH_READY := $(VENV)/.ready-to-bench
# How many tests run at a time. Most of them wait more than they compute.
WORKERS ?= 4
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help record test lint soak bench clean mongod

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

record: $(READY)  ## Record BTC-USDT-SWAP into the local database; ARGS="..." are passed on
# In the foreground of a terminal the recorder becomes a job of its own: make would else answer Ctrl-C with an error.
	@case "$$(ps -o stat= -p $$$$ 2>/dev/null)" in *+*) set -m ;; esac; $(BIN)/cryptofeed record $(ARGS); exit $$?

test: $(TEST_READY) mongod  ## Run the whole test suite; ARGS="..." are passed on
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

lint: $(TEST_READY)  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/mypy

soak: $(TEST_READY) mongod  ## Run the test suite with the long forms of its tests
	$(BIN)/python -m pytest -m "soak or not soak" $(ARGS)

bench: $(BENCH_READY) mongod  ## Print the figures that the README quotes
	$(BIN)/python -m bench $(ARGS)

clean:  ## Remove the virtual environment and everything that was generated
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find cryptofeed_cli tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is missing: install it (Debian/Ubuntu: apt install python3 python3-venv; macOS: brew install python)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing: install it (Debian/Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(TEST_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	@touch $@

# The peer comes as source and is built here.
$(BENCH_READY): $(TEST_READY)
	@command -v cc >/dev/null || { echo "a C compiler is missing, to build the peer: install it (Debian/Ubuntu: apt install build-essential python3-dev; macOS: xcode-select --install)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

# The real MongoDB server of the tests comes with their packages, but needs a library of the system.
mongod: $(TEST_READY)
	@if command -v ldd >/dev/null; then \
		for mongod in $(VENV)/lib/python3*/site-packages/fiftyone/db/bin/mongod; do \
			test -e "$$mongod" || continue; \
			missing=$$(ldd "$$mongod" | awk '/not found/ { print $$1 }' | sort -u | paste -sd ' ' -); \
			test -z "$$missing" || { echo "mongod, which the tests run, lacks $$missing: install it (Debian/Ubuntu: apt install libcurl4)" >&2; exit 1; }; \
		done; \
	fi
