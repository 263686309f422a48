# PayOnce: every command that a developer or a CI needs. They use only .venv, which they make.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# The first Python that is new enough; say PYTHON=... to choose another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
# More arguments, as in: make up ARGS='--port 9000', make test ARGS='-k refund'
ARGS ?=

BIN := .venv/bin
READY := .venv/.ready
RUNS := .venv/.runs
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
LOCK := $(BIN)/uv pip compile pyproject.toml --extra amqp --extra push --extra telemetry \
	--universal --generate-hashes --no-emit-index-url --no-header --quiet
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0
POLICY := /usr/sbin/policy-rc.d
SQL := gateway/db/migrations

.PHONY: help
help: ## say what can be made
	@echo "PayOnce: an order is never paid twice, and paid money is never lost."
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1 \2/p' $(MAKEFILE_LIST) \
		| awk '{ printf "  %s %-7s ", $$1, $$2; $$1 = $$2 = ""; print substr($$0, 3) }'

.PHONY: env
env: $(READY) ## make the environment: .venv, from the lock files

.PHONY: up
up: $(RUNS) ## run everything: gateway, PostgreSQL, Valkey, channel sandbox, demo shop
	@$(BIN)/payonce up $(ARGS)

.PHONY: test
test: $(READY) tools lint ## check everything: style, types, layers, SQL, and all tests
	@echo "== tests"
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

.PHONY: lint
lint: $(READY) ## check what needs no running: style, types, layers, SQL, Dockerfile
	@echo "== style"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check .; exit 1; }
	@echo "== types"
	@$(BIN)/mypy
	@echo "== layers"
	@$(BIN)/lint-imports --no-cache --no-logo
	@echo "== SQL"
	@$(BIN)/sqlfluff lint --quiet --disable-progress-bar $(SQL)
	@$(BIN)/squawk $(SQL)/*.sql
	@echo "== Dockerfile"
	@$(BIN)/hadolint Dockerfile

.PHONY: prove
prove: $(READY) ## run every schedule of the proof, not only what `make test` has time for
	@SCHEDULES=all $(BIN)/python -m pytest tests/schedules --timeout=0 -s $(ARGS)

.PHONY: chaos
chaos: $(READY) ## run load through real processes while everything fails, and count the money
	@$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: mutants
mutants: $(READY) ## change the code that settles money, and see that a test misses each change
	@$(BIN)/python -m tests.mutants $(ARGS)

.PHONY: bench
bench: $(READY) ## measure against the floors, on this machine
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: lock
lock: $(READY) ## choose the versions again, after a change of pyproject.toml
	@$(LOCK) --group dev --output-file requirements.lock
	@$(LOCK) --group build --constraint requirements.lock --output-file requirements-runtime.lock

.PHONY: clean
clean: ## remove the environment and the caches; the data in .payonce stays
	@rm -rf .venv .cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What runs PayOnce is installed first, and for `make up` alone; the tools of developers follow.
$(READY): $(RUNS) requirements.lock
	@echo "Installing the tools that requirements.lock names ..."
	@$(PIP) install --require-hashes --requirement requirements.lock
	@touch $(READY)

$(RUNS): requirements-runtime.lock pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(MAKE) venv
	@echo "Installing PayOnce and what requirements-runtime.lock names ..."
	@$(PIP) install --require-hashes --requirement requirements-runtime.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(RUNS)

# Debian's Python comes without venv, and only root can add it.
.PHONY: venv
venv:
	@test -n "$(PYTHON)" || { echo "PayOnce needs Python 3.11 or newer, and none is on the PATH." \
		"Install one, or say: make env PYTHON=/path/to/python"; exit 1; }
	@if ! $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
		if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
			echo "$(PYTHON) has no venv. Install it (on Debian: apt-get install python3-venv)," \
				"then try again."; exit 1; fi; \
		echo "Installing python3-venv ..."; \
		$(APT) update && $(APT) install --yes python3-venv >/dev/null; fi
	@$(PYTHON) -m venv --clear .venv

# What the tests need of the machine: a browser that can draw Chinese, Node.js for the channels' own
# SDKs, and a RabbitMQ. Where we may not install, the tests that need them fail and say so. Debian
# starts the servers that it installs, now if policy-rc.d lets it and at each boot: the tests start
# their own.
.PHONY: tools
tools:
	@missing=; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	fc-list :lang=zh 2>/dev/null | grep -q . || missing="$$missing fonts-wqy-zenhei"; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	test -x /usr/lib/rabbitmq/bin/rabbitmq-server || missing="$$missing rabbitmq-server"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "Missing for the tests:$$missing"; exit 0; fi; \
	echo "Installing$$missing ..."; \
	if [ ! -e $(POLICY) ]; then \
		trap 'rm -f $(POLICY)' EXIT; \
		printf '#!/bin/sh\nexit 101\n' >$(POLICY) && chmod +x $(POLICY); fi; \
	$(APT) update && $(APT) install --yes --no-install-recommends $$missing >/dev/null || exit 1; \
	case "$$missing" in *rabbitmq*) systemctl --quiet disable rabbitmq-server 2>/dev/null;; esac; :
