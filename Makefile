# Everything starts from a checkout, Python >= 3.11 and make; the first target run sets .venv up.
#
#   PYTHON       interpreter the environment is made from      (python3)
#   VENV         where it goes                                 (.venv)
#   TORCH_INDEX  package index for torch alone, e.g. https://download.pytorch.org/whl/cpu
#   JOBS         test processes                                (2)
#   ARGS         passed on: make test ARGS="-k rollout", make demo ARGS="--help"

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
JOBS ?= 2
ARGS ?=

BIN := $(VENV)/bin
# Python compiles what it imports; compiling all that is installed takes a minute more.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile --constraint constraints.txt

# Two pips at once would spoil the environment, whatever -j says.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test lint format docs clean distclean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r target text; do \
		printf '  make %-10s %s\n' "$$target" "$$text"; done

# PASSIVE: on a busy machine, threads that wait by spinning cost more than they win.
demo: $(VENV)/.test ## train on a built-in simulation, predict held-out conditions; writes demo/
	MPLBACKEND=Agg OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m sccalmflow.demo --out demo $(ARGS)

# One thread per process: JOBS processes that each took all cores would wait for one another. Numba, where scanpy
# calls it, sets OpenMP's number of threads to its own.
# A file stays with one process, so that a model it trains once is trained once.
test: $(VENV)/.test ## run the tests and the examples in docstrings
	MPLBACKEND=Agg OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
		$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

lint: $(VENV)/.dev ## check style, formatting, types and the direction of imports
	@status=0; for check in "ruff check ." "ruff format --check ." mypy lint-imports; do \
		echo "$$check"; $(BIN)/$$check || status=1; done; exit $$status

format: $(VENV)/.dev ## mend style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs ## run the tutorials and build the documentation into docs/_build/html
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
		$(BIN)/python -m sphinx -W --keep-going -b html $(ARGS) docs docs/_build/html

clean: ## remove what the tools wrote, keep .venv
	rm -rf demo dist build docs/_build docs/generated docs/tutorials .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks tutorials docs -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	rm -rf $(VENV)

# --- set-up: each stamp is younger than the files that decide what is installed ---

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "sccalmflow needs Python 3.11 or newer, and '$(PYTHON)' is not:" \
			"$$($(PYTHON) --version 2>&1)." \
			"Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up $(VENV) (once, a few minutes)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# torch goes first and alone: what follows finds it there and brings no other build of it.
$(VENV)/.torch: constraints.txt | $(VENV)/.created
	@echo "  torch"
	@$(INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

$(VENV)/.test: EXTRAS := baselines,lora,test
$(VENV)/.dev: EXTRAS := dev
$(VENV)/.docs: EXTRAS := docs
$(VENV)/.test $(VENV)/.dev $(VENV)/.docs: pyproject.toml constraints.txt $(VENV)/.torch
	@echo "  sccalmflow[$(EXTRAS)]"
	@$(INSTALL) --editable '.[$(EXTRAS)]'
	@touch $@
