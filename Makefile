# make report   set everything up in .venv, then print the dry-run report of this machine
# make test     set everything up and run every test: check, then the real one
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV   := .venv
BIN    := $(VENV)/bin
PIP     = $(BIN)/python -m pip --quiet --disable-pip-version-check
PINS   := .ci/constraints.txt
LAB    := demo
LABS   := /var/lib/vscadmin-lab
BUNDLE := dist/bundle

.PHONY: help report test check real lint bench bundle lab lab-down setup setup-test clean

help:
	@sed -n 's/^# make/make/p' Makefile

setup: $(VENV)/.installed
setup-test: $(VENV)/.installed-test

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "vscadmin needs Python 3.11 or newer: set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "cannot make $(VENV): on Debian, apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.installed: pyproject.toml $(PINS) | $(BIN)/python
	@$(PIP) install -c $(PINS) -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(PINS) $(VENV)/.installed
	@$(PIP) install -c $(PINS) -e '.[test]'
	@touch $@

report: setup
	@$(BIN)/vscadmin report || [ $$? -eq 10 ]  # 10: printed, but something could not be read

# make lint     ruff, mypy --strict and ansible-lint
lint: setup-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@cd ansible && PATH="$(CURDIR)/$(BIN):$$PATH" ansible-lint --offline -q

# make check    lint, unit, properties, scenarios: for all day
check: lint
	@$(BIN)/python -m pytest -q tests/unit tests/properties tests/scenarios tests/contract \
		--cov --cov-report=term

real: setup-test
	@tests/setup.sh
	@$(BIN)/python -m pytest -q tests/integration tests/lab

test: check real

# make bench    print the ratio tables
bench: setup-test
	@$(BIN)/python -m benchmarks; status=$$?; $(BIN)/python -m benchmarks.fleet || status=1; exit $$status

# make bundle   put all wheels for nodes without a package index into dist/bundle
bundle: setup
	@ansible/bundle.sh $(BUNDLE) $(BIN)/python

# make lab      bring the demo cluster up (as root): two login nodes, Slurm, a laptop
lab: setup-test
	@[ "$$(id -u)" -eq 0 ] || { echo "lab: the lab needs root: it makes namespaces and networks" >&2; exit 1; }
	@tests/setup.sh
	@$(BIN)/python -m tests.lab up $(LAB)

# make lab-down take it away
lab-down:
	@$(or $(wildcard $(BIN)/python),$(PYTHON)) -m tests.lab down $(LAB)

# make clean    remove .venv and what tests left
clean:
	@! grep -qs "^$(CURDIR)/" $(LABS)/*/software || \
		{ echo "a lab runs what is in .cache: python -m tests.lab down --all" >&2; exit 1; }
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
