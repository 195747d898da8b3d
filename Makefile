# The two commands are `make reproduce` and `make test`. Both first build .venv if it is missing, broken or moved,
# and install the project into it again if pyproject.toml has changed. Another interpreter: `make test PYTHON=python3.12`.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
RUN := $(VENV)/bin/python -m

.PHONY: reproduce test test-slow test-extras docs lint format benchmark clean venv
.DEFAULT_GOAL := test

reproduce: $(STAMP)    ## every figure and table, into results/
	$(RUN) figures

test: lint             ## style, types and the fast tests
	$(RUN) pytest -n auto --maxprocesses 4 --dist worksteal

test-slow: $(STAMP)    ## the tests marked slow
	$(RUN) pytest -m slow -n auto --maxprocesses 4 --dist worksteal --durations 15

test-extras: $(STAMP)  ## the tests that need JAX or PyTorch, which it installs
	$(RUN) pip install --quiet --editable '.[jax,torch]'
	$(RUN) pytest -m extras

lint: $(STAMP)         ## style and types
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy

format: $(STAMP)       ## rewrite the files in the house style
	$(RUN) ruff check --fix
	$(RUN) ruff format

docs: $(VENV)/.docs     ## the documentation site, into build/docs, looked at in a browser where there is one
	$(RUN) sphinx -q -W --keep-going docs build/docs
	$(RUN) pytest -q -m slow tests/project/test_site.py

benchmark: $(STAMP)    ## speed, as ratios in one run
	$(RUN) benchmarks

clean:
	rm -rf $(VENV) build dist docs/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# A sound environment has an interpreter that finds its pip, and was made at this very place.
SOUND := $(shell $(VENV)/bin/python -c 'import pip' 2>/dev/null && grep ' $(CURDIR)/$(VENV)$$' $(VENV)/pyvenv.cfg)

$(STAMP): pyproject.toml $(if $(SOUND),,venv)
	$(RUN) pip install --quiet --editable '.[dev]'
	@touch $@

$(VENV)/.docs: $(STAMP)
	$(RUN) pip install --quiet --editable '.[docs]'
	@touch $@

venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'simlab needs Python >= 3.11, which "$(PYTHON)" is not: say which to use, as in "make test PYTHON=python3.12"'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo '"$(PYTHON)" cannot make environments: install its venv and pip (Debian: apt install python3-venv)'; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
