# `make` lists what there is. PYTHON chooses the interpreter: make PYTHON=python3.13 setup
PYTHON ?= python3
DEMO_ARGS ?=
KILLS_ARGS ?=
OUTAGE_ARGS ?=
BENCH_ARGS ?=
TIMES ?= 20
SECONDS ?= 300
SEED ?=
CHAOS_ARGS ?=
PYTEST_ARGS ?=
SEEDS ?= 10000
RUN := .venv/bin/python
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help environment setup demo chaos kills outage bench-pace bench-limit bench-speed bench-receive test simulate check fmt lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

environment: ## .venv with the locked requirements
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: $(PYTHON) is not Python 3.11 or newer; install one, or name it: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m deploy.local environment

setup: environment ## everything that demo and tests need: .venv, RabbitMQ, Redis
	@$(RUN) -m deploy.local setup

demo: setup ## watch it work against a simulator of the API (DEMO_ARGS="--help" for its options)
	@$(RUN) -m loadtest.demo $(DEMO_ARGS)

chaos: setup ## kill, freeze, cut off and mislead everything at random under load, and close the books (SECONDS=300 SEED=4711)
	@$(RUN) -m loadtest.chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(CHAOS_ARGS)

kills: setup ## kill a worker at each step of a job's way, TIMES=20 times, and close the books
	@$(RUN) -m loadtest.kills --times $(TIMES) $(KILLS_ARGS)

outage: setup ## have the API out for 30 s, in three ways, and count what that costs (OUTAGE_ARGS="--kinds hang")
	@$(RUN) -m loadtest.outage $(OUTAGE_ARGS)

test: setup ## all tests, with servers of their own (PYTEST_ARGS="-k limiter")
	$(RUN) -m pytest $(PYTEST_ARGS)

simulate: environment ## ten thousand seeded runs of the flow with faults, in virtual time (SEEDS=1000)
	@$(RUN) -m tests.simulation --seeds $(SEEDS)

check: environment ## lint, format and types
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy

fmt: environment ## put the code into its format
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format

lock: ## resolve requirements.lock again from pyproject.toml
	@tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	$(PYTHON) -m venv "$$tools"; "$$tools/bin/pip" install -qq --disable-pip-version-check uv; \
	index=$$("$$tools/bin/pip" config get global.index-url 2>/dev/null || true); \
	$${index:+env UV_DEFAULT_INDEX="$$index"} "$$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 \
	  --all-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-header pyproject.toml -o requirements.lock

clean: ## remove .venv, .venv-rivals and caches
	rm -rf .venv .venv-rivals .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find worker deploy loadtest tests -name __pycache__ -type d -prune -exec rm -rf {} +

bench-pace: setup ## measure how well the limit is used and kept (BENCH_ARGS="--rate 150 --json pace.json")
	@$(RUN) -m loadtest.bench pace $(BENCH_ARGS)

bench-limit: setup ## the same for all ways to count, rates and jitters, and through what others use (an hour; BENCH_ARGS="--no-rivals")
	@$(RUN) -m loadtest.bench limit $(BENCH_ARGS)

bench-speed: setup ## measure what a worker does without a limit, and what a job costs (BENCH_ARGS="--jobs 10000")
	@$(RUN) -m loadtest.bench speed $(BENCH_ARGS)

bench-receive: setup ## measure what a receiver takes, and what a flood does to the sending (BENCH_ARGS="--parts callbacks")
	@$(RUN) -m loadtest.bench receive $(BENCH_ARGS)
