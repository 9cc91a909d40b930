# The project's verbs; `make` alone lists them.

PYTHON ?= python3
MINUTES ?= 60
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run resume check test compiled faults bench wheel picture pins clean

help: ## List the verbs
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r verb text; do \
		printf '  make %-10s %s\n' "$$verb" "$$text"; done

$(READY): requirements.txt requirements-dev.txt pyproject.toml scripts/setup.sh
	@PYTHON=$(PYTHON) sh scripts/setup.sh

setup: $(READY) ## Make .venv with pinned dependencies (the other verbs do this by themselves)
	@echo "ready: $(BIN)/tenuto --help"

run: $(READY) ## Onboard a new employee, on real protocols (FAIL=1: a step fails, all is undone)
	@$(BIN)/python examples/onboarding/run.py $(if $(FAIL),--fail)

resume: $(READY) ## Go on with a run that was killed
	@$(BIN)/python examples/onboarding/run.py --resume

check: $(READY) ## Format, lint and types
	@$(BIN)/ruff format --check --quiet . || { echo 'run: $(BIN)/ruff format'; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@cd examples && ../$(BIN)/mypy --config-file ../pyproject.toml -p onboarding -p fastapi_shop
	@cd examples/django_shop && ../../$(BIN)/mypy -p project -p shop

test: $(READY) ## Every test; brings the servers that they need
	@$(BIN)/pytest

compiled: $(READY) ## The engine's tests on a compiled wheel, as it is released
	@sh scripts/test_compiled.sh

faults: $(READY) ## Break it for an hour (MINUTES=60); the record is docs/reliability.md
	@$(BIN)/python -m tests.reliability --minutes $(MINUTES) --page docs/reliability.md

bench: $(READY) ## Measure beside other systems for an hour (MINUTES=60); the results are bench/RESULTS.md
	@$(BIN)/python -m bench --minutes $(MINUTES)

wheel: $(READY) ## Build a wheel in dist/, its hot path compiled
	@sh scripts/wheel.sh

picture: $(READY) ## Make the README's picture anew from a real run
	@$(BIN)/python scripts/picture.py docs/images/onboarding.svg

pins: $(READY) ## Choose new versions of all dependencies
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip compile --quiet --upgrade --universal --no-emit-index-url --generate-hashes --no-header \
		--extra all --extra example --output-file requirements.txt pyproject.toml
	@$(BIN)/uv pip compile --quiet --upgrade --universal --no-emit-index-url --generate-hashes --no-header \
		--group dev --constraint requirements.txt --output-file requirements-dev.txt

clean: ## Remove what setup and runs made
	@rm -rf .venv .tenuto .bench dist
