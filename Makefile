# Thin front: everything runs in a virtual environment that needs nothing but Python >= 3.11, pip and make.
#   make demo | test | fast | lint | docs | clean        (PYTHON=python3.13 picks another interpreter)
PYTHON      ?= python3
VENV        ?= .venv
DEMO_OUT    ?= demo_output
PYTEST_ARGS ?=
# A worker for each core, but no more than memory allows; the tests of a file stay together, with what they share.
XDIST_ARGS  ?= -n logical --maxprocesses 4 --dist loadfile
# Extra requirements or options for the install, such as "torch==2.13.0+cpu".
PIP_ARGS    ?=
export MPLBACKEND ?= Agg

VERSION     := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
CONSTRAINTS ?= $(if $(filter 3.11,$(VERSION)),constraints/py311.txt,constraints/latest.txt)
BIN         := $(VENV)/bin
PIP         := $(BIN)/python -m pip install --quiet --disable-pip-version-check
READY       := $(VENV)/.ready-$(VERSION)
READY_DOCS  := $(VENV)/.ready-docs-$(VERSION)

.PHONY: demo test fast lint docs clean

demo: $(READY)
	DEMO_OUT="$(DEMO_OUT)" $(BIN)/python examples/demo.py

test: lint
	$(BIN)/python -m pytest -m "not internet" $(XDIST_ARGS) $(PYTEST_ARGS)

fast: $(READY)
	$(BIN)/python -m pytest -m "not slow and not internet" $(XDIST_ARGS) $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(READY_DOCS)
	rm -rf docs/generated
	$(BIN)/sphinx-build -M html docs docs/_build -W --keep-going

clean:
	rm -rf .venv .venv-latest $(VENV) demo_output build dist docs/_build docs/generated .coverage \
	  .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "scwhatif needs Python >= 3.11, but '$(PYTHON)' is $(if $(VERSION),Python $(VERSION),not there)." \
	    "Name a newer one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Installing into $(VENV) (Python $(VERSION), $(CONSTRAINTS)); this takes a few minutes the first time."
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) "pip>=25.1"
	$(PIP) --constraint $(CONSTRAINTS) --editable . --group dev $(PIP_ARGS)
	@touch $@

$(READY_DOCS): $(READY)
	$(PIP) --constraint $(CONSTRAINTS) --group doc
	@touch $@
