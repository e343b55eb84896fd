# One command each, from a fresh clone: the first one builds .venv.
#   make setup   make run   make test   make lint   make bench   make bench-card
#   make docs
# Variables: PYTHON (interpreter to build with), EXTRAS (dev; dev,cuda12 for an
# NVIDIA accelerator), ARGS (added to run, test and bench).

SHELL := /bin/bash
VENV ?= .venv
EXTRAS ?= dev
ARGS ?=

CHECK := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	"$$p" -c '$(CHECK)' >/dev/null 2>&1 && { echo "$$p"; break; }; done)

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(EXTRAS)
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq --retries 5
export PIP_ROOT_USER_ACTION := ignore

.PHONY: setup run test test-slow lint format bench bench-card docs clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 (with venv) found;" \
		"name one: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@echo "Installing into $(VENV) ($$($(BIN)/python --version), extras: $(EXTRAS))"
	@for try in 1 2 3; do \
		$(PIP) install -c constraints.txt -e '.[$(EXTRAS)]' && break; \
		test $$try -lt 3 || exit 1; \
		echo "pip failed; trying again ($$try of 2)" >&2; sleep $$((5 * try)); \
	done
	@touch $@

run: $(STAMP)
	$(BIN)/python -m experiments.run algo=acorm_mappo env=smax env.map=2s3z \
		total_steps=200000 $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-slow: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'slow and not starcraft' $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m experiments.bench out=bench.json $(ARGS)

# A page of results of the attached card, as far as ten minutes reach.
bench-card: $(STAMP)
	$(BIN)/python -m experiments.bench suite=attached threads=0 out=bench-card.json \
		docs=docs/benchmarks.md $(ARGS)

docs: $(STAMP)
	$(PIP) install -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

clean:
	rm -rf $(VENV) .jax_cache .pytest_cache .ruff_cache build dist *.egg-info
