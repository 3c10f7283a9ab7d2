# The commands of this repository. `make demo` and `make test` set up everything they need in .venv and
# target; a second run finds the stamps in .venv and starts at once.
#
# Every path here is relative and free of spaces, so that the clone may stand anywhere.

SHELL := /bin/sh
PYTHON ?=
PYTEST_WORKERS ?= 2
DEMO_ARGS ?=
DEMO_STORIES ?= lenders claims subsidy
TEST_ARGS ?=
ROWS ?= 1000000

# Our own calls on loopback never go through a proxy; everything else obeys the environment.
comma := ,
export PYTHON
GIVEN_NO_PROXY := $(or $(no_proxy),$(NO_PROXY))
export no_proxy := 127.0.0.1,localhost,::1$(if $(GIVEN_NO_PROXY),$(comma)$(GIVEN_NO_PROXY))
export NO_PROXY := $(no_proxy)
export PIP_NO_INPUT := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_USER := no
export GIT_TERMINAL_PROMPT := 0
export PYTHONUTF8 := 1

VENV := .venv/bin
PIP := $(VENV)/python -m pip --quiet
SOURCES := pyproject.toml Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)
CARGO_TEST := cargo test --workspace --exclude atoll-python --locked --release --quiet

.PHONY: help demo test test-all check format reference bench bench-psi bench-query bench-mpc wheel lock setup setup-dev preflight clean FORCE
.DELETE_ON_ERROR:

help:
	@echo 'make demo       set up, then several nodes on this machine compute together, in three stories of a'
	@echo '                minute at most (DEMO_ARGS="--lang zh" DEMO_STORIES="claims")'
	@echo 'make test       set up, then the default tests (TEST_ARGS="-k ledger")'
	@echo 'make test-all   every test; tests of absent servers are skipped unless ATOLL_REQUIRE_SERVERS=1'
	@echo 'make check      format, lint and types, of Rust and Python'
	@echo 'make format     writes the format that make check asks for'
	@echo 'make reference   writes the reference pages that follow from the code'
	@echo 'make bench      measurements; see docs/performance.md'
	@echo 'make bench-psi  the private join of two files, alone and beside a peer (ROWS=10000000)'
	@echo 'make bench-query index PIR: what of the memory bandwidth its pass reaches'
	@echo 'make bench-mpc  shared arrays of two and of three parties, beside a peer where it is installed, and through nodes'
	@echo 'make wheel      an installable wheel in dist'
	@echo 'make lock       locks requirements anew from pyproject.toml'
	@echo 'make clean      removes .venv, target, dist and caches'

# Own files (--data) belong to the first story alone.
demo: setup
	@for story in $(if $(findstring --data,$(DEMO_ARGS)),lenders,$(DEMO_STORIES)); do \
		$(VENV)/atoll demo $$story $(DEMO_ARGS) || exit; \
	done

test: setup-dev
	$(CARGO_TEST)
	$(VENV)/python -m pytest -q -n $(PYTEST_WORKERS) --dist loadfile -m "not slow" $(TEST_ARGS)

test-all: setup-dev
	$(CARGO_TEST)
	$(VENV)/python -m pytest -q -n $(PYTEST_WORKERS) --dist loadfile $(TEST_ARGS)

check: setup-dev
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

format: setup-dev
	$(VENV)/ruff format .
	$(VENV)/ruff check --fix-only .
	cargo fmt --all

reference: setup-dev
	$(VENV)/python scripts/reference_pages.py

bench: setup-dev
	@for file in benchmarks/*.py; do \
		test -e "$$file" || { echo 'no benchmarks here'; exit 1; }; \
		echo "== $$file"; $(VENV)/python "$$file" || exit 1; \
	done

# The peer's environment is 1 GB: it is measured where somebody has installed it.
bench-psi: setup-dev
	$(VENV)/python benchmarks/psi.py --rows $(ROWS) --stages
	@if test -x benchmarks/peers/.venv/bin/python; then \
		$(VENV)/python benchmarks/peers/psi.py --rows $(ROWS); \
	else \
		echo 'No peer: python benchmarks/peers/run.py --install'; \
	fi

bench-query: setup-dev
	$(VENV)/python benchmarks/pir.py

bench-mpc: setup-dev
	@for parties in 3 2; do \
		$(VENV)/python benchmarks/arrays.py --parties $$parties || exit; \
		if test -x benchmarks/peers/.venv/bin/python; then \
			$(VENV)/python benchmarks/peers/arrays.py --parties $$parties || exit; \
		else \
			echo 'No peer: python benchmarks/peers/run.py --install'; \
		fi; \
	done
	$(VENV)/python benchmarks/join_statistics.py

wheel: setup
	$(VENV)/maturin build --release --locked --quiet --out dist
	@ls dist

lock: setup-dev
	$(PIP) install 'pip-tools>=7.5'
	$(VENV)/python scripts/lock.py

setup: .venv/.core

setup-dev: .venv/.core .venv/.dev

preflight:
	@sh scripts/preflight.sh

# Runs each time and takes milliseconds; touches the stamp only when it makes the environment.
.venv/.made: FORCE
	@sh scripts/venv.sh

.venv/.base: .venv/.made requirements/base.txt requirements/build.txt
	@echo 'Installing the locked packages into .venv ...'
	@$(PIP) install --require-hashes -r requirements/base.txt -r requirements/build.txt
	@touch $@

.venv/.dev: .venv/.base requirements/dev.txt
	@echo 'Installing the locked development packages into .venv ...'
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

.venv/.core: .venv/.base $(SOURCES)
	@echo 'Building the Rust core (a few minutes the first time) ...'
	@PATH="$$(pwd)/$(VENV):$$PATH" MATURIN_PEP517_ARGS="--profile release --locked" \
		$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf .venv target dist .pytest_cache .mypy_cache .ruff_cache .hypothesis atoll/_core*.so
	find atoll tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
