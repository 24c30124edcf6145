# `make` lists what there is. PYTHON chooses the interpreter: make PYTHON=python3.13 setup
PYTHON ?= python3
DEMO_ARGS ?=
KILLS_ARGS ?=
OUTAGE_ARGS ?=
BENCH_ARGS ?=
LOADTEST_ARGS ?=
SCENARIO ?= steady
TIMES ?= 20
SECONDS ?= 300
SEED ?=
CHAOS_ARGS ?=
PYTEST_ARGS ?=
DASHBOARDS_ARGS ?=
UP_ARGS ?=
DOWN_ARGS ?=
SEEDS ?= 10000
RUN := .venv/bin/python
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
SECURITY_TOOLS = $(PYTHON) -m venv "$$tools"; \
  "$$tools/bin/pip" install -qq --disable-pip-version-check --require-hashes -r deploy/security/tools.lock
.PHONY: help environment setup demo chaos kills outage bench bench-pace bench-limit bench-speed bench-receive loadtest soak test simulate check fmt lock clean \
	generate dashboards-check image audit sbom up down

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

loadtest: setup ## a scenario against the whole system, as JSON and a page in .run/loadtest (SCENARIO=spike; LOADTEST_ARGS="--seconds 30")
	@$(RUN) -m loadtest run $(SCENARIO) $(LOADTEST_ARGS)

soak: setup ## two hours at the limit: memory flat, no errors (LOADTEST_ARGS="--seconds 600")
	@$(RUN) -m loadtest run soak $(LOADTEST_ARGS)

test: setup ## all tests, with servers of their own (PYTEST_ARGS="-k limiter")
	@$(RUN) -m deploy.local browser
	$(RUN) -m pytest $(PYTEST_ARGS)

simulate: environment ## ten thousand seeded runs of the flow with faults, in virtual time (SEEDS=1000)
	@$(RUN) -m tests.simulation --seeds $(SEEDS)

generate: environment ## write the files that are made from others: dashboards, rules for Kubernetes and the like
	@$(RUN) -m deploy.generate

dashboards-check: setup ## a run with faults under a real Prometheus: every panel has to show something (DASHBOARDS_ARGS="--pictures FOLDER")
	@$(RUN) -m loadtest.dashboards $(DASHBOARDS_ARGS)

up: setup ## the whole system in the background, with a simulator of the API (UP_ARGS="--native" without Docker)
	@$(RUN) -m deploy.up up $(UP_ARGS)

down: environment ## end what `make up` has started (DOWN_ARGS="--forget" removes its data and secrets as well)
	@$(RUN) -m deploy.up down $(DOWN_ARGS)

image: ## the worker's image, mms-worker:local (needs a Docker engine)
	docker build --file deploy/Dockerfile --target worker --tag mms-worker:local .

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
	  --all-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-header pyproject.toml -o requirements.lock; \
	$${index:+env UV_DEFAULT_INDEX="$$index"} "$$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header deploy/security/tools.in -o deploy/security/tools.lock

audit: ## known weaknesses of everything that is locked (asks PyPI; fails when it cannot tell)
	@tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; $(SECURITY_TOOLS); \
	"$$tools/bin/pip-audit" --strict --disable-pip --require-hashes -r requirements.lock -r deploy/security/tools.lock

sbom: ## what a worker is made of, as CycloneDX: dist/sbom.cdx.json
	@tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; $(SECURITY_TOOLS); mkdir -p dist; \
	$(PYTHON) -m venv --without-pip "$$tools/worker"; \
	"$$tools/bin/pip" --python "$$tools/worker/bin/python" install -qq --disable-pip-version-check \
	  --require-hashes -r deploy/image/worker.lock; \
	"$$tools/bin/cyclonedx-py" environment --pyproject pyproject.toml --output-reproducible --of JSON \
	  -o dist/sbom.cdx.json "$$tools/worker/bin/python"; \
	echo "dist/sbom.cdx.json: $$($(PYTHON) -c 'import json; print(len(json.load(open("dist/sbom.cdx.json"))["components"]))') parts"

clean: ## remove .venv, .venv-rivals and caches
	rm -rf .venv .venv-rivals .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find worker deploy loadtest tests -name __pycache__ -type d -prune -exec rm -rf {} +

bench: setup ## our worker beside what others would pick, and the floor (some 8 minutes; BENCH_ARGS="--rounds 3 --json peers.json")
	@$(RUN) -m loadtest.bench peers $(BENCH_ARGS)

bench-pace: setup ## measure how well the limit is used and kept (BENCH_ARGS="--rate 150 --json pace.json")
	@$(RUN) -m loadtest.bench pace $(BENCH_ARGS)

bench-limit: setup ## the same for all ways to count, rates and jitters, and through what others use (an hour; BENCH_ARGS="--no-rivals")
	@$(RUN) -m loadtest.bench limit $(BENCH_ARGS)

bench-speed: setup ## measure what a worker does without a limit, and what a job costs (BENCH_ARGS="--jobs 10000")
	@$(RUN) -m loadtest.bench speed $(BENCH_ARGS)

bench-receive: setup ## measure what a receiver takes, and what a flood does to the sending (BENCH_ARGS="--parts callbacks")
	@$(RUN) -m loadtest.bench receive $(BENCH_ARGS)
