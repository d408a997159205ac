# The single face of the project: `make help`. Works from any path, also one with a space in it.
PYTHON ?= python3
PORT ?= 8000
OPENRLHF ?= 0.11.2
VERL ?= 0.9.1
# torch's CPU build. Where pip's index has none, name another: TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH ?= torch==2.13.0
TORCH_INDEX ?=

.DEFAULT_GOAL := help
.PHONY: help install serve weights screenshots test test-trainer test-vllm test-ray test-kubernetes test-browser test-observability test-containers test-faults check format bench bench-ppo lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' Makefile

install: .venv/.service  ## .venv with the service and its `rbr`

serve: install  ## run the service on 127.0.0.1:PORT (default 8000)
	.venv/bin/rbr serve --port $(PORT)

test: .venv/.dev  ## all tests that need neither vLLM nor OpenRLHF
	.venv/bin/python -m pytest

TRAINERS = OPENRLHF_SOURCE=build/openrlhf-$(OPENRLHF) VERL_SOURCE=build/verl-$(VERL)

test-trainer: install .venv-trainer/.done build/openrlhf-$(OPENRLHF)/.done build/verl-$(VERL)/.done  ## OpenRLHF's PPO on the CPU, and the trainers' own clients, against the service
	$(TRAINERS) .venv-trainer/bin/python -m pytest --confcutdir=tests/contract tests/contract
	.venv-trainer/bin/python -m pytest --confcutdir=tests/ppo tests/ppo

bench-ppo: install .venv-trainer/.done  ## PPO runs that show what the reward teaches; figures and plots in build/ppo
	.venv-trainer/bin/python -m tests.ppo
	.venv/bin/python -m tests.ppo.figures build/ppo build/ppo/ppo.svg

test-vllm: .venv-vllm/.done build/openrlhf-$(OPENRLHF)/.done  ## real vLLM engines and servers, on the CPU, over tiny models
	OPENRLHF_SOURCE=build/openrlhf-$(OPENRLHF) .venv-vllm/bin/python -m pytest --confcutdir=tests/vllm tests/vllm

test-ray: .venv-ray/.done build/openrlhf-$(OPENRLHF)/.done  ## replicas on a real Ray cluster of this machine, one killed, all updated, under load
	OPENRLHF_SOURCE=build/openrlhf-$(OPENRLHF) .venv-ray/bin/python -m pytest --confcutdir=tests/replicas tests/replicas

test-kubernetes: .venv/.kubernetes  ## the Kubernetes manifests, built and checked against the schemas
	.venv/bin/python -m pytest tests/kubernetes

# One at a time, also where make runs several targets at once.
APT = flock /var/cache/apt apt-get

test-browser: .venv/.dev  ## the page and the report in a real browser: Debian's chromium, installed here if you are root
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && $(APT) update -q && $(APT) install -qy --no-install-recommends chromium; } \
		|| { echo "chromium is not on the PATH: install Debian's package chromium (sudo apt-get install chromium)" >&2; exit 1; }
	.venv/bin/python -m pytest tests/browser

screenshots: .venv/.dev  ## the README's pictures of the page, taken anew
	.venv/bin/python -m tests.browser.screenshots docs

test-observability: .venv/.dev  ## alerts and dashboard in a real Prometheus: Debian's package, installed here if you are root
	@command -v promtool >/dev/null || { test "$$(id -u)" = 0 && $(APT) update -q && $(APT) install -qy --no-install-recommends prometheus; } \
		|| { echo "promtool is not on the PATH: install Debian's package prometheus (sudo apt-get install prometheus)" >&2; exit 1; }
	.venv/bin/python -m pytest tests/observability

test-containers: .venv-containers/.done  ## the service's image and the default stack, in docker or podman (installed if you are root)
	.venv-containers/bin/python -m pytest --confcutdir=tests/containers tests/containers

test-faults: .venv/.dev build/openrlhf-$(OPENRLHF)/.done  ## docs/faults.md, row by row: the service killed, starved, flooded; 5 minutes
	OPENRLHF_SOURCE=build/openrlhf-$(OPENRLHF) .venv/bin/python -m pytest --confcutdir=tests/faults tests/faults

# Ranked data comes from the shipped templates, which need no model; the held-out data from those of another
# author. A made-up helpful-only reward that errs as the paper's (Figure 3b) stands in for a real one.
PAPERS_ERRORS = --simulate-base-reward hard_refusal=0.70 --simulate-base-reward soft_refusal_1=0.32 \
	--simulate-base-reward soft_refusal_2=0.32 --simulate-base-reward comply=0.105
RULES = rules/rbr_rules
SYNTHESIZE = .venv/bin/rbr synthesize --unfiltered
SAFETY_TEXTS = templates templates-2 templates-3 templates-4
WEIGHTS ?= $(RULES)

