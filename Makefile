# How devlink is set up, checked, tested and shown. `make` alone lists the targets; each does all the set-up it needs.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

BIN := .venv/bin
READY := .venv/.ready
REQUIREMENTS := packaging/requirements
COMPILE := uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make requirements"
# What needs no namespace, no root and no program of a cluster, and does not take seconds of work.
UNIT := not lab and not system and not cluster and not peers and not slow
# The halves of `check` run side by side; each prints as one piece.
SIDE_BY_SIDE := $(MAKE) --no-print-directory --keep-going --jobs=2 --output-sync=target
BENCHES := start dashboard discover failover wakeups plan routes throughput relay forwarder
PEERS := tests/kit/peers.sh

# Where writing bytecode is forbidden pytest would rewrite every test file anew in each run, which takes ten seconds.
export PYTHONDONTWRITEBYTECODE :=
# Debian leaves these out of an ordinary user's PATH, and nft lives there.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 14

.PHONY: setup system
setup: $(READY) ## the virtual environment (.venv) and the system's packages; every target does it by itself

$(READY): $(REQUIREMENTS)/dev.txt pyproject.toml packaging/setup.sh | system
	@packaging/setup.sh venv
	@touch $@

system:
	@packaging/setup.sh system

.PHONY: check static format lint types contracts unit
check: setup ## format, lint, types, import contracts and unit tests: before every commit
	@$(SIDE_BY_SIDE) types unit format lint contracts

static: setup
	@$(SIDE_BY_SIDE) types format lint contracts

format:
	@$(BIN)/ruff format --check --quiet --output-format concise . || { echo 'make fix formats them'; exit 1; }

lint:
	@$(BIN)/ruff check --quiet .

types:
	@$(BIN)/mypy --no-error-summary

contracts:
	@out=$$($(BIN)/lint-imports --no-logo) || { echo "$$out"; exit 1; }

unit:
	@$(BIN)/pytest -q -n 3 --dist worksteal --hypothesis-profile=check -m "$(UNIT)"

.PHONY: fix
fix: setup ## repair format and lint where a program can
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format --quiet .

.PHONY: test
test: static ## everything but test-system: static checks, then the tests in one run
	@# Without the kit, the peers and the systems the tests with real programs are skipped; under CI=true a skip is a failure.
	@tests/kit/build.sh || [[ $${CI:-} != true ]]
	@tests/kit/peers.sh || [[ $${CI:-} != true ]]
	@tests/kit/systems.sh || [[ $${CI:-} != true ]]
	@$(BIN)/pytest -q -n 4 --dist worksteal -m "not matrix"

.PHONY: test-system
test-system: setup ## what `make test` leaves out: more systems, more networks, long runs (root)
	@tests/kit/build.sh
	@tests/kit/peers.sh
	@tests/kit/systems.sh
	@$(BIN)/pytest -q -n 2 --dist worksteal -m matrix

.PHONY: demo
demo: setup ## devlink in a private world, from up to down, without root
	@$(BIN)/devlink demo

.PHONY: snapshots screenshots
snapshots: setup ## draw anew how the dashboard looks in its tests; git diff shows what changed
	@$(BIN)/pytest -q tests/tui/test_snapshots.py --snapshot-update

screenshots: setup ## draw the pictures of README, from the real dashboard in the lab
	@$(BIN)/python -m tests.tui.shoot docs

.PHONY: reference
reference: setup ## write docs/configuration.md anew, of the code
	@$(BIN)/python -m tests.cli.reference docs

.PHONY: bench
bench: setup ## the figures that README and CHANGELOG claim, each beside a peer or a limit in the same run
	@$(PEERS) || true
	@missed=; for bench in $(BENCHES); do $(BIN)/python -m tests.benchmarks.$$bench || missed+=" $$bench"; done; \
	[[ -z $$missed ]] || { echo "missed a limit, or failed:$$missed"; exit 1; }

.PHONY: deb
deb: setup ## devlink's package for Debian 12 and later, in dist/
	@$(BIN)/python packaging/deb/make_deb.py

.PHONY: wheel
wheel: setup ## devlink's wheel, with the units as data, in dist/
	@$(BIN)/python -m hatchling build --target wheel

.PHONY: kit
kit: ## build the real programs of a cluster (needs Go) into the cache, outside the tree
	@tests/kit/build.sh

.PHONY: requirements
requirements: ## renew the pinned requirements (needs uv); UPGRADE=--upgrade takes newer versions
	@$(COMPILE) $(UPGRADE) --output-file $(REQUIREMENTS)/runtime.txt
	@$(COMPILE) $(UPGRADE) --group dev --constraint $(REQUIREMENTS)/runtime.txt --output-file $(REQUIREMENTS)/dev.txt
