# Everything a newcomer, a developer and CI type. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long coverage check format native pure wheel bench bench-long bench-report schema upgrade-fixture lock clean

help: ## List the targets with a sentence each.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

setup: $(STAMP) ## Create .venv with everything that Tieout and its tests need.

$(STAMP): requirements.lock pyproject.toml
	@sh scripts/bootstrap $(PYTHON) $(VENV)
	@touch $(STAMP)

demo: setup ## Follow one company's money across five systems, with its broken cases named (Ctrl-C ends).
	@$(BIN)/tieout demo

test: setup ## Run what CI runs: style, types, import contracts and the test suite.
	@$(MAKE) --no-print-directory -j2 -O check native
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not long and not bench"

test-long: setup native ## Run the tests that take longer: fault campaigns and large inputs.
	@$(BIN)/python -m pytest -m "long and not bench"

# test_crash kills commands by the clock, and being measured makes them slow; test_compiled asks for what cannot be measured.
coverage: setup pure ## Run the suite with branch coverage of what decides about money; fail below the floor.
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n 2 --dist worksteal -m "not long and not bench" --ignore tests/collector/pipeline/test_crash.py --ignore tests/packaging/test_compiled.py
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report

check: setup ## Check style, types and import contracts.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md docs api collector connectors control_checks dashboards helm

format: setup ## Format the code and mend what ruff can mend.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

native: setup ## Compile what every record passes through, where there is a C compiler: a fifth less of the time.
	@$(BIN)/python scripts/compiled.py

pure: setup ## Remove what was compiled: Python runs the sources again.
	@$(BIN)/python scripts/compiled.py --remove

wheel: setup ## Build the wheel for this platform and Python into dist/, with compiled modules.
	@HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 $(BIN)/python -m hatchling build -t wheel -d dist

bench: setup native ## Measure everything against its bar, or against the physical limit, into build/bench.json.
	@rm -f build/bench.json
	@$(BIN)/python -m pytest -q -s -m "bench and not long" tests/benchmarks

bench-long: setup native ## Measure what takes hours: files of 5 GB.
	@$(BIN)/python -m pytest -q -s -m "bench and long" tests/benchmarks

bench-report: setup ## Write what benchmarks and fault campaigns last measured into docs/performance.md and docs/reliability.md.
	@test ! -f build/bench.json || cp build/bench.json docs/performance.json
	@$(BIN)/python -m tests.support.campaigns
	@$(BIN)/python scripts/generate

schema: setup ## Write schema.sql, the JSON Schemas, boards and generated pages anew from their sources.
	@$(BIN)/python scripts/generate

upgrade-fixture: setup ## Write the backup that upgrades are tested with anew; never after its version was released.
	@PYTHONPATH=. $(BIN)/python scripts/upgrade-fixture

lock: setup ## Resolve the dependencies anew into requirements.lock (needs uv).
	@uv pip compile -q --no-emit-index-url --no-header --extra dev --python-version 3.11 pyproject.toml -o requirements.lock

clean: ## Remove the virtual environment and everything built.
	@if [ -d $(VENV) ]; then $(BIN)/python scripts/compiled.py --remove; fi
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
