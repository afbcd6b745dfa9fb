# `make` lists the targets. PYTHON=python3.12 chooses the interpreter, ARGS="..." goes to the command that a target runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two processes of one thread each; the slowest tests are listed at the end.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --durations=20

.DEFAULT_GOAL := help
.PHONY: help setup demo compare-demo test test-all test-slow lint reference docs bench

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv and install the package with the tested versions

demo: $(STAMP) ## train and test on drawn stand-ins; a few minutes, no download of data
	$(BIN)/python -m pin_memory.train experiment=demo $(ARGS)

compare-demo: $(STAMP) ## train the demo with pin_the_memory and with erm, and print both with the gain; twice as long
	$(BIN)/python -m pin_memory.train -m experiment=demo sweep=methods $(ARGS)
	$(BIN)/python -m pin_memory.compare runs=runs/demo/sweeps/methods baseline=erm

test: $(STAMP) ## run the quick tests, a few minutes (ARGS="-k memory" chooses some)
	$(PYTEST) -m "not slow and not reliability" $(ARGS)

test-all: $(STAMP) ## run the slow tests, too: commands end to end, sweeps, notebooks, browser, several processes
	$(PYTEST) -m "not reliability" $(ARGS)

test-slow: $(STAMP) ## run the slow tests alone
	$(PYTEST) -m "slow and not reliability" $(ARGS)

lint: $(STAMP) ## check style, formatting, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

reference: $(STAMP) ## write docs/reference anew from the comments in conf/ and the table of logged keys
	$(BIN)/python -m pin_memory.cli.reference docs/reference

docs: $(STAMP) ## write the site of the documentation to site/; a link that leads nowhere is an error
	@rm -rf build/pages && mkdir -p build/pages # files keep their places to each other, so that links lead to the same files
	@cp -r *.md CITATION.cff LICENSE docs notebooks src conf build/pages/
	@sed -i.bak 's#(\.\./docs/\([a-z_]*\)\.md#(../../docs/\1/#g' build/pages/notebooks/*.ipynb # links of notebooks are taken as they are
	@rm build/pages/notebooks/*.bak
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet $(ARGS)

bench: $(STAMP) ## measure training step, memory, data pipeline, evaluation and start-up; about 15 minutes, results in runs/benchmarks
	$(BIN)/python -m benchmarks.step_time $(ARGS)
	$(BIN)/python -m benchmarks.step_time --network deeplab_v3plus_resnet18 $(ARGS)
	$(BIN)/python -m benchmarks.memory_budget
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.data_pipeline
	$(BIN)/python -m benchmarks.evaluation
	$(BIN)/python -m benchmarks.start_up

# Installed anew when the requirements change.
$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python -m pip uninstall --yes -qq pin_memory # the project's name before it was pin-the-memory
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || \
		{ echo "There is no '$(PYTHON)'. Python 3.11, 3.12 or 3.13 is needed; name yours: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "'$(PYTHON)' is $$($(PYTHON) --version 2>&1), but 3.11, 3.12 or 3.13 is needed: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "'$(PYTHON)' has no venv module; on Debian and Ubuntu it is a package of its own: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
