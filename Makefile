# make demo [DATA=folder]   run the main job on synthetic recordings, or on real ones
# make test                 run the tests
# make lint                 check style and types
# make docs                 build the documentation in build/docs
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint format docs clean

demo: $(READY)
	$(BIN)/python examples/demo.py $(if $(DATA),--data "$(DATA)")

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/sphinx-build -W -q docs build/docs

# torch comes first and pinned: a bare requirement might take a build of several gigabytes
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[plot,test]"
	touch $@

clean:
	rm -rf $(VENV) build dist
