# make demo: the paper's experiment on the embedded MNIST. make test: the tests. Both set up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2

# Compiled once, TensorFlow starts three times as fast.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo setup runtimes test test-all lint format benchmarks clean

help:
	@echo "make demo        set up, and run the paper's experiment on the embedded MNIST"
	@echo "make test        set up, and run the tests (make test-all: the long ones, too)"
	@echo "make lint        ruff and mypy"
	@echo "make benchmarks  measure, and write benchmarks/results/"

demo: runtimes
	$(BIN)/compressor sweep --preset quick -o runs/demo
	$(BIN)/compressor export runs/demo/seed-0/0.9 --quantize auto --force -o runs/demo/mnist.tflite
	$(BIN)/compressor export runs/demo/seed-0/0.9 --quantize auto --force -o runs/demo/mnist.onnx

setup: $(VENV)/.ready

$(VENV)/.ready: constraints.txt setup.cfg pyproject.toml scripts/setup-venv.sh
	@scripts/setup-venv.sh $(VENV) $(PYTHON)
	@touch $@

# An older runtime, with an older numpy, in an environment of its own; not every Python has it.
runtimes: setup
	@$(BIN)/compressor runtimes install tflite-runtime \
	    || { [ $$? -eq 3 ] && echo "going on without tflite-runtime"; }

test: runtimes
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-all: runtimes
	$(BIN)/python -m pytest -n $(JOBS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: setup
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.sweep --preset quick
	$(BIN)/python -m benchmarks.accuracy
	$(BIN)/python -m benchmarks.export

clean:
	rm -rf $(VENV) $(VENV).log build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
