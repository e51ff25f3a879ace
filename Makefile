# Everything on a machine with Python 3.11 and nothing else: `make demo`, `make test`.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: setup demo test chaos lint bench clean

setup: $(STAMP)  ## virtual environment with the package and its development tools

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("fusecube needs Python 3.11 or later, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(STAMP)

demo: setup  ## the simulated Earth, fused: Zarr store, report and picture below runs/demo
	$(BIN)/fusecube demo --out runs/demo

lint: setup  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint  ## the whole suite
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

chaos: setup  ## fifty workers and two clients killed: the digest is that of an undisturbed run
	FUSECUBE_KILLS=50 $(BIN)/python -m pytest tests/test_chaos.py -x

bench: setup  ## measurements, printed; on an idle machine
	$(BIN)/python tests/benchmarks/stages.py
	$(BIN)/python tests/benchmarks/throughput.py
	$(BIN)/python tests/benchmarks/memory.py
	$(BIN)/python tests/benchmarks/against.py
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	$(BIN)/python tests/benchmarks/readers.py

clean:  ## everything that was made
	rm -rf $(VENV) runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
