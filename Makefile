# The single face of the project: `make help`. Works from any path, also one with a space in it.
PYTHON ?= python3
PORT ?= 8000
OPENRLHF ?= 0.11.2

.DEFAULT_GOAL := help
.PHONY: help install serve test test-trainer check format bench lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

install: .venv/.service  ## .venv with the service and its `rbr`

serve: install  ## run the service on 127.0.0.1:PORT (default 8000)
	.venv/bin/rbr serve --port $(PORT)

test: .venv/.dev  ## all tests that need neither vLLM nor OpenRLHF
	.venv/bin/python -m pytest

test-trainer: install .venv-trainer/.done build/openrlhf-$(OPENRLHF)/.done  ## OpenRLHF's own client against the service
	OPENRLHF_SOURCE=build/openrlhf-$(OPENRLHF) .venv-trainer/bin/python -m pytest --confcutdir=tests/contract tests/contract

check: .venv/.dev  ## format, lint, types, import walls, tests
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	$(MAKE) test

format: .venv/.dev  ## put the code in the project's format
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

bench: .venv/.dev  ## measure, print a table, write build/bench.json
	.venv/bin/python -m tests.benchmarks

lock: .venv/.dev  ## renew the pins in requirements/
	.venv/bin/python -m pip install -q uv
	.venv/bin/uv pip compile pyproject.toml -q --upgrade --python-version 3.11 --universal \
		--no-annotate --custom-compile-command "make lock" -o requirements/service.txt
	for group in dev trainer; do \
		.venv/bin/uv pip compile --group $$group -q --upgrade --python-version 3.11 --universal --no-annotate \
			-c requirements/service.txt --custom-compile-command "make lock" -o requirements/$$group.txt; \
	done

clean:  ## remove what the targets made
	rm -rf .venv .venv-trainer build

.venv/.service: requirements/service.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check -r requirements/service.txt
	.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

.venv/.dev: .venv/.service requirements/dev.txt
	.venv/bin/python -m pip install -q --disable-pip-version-check -r requirements/dev.txt
	touch $@

.venv-trainer/.done: requirements/trainer.txt
	$(PYTHON) -m venv .venv-trainer
	.venv-trainer/bin/python -m pip install -q --disable-pip-version-check -r requirements/trainer.txt
	touch $@

# Unpacked beside the environments, not into one: the wheel brings a top-level package `tests`.
build/openrlhf-$(OPENRLHF)/.done:
	$(PYTHON) -m pip install -q --disable-pip-version-check --no-deps --target build/openrlhf-$(OPENRLHF) openrlhf==$(OPENRLHF)
	touch $@
