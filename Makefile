# Each verb is one word; the same words run in .ci/run. `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo up test check wheel coverage lint types format bench soak docs clean

help: ## list the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

install: $(STAMP) ## make .venv and install everything, versions from constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { echo "venv is missing: on Debian, apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[alerts,embedded,charts,history,pandas,serve,socks,dev]'
	@touch $@

demo: install ## the whole system for 30 s against a simulated exchange
	$(BIN)/collector demo

up: install ## the whole system against the live exchange
	$(BIN)/collector up

test: install ## all tests: real Redis, real workers, real sockets
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: install ## the tests that need no server, in seconds
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder -q -m 'not soak and not wheel and not server'

wheel: install ## the wheel, built, installed in an empty environment and used there
	$(BIN)/python -m pytest -m wheel

coverage: install ## all tests, and which lines no test runs, in processes of their own too
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered

lint: install ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install ## mypy, strict
	$(BIN)/mypy

bench: install ## speed, as ratios measured in one run
	$(BIN)/python -m benchmarks

soak: install ## long runs and many seeds
	$(BIN)/python -m pytest -m soak --timeout 3600

docs: install ## the docs site, into site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --quiet

clean: ## remove what `make install` and the tests made
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
