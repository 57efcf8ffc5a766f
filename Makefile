# make demo [DATA=folder]   run the main job on synthetic recordings, or on real ones
# make test                 run the tests, and those of the contract with scikit-learn on its oldest version too
# make fuzz [SECONDS=600]   search for files that break a reader, and for calls and samples that break
#                           the emitted C, with clang-14
# make lint                 check style and types
# make peers                fetch what benchmarks/firmware.py and accuracy.py measure beside this one
# make docs                 build the documentation in build/docs
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# the oldest scikit-learn that pyproject.toml allows, beside the newest in the virtual environment
OLDEST := build/oldest
OLDEST_VERSION := $(shell sed -n 's/.*"scikit-learn>=\([0-9.]*\)".*/\1/p' pyproject.toml)
CONTRACT := $(addprefix tests/test_,estimator_checks.py estimator_contract.py metadata_routing.py \
	model_selection.py persistence.py)

# CMSIS-NN for the tests, unless CMSIS_NN_DIR names a copy; peers for a benchmark
CMSIS_NN := build/cmsis_nn
PEERS := build/peers
export CMSIS_NN_DIR ?= $(CURDIR)/$(CMSIS_NN)/cmsis_nn

.PHONY: demo test fuzz lint format peers docs clean

demo: $(READY)
	$(BIN)/python examples/demo.py $(if $(DATA),--data "$(DATA)")

test: $(READY) $(OLDEST)/.ready $(CMSIS_NN)/.ready
	$(BIN)/python -m pytest
	SCIPY_ARRAY_API=1 $(BIN)/python -m pytest -q tests/test_estimator_checks.py tests/test_windows.py -k array_api
	PYTHONPATH=$(OLDEST) $(BIN)/python -m pytest -q -W ignore::pytest.PytestRemovedIn10Warning \
		$(CONTRACT)

fuzz: $(READY)
	$(BIN)/python tests/fuzz_readers.py --seconds $(or $(SECONDS),600)
	$(BIN)/python tests/firmware/fuzz.py --seconds $(or $(SECONDS),600)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	rm -rf docs/generated
	$(BIN)/sphinx-build -W -q docs build/docs

# torch comes first and pinned: a bare requirement might take a build of several gigabytes
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[plot,test]"
	touch $@

$(OLDEST)/.ready: pyproject.toml $(READY)
	rm -rf $(OLDEST)
	$(BIN)/python -m pip install --quiet --no-deps --target $(OLDEST) scikit-learn==$(OLDEST_VERSION)
	touch $@

# the wheel's package is left behind: only the copy of CMSIS-NN and of CMSIS-Core in it is used
$(CMSIS_NN)/.ready: tests/firmware/cmsis_nn.txt $(READY)
	rm -rf $(CMSIS_NN)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --target $(CMSIS_NN)/wheel \
		--requirement $<
	mv $(CMSIS_NN)/wheel/bakenn/backend/cmsis_nn/vendor/cmsis_* $(CMSIS_NN)
	rm -rf $(CMSIS_NN)/wheel
	touch $@

peers: $(PEERS)/.ready

$(PEERS)/.ready: benchmarks/peers.txt benchmarks/accuracy_peers.txt $(READY)
	rm -rf $(PEERS)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --target $(PEERS) \
		--requirement benchmarks/peers.txt --requirement benchmarks/accuracy_peers.txt
	touch $@

clean:
	rm -rf $(VENV) build dist
