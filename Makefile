# make demo    the main job, offline, on the embedded model and data
# make test    every test
# make fast    all but the slow ones
# make browser a Chromium for the tests of the page, where there is none
# make bench   the speed of the engine against its peers, side by side; takes half an hour
# make check   ruff, mypy, README freshness, every test
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
# one process a core, one thread each: two threads of one process collapse when anything else runs
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

.PHONY: demo test fast browser lint check readme bench clean

demo: $(READY)
	$(BIN)/landscape demo

test: $(READY)
	$(PYTEST)

fast: $(READY)
	$(PYTEST) -m "not slow"

browser: $(READY)
	bash scripts/browser.sh $(BIN)/python

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/readme.py --check

check: lint test

readme: $(READY)
	$(BIN)/python scripts/readme.py

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $(READY)

# loss-landscapes and PyHessian are measured too: their dependencies would pull another PyTorch
bench: $(READY)
	$(BIN)/python -m pip install --quiet --no-deps loss-landscapes==3.0.6 PyHessian==0.1
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/curvature.py

clean:
	rm -rf $(VENV) build *.egg-info landscape-demo
