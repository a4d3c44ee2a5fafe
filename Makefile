# make demo    simulate the demo, run it for real, show both side by side
# make test    all tests (make test-full: the long suites whole, too)
# make lint    style and types
# make fuzz    pipelines drawn at random, RUNS of them from SEED on
# make soak    a long live run in which workers and the command are killed all the time, TRIGGERS trainings
# make fidelity  real and simulated runs of the studies that the simulator is judged by, and docs/fidelity.md; an hour
# make bench   the benchmarks, printed
# make notebooks  notebooks/*.ipynb anew from the .py beside them
#
# PYTHON is the interpreter to build the environment with (3.11 or newer), TORCH what pip installs as
# PyTorch. For another build, say so: make demo TORCH="torch --index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
BIN := $(VENV)/bin
NEEDED_MB := 3000

RUNS ?= 2000
SEED ?= 0
TRIGGERS ?= 2000

.PHONY: demo test test-full fuzz soak fidelity lint types bench notebooks clean

demo: $(VENV)/.installed
	$(BIN)/python -m experiments.demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-full: $(VENV)/.installed
	TWINCLOCK_NUM_GRAPHS=100000 TWINCLOCK_NUM_PIPELINES=50000 TWINCLOCK_NUM_TRIGGERS=10000 \
		TWINCLOCK_NUM_CRASHES=60 TWINCLOCK_NUM_KILLS=30 \
		$(BIN)/python -m pytest -q -n 2 --dist worksteal --durations=10 \
		| tee tests/full-report.txt

fuzz: $(VENV)/.installed
	$(BIN)/python tests/fuzz.py --runs $(RUNS) --seed $(SEED) -j 2

soak: $(VENV)/.installed
	$(BIN)/python tests/soak.py --triggers $(TRIGGERS) --report tests/soak-report.txt

# a bad grade, exit code 3 or 4, is a result as well
fidelity: $(VENV)/.installed
	for study in rodents flights two-devices; do \
		$(BIN)/twinclock fidelity experiments/studies/fidelity/$$study.yaml || [ $$? -ge 3 ] || exit 1; done
	$(BIN)/python -m experiments.fidelity.published

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	MYPY_NUM_WORKERS=2 $(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/triggers.py
	$(BIN)/python benchmarks/criteo_size.py
	$(BIN)/python benchmarks/fleet.py
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/data_waiting.py
	$(BIN)/python benchmarks/real_overhead.py
	$(BIN)/python benchmarks/drift.py
	$(BIN)/python benchmarks/resume.py

notebooks: $(VENV)/.installed
	$(BIN)/jupytext --quiet --update --to ipynb notebooks/*.py

# torch first and by itself: pip then finds its requirement met and does not choose another build
# the sources are compiled here, as every process would do it again where Python may not write bytecode by itself
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $$($(PYTHON) --version 2>&1) is too old; twinclock needs Python 3.11 or newer (make PYTHON=python3.12)" >&2; exit 2; }
	@free=$$(df -Pm . | awk 'NR == 2 { print $$4 }'); [ "$$free" -ge $(NEEDED_MB) ] || [ -x $(BIN)/twinclock ] || { \
		echo "error: $$free MB free on this disk; the environment needs $(NEEDED_MB) MB" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable ".[real,dev]"
	$(BIN)/python -m compileall -q twinclock sim real experiments
	touch $@

clean:
	rm -rf $(VENV) runs build dist
