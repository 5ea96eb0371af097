# Everything runs in .venv; nothing but Python 3.11 and make is expected on the machine.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Processes that share the test files; most tests wait for one thing or another.
WORKERS ?= 4
INSTALL := $(PIP) install --quiet --constraint constraints.txt

.PHONY: help demo dev docs pictures test test-fast test-aws lint bench mutate clean

help:
	@echo "make demo   install, generate sample sources, run every pipeline, show what came out"
	@echo "make dev    Dagster's UI on the same home, http://127.0.0.1:3000"
	@echo "make docs   the guides as a site, site/index.html; make pictures the README's pictures of the UI"
	@echo "make test   the whole test suite; make test-fast the inner loop, make test-aws what needs the AWS emulator"
	@echo "make lint   ruff, sqlfluff, cfn-lint, import-linter, mypy"
	@echo "make bench  benchmarks beside plain DuckDB, pandas, polars and Spark; writes docs/benchmarks.md"
	@echo "make mutate a sample of small faults in code and SQL; fails when the tests notice less than 90 %"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=…"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing pipeline-assets into .venv (a minute or two, once) …"
	@$(INSTALL) --editable .
	@touch $@

.venv/.installed-test: .venv/.installed
	@echo "Installing the test extras …"
	@$(INSTALL) --editable '.[test]'
	@touch $@

.venv/.installed-docs: .venv/.installed
	@echo "Installing the docs extra …"
	@$(INSTALL) --editable '.[docs]'
	@touch $@

.venv/.installed-bench: .venv/.installed
	@echo "Installing the benchmark extras …"
	@$(INSTALL) --editable '.[bench]'
	@touch $@

.venv/.installed-mutate: .venv/.installed-test
	@echo "Installing the mutation tool …"
	@$(INSTALL) --editable '.[mutation]'
	@touch $@

demo: .venv/.installed
	@$(BIN)/pipeline-assets demo

dev: .venv/.installed
	@$(BIN)/pipeline-assets dev

docs: .venv/.installed-docs
	@$(BIN)/mkdocs build --strict --quiet
	@echo site/index.html

# Dagster's UI in Debian's Chromium, on a home that the demo has filled.
pictures: .venv/.installed-test
	PICTURES=docs/pictures $(BIN)/python -m pytest -m pictures pipeline_assets_tests/end_to_end

# The AWS emulator of the tests; its botocore is older than ours, so it does not share .venv.
.venv-ministack: constraints-ministack.txt .venv/bin/python
	@echo "Installing the AWS emulator into .venv-ministack …"
	@$(PYTHON) -m venv $@
	@$@/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints-ministack.txt ministack
	@touch $@

# The command line of the data contract standard; the tests let it read every contract.
.venv-datacontract: constraints-datacontract.txt .venv/bin/python
	@echo "Installing datacontract-cli into .venv-datacontract …"
	@$(PYTHON) -m venv $@
	@$@/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints-datacontract.txt datacontract-cli
	@touch $@

test: .venv/.installed-test .venv-ministack .venv-datacontract
	@$(BIN)/python -m pipeline_assets_tests.support.servers
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# No server, no Java, no killed process: under 90 s on two cores.
test-fast: .venv/.installed-test
	$(BIN)/python -m pytest pipeline_assets_tests/unit -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-aws: .venv/.installed-test .venv-ministack
	$(BIN)/python -m pytest -m aws $(PYTEST_ARGS)

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint sql
	$(BIN)/cfn-lint infra/template.yaml
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: .venv/.installed-bench
	$(BIN)/python -m pipeline_assets_tests.benchmarks

# Other faults: MUTATE_ARGS="--seed 2 --sample 80", one module: MUTATE_ARGS="--only engine/delimited".
mutate: .venv/.installed-mutate .venv-ministack
	@$(BIN)/python -m pipeline_assets_tests.support.servers
	$(BIN)/python -m pytest pipeline_assets_tests/mutation
	$(BIN)/python -m pipeline_assets_tests.mutation $(MUTATE_ARGS)

clean:
	rm -rf site .venv .venv-ministack .venv-datacontract .pytest_cache .hypothesis .ruff_cache .import_linter_cache
