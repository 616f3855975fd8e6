# make demo   the whole loop on the embedded simulator: collect, label, train, drive, score, report
# make test   style, types and tests
# Both create .venv when it is missing. PYTHON=/path/to/python3.x chooses another interpreter (3.10 to 3.12).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= $(shell for candidate in python3 python3.12 python3.11 python3.10; do \
    $$candidate -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$candidate && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
WORKERS ?= 2

# Tests that connect clients to servers. Each file has a process of its own: threads of the carla client abort their process
# when a server that they once knew ends, so these tests must not share one with others.
SIMULATOR_TESTS := tests/contract/test_contract.py tests/carla_server/test_process.py tests/carla_server/test_clients.py tests/carla_server/test_pulse.py tests/carla_server/test_view.py \
    tests/carla_server/render/test_client.py tests/scenario_runner/test_on_server.py tests/leaderboard/test_evaluator.py \
    tests/scenario_runner/test_types_in_the_city.py tests/scenario_runner/test_types_in_the_suburb.py \
    tests/scenario_runner/test_types_on_the_highway.py tests/leaderboard/test_scores.py tests/leaderboard/test_resume.py

.PHONY: help demo test lint typecheck unit format clean

help:
	@sed -n '1,3p' Makefile

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "SimLingo needs Python 3.10, 3.11 or 3.12 on the PATH (the carla wheel exists for these); found: $$(python3 --version 2>&1)"; exit 2; }
	$(PYTHON) -m venv .venv || { echo "Python's venv module is missing; on Debian and Ubuntu: apt-get install python3-venv"; exit 2; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m jobs.demo

test: lint typecheck unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(STAMP)
	$(BIN)/mypy

unit: $(STAMP)
	printf '%s\n' $(SIMULATOR_TESTS) | OMP_NUM_THREADS=1 xargs -P $(WORKERS) -n 1 $(BIN)/python -m pytest
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(addprefix --ignore=,$(SIMULATOR_TESTS))

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
