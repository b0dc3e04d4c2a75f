# Two commands: `make run` does the main job on demo data, `make test` checks everything.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAGO_PORT ?= 3900
UI_PORT ?= 3000

export DAGSTER_HOME := $(CURDIR)/.dagster_home
export LAGO_PIPELINE_STATE := $(DAGSTER_HOME)/lago_pipeline
export WAREHOUSE_URL := sqlite:///$(LAGO_PIPELINE_STATE)/warehouse.db
export LAGO_API_URL := http://127.0.0.1:$(LAGO_PORT)/api/v1
export LAGO_API_KEY := 5a6d0b0c-1a90-4e0f-9d6b-0c0ffee0da7a
export ARROW_DEFAULT_MEMORY_POOL := jemalloc
export LEDGER_URL :=
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Dagster starts many processes: none of them should compile the same modules again
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test dev bench torture screenshots check clean

help: ## Show what there is.
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

run: $(VENV)/run.installed $(DAGSTER_HOME)/dagster.yaml ## Deliver the demo's usage to a Lago sandbox.
	@$(BIN)/python -m lago_pipeline.demo run

dev: $(VENV)/run.installed $(DAGSTER_HOME)/dagster.yaml ## Open the Dagster UI with the sandbox beside it.
	@$(BIN)/python -m lago_pipeline.demo dev --port $(UI_PORT)

test: $(VENV)/test.installed check ## Lint, check types, and run the tests.
	@$(BIN)/python -m pytest -n 3 --dist worksteal

bench: $(VENV)/test.installed ## Time each step, the whole job, and a year of days (half an hour).
	@$(BIN)/python -m lago_pipeline_tests.bench.extraction
	@$(BIN)/python -m lago_pipeline_tests.bench.render
	@$(BIN)/python -m lago_pipeline_tests.bench.delivery
	@$(BIN)/python -m lago_pipeline_tests.bench.main_job
	@$(BIN)/python -m lago_pipeline_tests.bench.backfill

torture: $(VENV)/test.installed ## Kill a delivery 200 times, and move a ledger of a million lines (about two minutes).
	@LAGO_PIPELINE_KILLS=200 $(BIN)/python -m pytest lago_pipeline_tests/crash
	@LAGO_PIPELINE_LINES=1000000 $(BIN)/python -m pytest lago_pipeline_tests/ledger/test_transfer.py

screenshots: $(VENV)/test.installed ## Take the pictures of the README anew (three minutes, with Chromium).
	@$(BIN)/python -m lago_pipeline_tests.browser.screenshots

check: $(VENV)/test.installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean: ## Remove the virtual environment and the demo's state.
	rm -rf $(VENV) $(DAGSTER_HOME)

$(VENV)/run.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/test.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing with the test tools (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/run.installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Error: Python 3.11 or newer is needed: make PYTHON=python3.11 run"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Error: Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(DAGSTER_HOME)/dagster.yaml: dagster.yaml
	@mkdir -p $(DAGSTER_HOME)
	@ln -sf ../dagster.yaml $@
