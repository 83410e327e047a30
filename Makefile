# waveletgpt: `make help` lists the targets.

PYTHON ?= python3
PORT   ?= 7860
VENV   := .venv
BIN    := $(VENV)/bin
# torch comes first and by exactly this version: a range may resolve to gigabytes of CUDA packages.
TORCH  ?= torch==2.13.0
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q
# Python compiles what it imports; all of site-packages would take a minute longer and 200 MB.
COMPILE := $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile)
# uv takes a sixth of pip's time. Where it cannot do it (it reads no pip.conf, for one), pip does.
UV  := $(BIN)/python -m uv pip install -q --system-certs --python $(BIN)/python
INSTALL = $(UV) $(if $(COMPILE),,--compile-bytecode) $(1) || $(PIP) install $(COMPILE) $(1)
VERSIONS = $(PIP) freeze --exclude-editable --exclude uv | sed 's/+cpu$$//'

.DEFAULT_GOAL := help
.PHONY: help app test test-all fuzz lint smoke bench docs lock locked audit licences clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

app: $(VENV)/.app  ## set up .venv and open the app on the shipped checkpoints (PORT=7860)
	$(BIN)/waveletgpt app --port $(PORT)

test: $(VENV)/.dev  ## set up .venv and run the tests, but for the slow ones
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(VENV)/.dev  ## the same with the slow ones: comparisons, killed processes, all commands of README and docs
	$(BIN)/python -m pytest -n 2

fuzz: $(VENV)/.dev  ## read 18,000 damaged files, checkpoints and calls of the endpoints (test-all has a hundredth)
	$(BIN)/python tests/fuzz/run.py

lint: $(VENV)/.dev  ## ruff, mypy --strict; JavaScript where node is installed, the Dockerfile where hadolint is
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if command -v node > /dev/null; then for file in app/web/static/*.js; do node --check $$file || exit 1; done; \
	else echo "JavaScript is not checked: there is no node here"; fi
	@if command -v hadolint > /dev/null; then hadolint Dockerfile; else echo "The Dockerfile is not checked: there is no hadolint here"; fi

smoke: $(VENV)/.app  ## prepare, train, evaluate and generate in all three modalities, in under two minutes
	$(BIN)/python -m waveletgpt.training.smoke

bench: $(VENV)/.bench  ## speed of training and of generation, one JSON line each
	$(BIN)/python benchmarks/train.py
	$(BIN)/python benchmarks/decode.py

docs: $(VENV)/.dev  ## write the API reference from the docstrings into build/docs
	$(BIN)/python docs/reference.py build/docs

lock: $(VENV)/.dev  ## write the exact versions in .venv to requirements.lock (make clean first, for the newest)
	(head -n 1 requirements.lock; $(VERSIONS)) > requirements.new && mv requirements.new requirements.lock

locked: $(VENV)/.dev  ## make smoke with the exact versions of requirements.lock, unless .venv has just these
	@if (head -n 1 requirements.lock; $(VERSIONS)) | cmp -s - requirements.lock; then \
	echo "requirements.lock holds the versions that the tests ran with"; \
	else rm -rf $(VENV)-locked && (cp -al $(VENV) $(VENV)-locked || cp -R $(VENV) $(VENV)-locked) && \
	$(VENV)-locked/bin/python -m pip --disable-pip-version-check -q install -r requirements.lock && \
	$(VENV)-locked/bin/python -m waveletgpt.training.smoke; fi

audit:  ## look up known vulnerabilities of requirements.lock with pip-audit, where its service can be reached
	@$(PYTHON) .ci/audit.py

licences: $(VENV)/.dev  ## write docs/licences.md
	$(BIN)/python docs/licences.py

clean:  ## remove .venv and caches (data/, runs/ and outputs/ stay)
	rm -rf $(VENV) $(VENV)-locked build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The stamps make a second `make` immediate; pyproject.toml changing makes pip look again.
$(VENV)/.torch:
	@echo "Setting up $(VENV): PyTorch first (a minute or two, only once) ..."
	$(PYTHON) -m venv $(VENV)
	$(PIP) install $(COMPILE) "$(TORCH)" uv
	@touch $@

$(VENV)/.app: $(VENV)/.torch pyproject.toml
	@echo "Installing waveletgpt and what it needs ..."
	$(call INSTALL,-e .)
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	@echo "Installing waveletgpt, what it needs and what its tests need ..."
	$(call INSTALL,-e ".[dev]")
	@touch $(VENV)/.app $@

$(VENV)/.bench: $(VENV)/.app
	@echo "Installing what the benchmarks compare with ..."
	$(call INSTALL,-e ".[bench]")
	@touch $@
