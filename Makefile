# Two commands on a fresh machine: `make demo` and `make test`.
# The first Python that runs and is new enough: a name on PATH may be a version manager's shim
# that refuses.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c '$(NEW_ENOUGH)' 2>/dev/null && { echo $$name; break; }; done)
VENV   ?= .venv
BIN    := $(VENV)/bin
WORKERS ?= 2
# Measuring coverage makes the tests take half as long again: `make test COVERAGE=--cov`, and CI.
COVERAGE ?=
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: demo test test-all bench lint docs clean

$(VENV)/.demo: pyproject.toml hatch_build.py $(wildcard qkd_hal/distillation/native/*.[ch])
	@$(or $(PYTHON),false) -c '$(NEW_ENOUGH)' || { echo 'qkd-hal needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 5 -e '.[sim,tls]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 5 -e '.[all]' $$($(BIN)/python .ci/dev_requirements.py)
	@# A vendor's host library, to try our mock of its instrument. What it requires is far more
	@# than that part of it uses, and it has no wheel: without a C compiler its test is skipped.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 5 --no-deps 'S15lib==0.3.0' || echo 'S15lib was not built; its test will be skipped'
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/qkd-hal demo $(ARGS)

test: $(VENV)/.dev
	$(PYTEST) -m 'not slow' $(COVERAGE) $(ARGS)

test-all: $(VENV)/.dev
	$(PYTEST) $(ARGS)

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build dist .coverage* .mypy_cache .ruff_cache .pytest_cache
