# Everything runs in .venv, which is made from constraints.txt when it is absent or out of date.

# Any Python from 3.11 on that can make environments; python3.11 first, which the pins were made with.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
# uv is quicker than pip, and brings a Python where there is none; make UV= does without it.
UV ?= $(shell command -v uv)
BIN := .venv/bin
RUN := runs/demo-$(shell date +%Y-%m-%d_%H-%M-%S)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-full check bench constraints clean

help:  ## show these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

install: .venv/.base  ## make .venv with parley in it

demo: .venv/.base  ## train CartPole and draw it; let two models talk and report it
	$(BIN)/parley train cartpole/ppo --run-dir $(RUN)
	$(BIN)/parley evaluate $(RUN) --episodes 100 --seed 2026
	$(BIN)/parley watch $(RUN) --out $(RUN)/episode.gif
	$(BIN)/parley train dialogue/distort max_iterations=20 --run-dir $(RUN)-dialogue
	$(BIN)/parley report $(RUN)-dialogue
	@echo "learning curve: $(RUN)/learning_curve.png"

# A file of tests at a time for each core; make test WORKERS=0 runs them one after the other.
WORKERS ?= auto
PYTEST = HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -q --durations=10 \
	--numprocesses $(WORKERS) --maxprocesses 8 --max-worker-restart 0 \
	--dist loadfile --no-loadscope-reorder

test: .venv/.dev  ## the tests that take seconds
	$(PYTEST) -m "not slow"

test-full: .venv/.dev  ## all tests, training runs included
	$(PYTEST)

check: .venv/.dev  ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONHASHSEED=0 $(BIN)/mypy -p parley  # what mypy infers for some joins depends on the order of sets
	PYTHONHASHSEED=0 $(BIN)/mypy tests $(wildcard benchmarks/*.py)
	@rm -rf build/import_check && mkdir -p build/import_check
	@cp -RL parley build/import_check/ && touch build/import_check/parley/platform/__init__.py
	cd build/import_check && ../../$(BIN)/lint-imports --config ../../pyproject.toml

bench: .venv/.bench  ## speed and learning, compared with other libraries
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file; done

constraints: .venv/.dev .venv/.bench  ## pin what is installed in .venv
	$(BIN)/pip freeze --exclude-editable | sed -E '/^(#|-e)/d; s/ @ .*//; s/^(torch==[^+]+)\+.*/\1/' \
		> constraints.txt

clean:  ## remove what was built and cached, never runs/
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

MAKE_ENVIRONMENT = $(if $(UV),$(UV) venv --quiet --seed --clear --python '$(or $(PYTHON),>=3.11)' .venv,\
	$(PYTHON) -m venv --clear .venv)
INSTALL = $(if $(UV),$(UV) pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet)

# A stamp for each set of packages: made once, and again when the pins or the package change.
.venv/.%: pyproject.toml constraints.txt
	@test -n "$(UV)$(PYTHON)" || { echo "Python 3.11 or newer with its venv module is needed \
	(on Debian and Ubuntu: apt install python3-venv), or uv; or say make PYTHON=..." >&2; exit 2; }
	@test -x $(BIN)/python || $(MAKE_ENVIRONMENT)
	$(INSTALL) -c constraints.txt -e ".$(filter-out [base],[$*])"
	@touch $@
