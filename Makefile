# make demo: the paper's experiment on the embedded MNIST, and a search. make test: the tests. Both set up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One more than there are cores: tests wait, for browsers, connections and one another.
JOBS ?= 3
RUNTIMES = tflite-runtime tflite-micro onnxruntime-web tf-keras ziglang

# Compiled once, TensorFlow starts three times as fast.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo setup runtimes system emulators test test-all test-races fuzz layers calibrate lint \
    format benchmarks clean

help:
	@echo "make demo        set up, run the paper's experiment on the embedded MNIST, and search for better"
	@echo "make test        set up, and run the tests (make test-all: the long ones, too)"
	@echo "make test-races  the tests of cut connections, interrupts and kills, COUNT=200 times each"
	@echo "make fuzz        COUNT=1000000 damaged inputs for all that reads what others wrote"
	@echo "make layers      try every layer of Keras, and write the table of docs/export.md; minutes"
	@echo "make calibrate   count what each way to store weights costs C code on Cortex-M, for its cost model"
	@echo "make lint        ruff, mypy, and the order of the rooms"
	@echo "make benchmarks  measure, and write benchmarks/results/"

DEMO := runs/demo
EXPORT = $(BIN)/compressor export --force

demo: runtimes
	$(BIN)/compressor sweep --preset quick -o $(DEMO)
	$(EXPORT) $(DEMO)/seed-0/step_1 -o $(DEMO)/dense.tflite
	$(EXPORT) $(DEMO)/seed-0/0.9 --quantize auto --optimize size -o $(DEMO)/smallest.tflite
	$(EXPORT) $(DEMO)/seed-0/0.9 --quantize auto --optimize latency -o $(DEMO)/fastest.tflite
	$(EXPORT) $(DEMO)/seed-0/0.9 --quantize auto --optimize size -o $(DEMO)/smallest.onnx
	$(BIN)/compressor bench $(DEMO)/dense.tflite $(DEMO)/smallest.tflite $(DEMO)/fastest.tflite \
	    $(DEMO)/smallest.onnx
	$(BIN)/compressor package $(DEMO)/smallest.onnx --device linux-x86-64 -o $(DEMO)/mnist.bundle \
	    --latencies $(DEMO)/bench.json --force
	$(BIN)/compressor verify $(DEMO)/mnist.bundle
	$(BIN)/compressor search $(DEMO)/seed-0/step_1 --time-budget 3.5m -o $(DEMO)/search
	$(BIN)/compressor report $(DEMO)

setup: $(VENV)/.ready

$(VENV)/.ready: constraints.txt setup.cfg pyproject.toml scripts/setup-venv.sh
	@scripts/setup-venv.sh $(VENV) $(PYTHON)

# An older runtime with an older numpy, in an environment of its own, what runs models in browsers
# and what compiles code for them, and Keras 2, which reads its own files; not every machine can have
# them.
runtimes: $(RUNTIMES:%=runtime-%)

runtime-%: setup
	@$(BIN)/compressor runtimes install $* || { [ $$? -eq 3 ] && echo "going on without $*"; }

# What tests need of the system: a browser to look at reports. Without it they say what they skip.
system:
	@scripts/install-system-packages.sh

test: system runtimes
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not slow"

# For the long tests: other processors, emulated.
emulators:
	@scripts/install-emulators.sh

test-all: system runtimes emulators
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# Cut connections, interrupts and kills, COUNT times each.
test-races: COUNT ?= 200
test-races: system runtimes
	$(BIN)/python -m pytest -n $(JOBS) -m race --races $(COUNT)

# As one command a failure can be tried alone: make fuzz COUNT=1 TARGETS=tflite FIRST=1234.
fuzz: COUNT ?= 1000000
fuzz: SEED ?= 0
fuzz: FIRST ?= 0
fuzz: setup
	PYTHONPATH=tests/support $(BIN)/python -m fuzzing --count $(COUNT) --seed $(SEED) \
	    --first $(FIRST) --processes $(JOBS) --targets $(TARGETS)

# What the table of layers says, found by doing it; NAMES="LSTM GRU" measures those alone.
layers: setup
	PYTHONPATH=tests/support $(BIN)/python -m layer_table $(NAMES)

# By what C code's weights are stored, counted on emulated boards; TARGETS=host times this machine.
calibrate: TARGETS ?= cortex-m0 cortex-m4
calibrate: system setup
	$(BIN)/python -m benchmarks.calibrate $(TARGETS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: setup
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.sweep --preset quick
	$(BIN)/python -m benchmarks.accuracy
	$(BIN)/python -m benchmarks.export
	$(BIN)/python -m benchmarks.export --large
	$(BIN)/python -m benchmarks.sizes
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.pruning --bases runs/accuracy/sweep
	$(BIN)/python -m benchmarks.reconstruction --base runs/accuracy/sweep/seed-0/step_1/model.keras
	$(BIN)/python -m benchmarks.reconstruction_networks
	$(BIN)/python -m benchmarks.sweep --scaling
	$(BIN)/python -m benchmarks.operators
	$(BIN)/python -m benchmarks.applications
	$(BIN)/python -m benchmarks.parallel
	$(BIN)/python -m benchmarks.cold_start runs/demo/smallest.tflite runs/demo/smallest.onnx
	$(BIN)/python -m benchmarks.tables --write

clean:
	rm -rf $(VENV) $(VENV).log $(VENV).lock build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