weights: install  ## fit the shipped weights anew and judge them; reports in build/
	mkdir -p build
	set -e; for texts in $(SAFETY_TEXTS) held-out; do \
		$(SYNTHESIZE) --policy safety --templates $(RULES)/safety.$$texts.yaml -o build/safety.$$texts.jsonl \
			--count $$(case $$texts in held-out) echo 510;; *) echo 150;; esac); \
	done
	cat $(SAFETY_TEXTS:%=build/safety.%.jsonl) > build/safety.ranked.jsonl
	set -e; for texts in templates held-out; do \
		$(SYNTHESIZE) --policy assistant_style --templates $(RULES)/assistant_style.$$texts.yaml --count 150 \
			-o build/assistant_style.$$texts.jsonl; \
	done
	.venv/bin/rbr fit --policy assistant_style --data build/assistant_style.templates.jsonl \
		--held-out build/assistant_style.held-out.jsonl \
		-o "$(WEIGHTS)/assistant_style.lexical.json" --report build/assistant_style.html
	.venv/bin/rbr fit --policy safety --data build/safety.ranked.jsonl --held-out build/safety.held-out.jsonl \
		$(PAPERS_ERRORS) --margin 2 --l2 3e-3 -o "$(WEIGHTS)/safety.lexical.json" --report build/safety.html --json build/safety.json

check: .venv/.dev  ## format, lint, types, import walls, tests
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	.venv/bin/oxlint --deny-warnings --ignore-pattern '**/vendor/**' service/rbr_service/page
	$(MAKE) test

format: .venv/.dev  ## put the code in the project's format
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

bench: .venv/.dev .venv-vllm/.done  ## measure, print tables, write build/bench.json
	.venv/bin/python -m tests.benchmarks service
	.venv-vllm/bin/python -m tests.benchmarks fit
	.venv-vllm/bin/python -m tests.benchmarks engine

lock: .venv/.dev  ## renew the pins in requirements/
	.venv/bin/python -m pip install -q uv
	.venv/bin/uv pip compile pyproject.toml -q --upgrade --python-version 3.11 --universal \
		--no-annotate --custom-compile-command "make lock" -o requirements/service.txt
	.venv/bin/uv pip compile --group dev -q --upgrade --python-version 3.11 --universal --no-annotate \
		-c requirements/service.txt --custom-compile-command "make lock" -o requirements/dev.txt
	echo "torch; sys_platform == 'none'" | .venv/bin/uv pip compile --group trainer -q --upgrade --python-version 3.11 \
		--universal --no-annotate --overrides - --no-emit-package torch --custom-compile-command "make lock" \
		-o requirements/trainer.txt
	for group in ray kubernetes; do \
		.venv/bin/uv pip compile --group $$group -q --upgrade --python-version 3.11 --universal --no-annotate \
			-c requirements/service.txt -c requirements/dev.txt --custom-compile-command "make lock" \
			-o requirements/$$group.txt || exit 1; \
	done
	.venv/bin/uv pip compile pyproject.toml --extra vllm --extra redis --python-version 3.11 $(IMAGE) -o deploy/locks/service-gpu.txt
	.venv/bin/uv pip compile pyproject.toml --extra trainer --python-version 3.12 $(IMAGE) -o deploy/locks/trainer.txt

# For the images that need CUDA; the trainer's has the Python of its CUDA base image.
IMAGE = -q --upgrade --python-platform linux --no-annotate --custom-compile-command "make lock"

clean:  ## remove what the targets made
	rm -rf .venv .venv-trainer .venv-vllm .venv-ray .venv-containers build

.venv/.service: requirements/service.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check -r requirements/service.txt
	.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

.venv/.dev: .venv/.service requirements/dev.txt
	.venv/bin/python -m pip install -q --disable-pip-version-check -r requirements/dev.txt
	touch $@

.venv/.kubernetes: .venv/.dev requirements/kubernetes.txt
	.venv/bin/python -m pip install -q --disable-pip-version-check -r requirements/kubernetes.txt
	touch $@

.venv-ray/.done: requirements/service.txt requirements/ray.txt pyproject.toml
	$(PYTHON) -m venv .venv-ray
	.venv-ray/bin/python -m pip install -q --disable-pip-version-check -r requirements/service.txt -r requirements/ray.txt
	.venv-ray/bin/python -m pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

# What openrlhf.txt holds asks for CUDA builds (flash-attn, vLLM), which no CPU needs: hence --no-deps.
.venv-trainer/.done: requirements/trainer.txt requirements/openrlhf.txt
	$(PYTHON) -m venv .venv-trainer
	.venv-trainer/bin/python -m pip install -q --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	.venv-trainer/bin/python -m pip install -q --disable-pip-version-check -r requirements/trainer.txt
	DS_BUILD_OPS=0 .venv-trainer/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation \
		-r requirements/openrlhf.txt
	.venv-trainer/bin/python -m pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

# torchvision and its like come as CUDA builds, which break the import of transformers, and vLLM with it.
.venv-vllm/.engine: requirements/vllm.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install -q --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	.venv-vllm/bin/python -m pip install -q --disable-pip-version-check -r requirements/vllm.txt
	.venv-vllm/bin/python -m pip uninstall -q -y torchvision torchaudio torchcodec
	touch $@

# The service's ranges, not its pins: vLLM has pins of its own.
.venv-vllm/.done: .venv-vllm/.engine pyproject.toml
	.venv-vllm/bin/python -m pip install -q --disable-pip-version-check -e '.[redis]'
	touch $@

.venv-containers/.done: tests/containers/requirements.txt
	$(PYTHON) -m venv .venv-containers
	.venv-containers/bin/python -m pip install -q --disable-pip-version-check -r tests/containers/requirements.txt
	touch $@

# Unpacked beside the environments, not into one: the wheel brings a top-level package `tests`.
build/openrlhf-$(OPENRLHF)/.done build/verl-$(VERL)/.done: build/%/.done:
	$(PYTHON) -m pip install -q --disable-pip-version-check --no-deps --target build/$* $(subst -,==,$*)
	touch $@
