# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEMO   := demo

# uv takes an eighth of pip's processor time, and reads none of its settings: these are said again. Where uv cannot, pip does.
PIP         := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PIP_INSTALL := $(PIP) -c requirements.lock
INSTALL_UV  := $(PIP) uv
UV_INSTALL  := UV_FIND_LINKS="$$PIP_FIND_LINKS" UV_EXTRA_INDEX_URL="$$PIP_EXTRA_INDEX_URL" \
               UV_INDEX_STRATEGY=unsafe-best-match $(BIN)/uv pip install --quiet --python $(BIN)/python -c requirements.lock

.PHONY: demo test fuzz check bench format lock readme results clean help

help:  ## This list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(STAMP)  ## Synthetic traffic → trained, distilled, evaluated detectors, and an HTML page (under 5 minutes)
	@CANDOR_ROOT=$(DEMO) $(BIN)/candor run kd --dataset synthetic

test: $(STAMP)  ## The whole test suite, in parallel
	@$(BIN)/python -m pytest -n auto --dist loadscope

fuzz: $(STAMP)  ## Damaged files at every parser for an hour (SECONDS=3600); `make test` does a minute
	@CANDOR_FUZZ_SECONDS=$(or $(SECONDS),3600) $(BIN)/python -m pytest -q tests/fuzz

check: $(STAMP)  ## Lint, types, layers, formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## Candor's way beside the usual one → benchmarks/results.json and RESULTS.md
	@$(PIP_INSTALL) -e '.[bench]'
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

format: $(STAMP)  ## Rewrite files in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): pyproject.toml requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing candor and its locked dependencies into $(VENV) ..."
	@$(INSTALL_UV) && $(UV_INSTALL) -e '.[dev]' || $(PIP_INSTALL) -e '.[dev]'
	@touch $@

lock:  ## Write requirements.lock anew from pyproject.toml
	@$(INSTALL_UV)
	@$(BIN)/uv pip compile --quiet --extra dev --extra bench --no-header --no-annotate --no-emit-find-links --python-version 3.11 pyproject.toml -o requirements.lock
	@sed -i 's/+cpu$$//' requirements.lock

readme: $(STAMP)  ## Put what the demo printed into the README
	@$(BIN)/python docs/refresh.py demo

results: $(STAMP)  ## Train on the real captures, three seeds (about half an hour), and write docs/results.md
	@$(BIN)/python docs/refresh.py hcrl_sa set_01 road_statgraph road_statgraph_reversed road_statgraph_folds unsw_nb15 cicids2017

clean:  ## Remove the environment and the demo's results
	rm -rf $(VENV) $(DEMO)
