# `make demo` shows the main job on simulated data; `make test` runs lint, types and tests, which also
# build the documentation and run its tutorials; `make test-matrix` runs the tests that need no PyTorch with the other
# Pythons on this machine and with the oldest dependencies; `make docs` builds the documentation into site/.
# `make bench` measures eegzarr beside its peers (BENCH='--source DIR': on data of yours), `make bench-smoke` runs all of
# that once, tiny, to see that it runs.
# All need Python 3.11 or newer, make and pip, and put all they install into .venv.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO := demo

.PHONY: demo test test-matrix lint types unit docs bench bench-smoke clean

demo: $(VENV)/base.done
	$(RUN) -m eegzarr.sample $(DEMO)/sample
	$(RUN) -m eegzarr.build --source $(DEMO)/sample --out $(DEMO)/lake.zarr
	$(RUN) examples/open_lake.py $(DEMO)/lake.zarr
	@$(MAKE) --no-print-directory $(VENV)/train.done
	$(RUN) examples/stream_epoch.py $(DEMO)/lake.zarr
	@echo
	@echo "recordings: $(DEMO)/sample"
	@echo "lake:       $(DEMO)/lake.zarr (group challenge1/R1)"
	@echo "log:        $(DEMO)/lake.zarr.logs"
	@echo "next:       $(RUN) -m eegzarr.train $(DEMO)/lake.zarr --recipe challenge1 --out $(DEMO)/run"

test: lint types unit

# Other Pythons with the newest dependencies, 3.11 with the oldest; in .matrix. MATRIX=3.13: that alone.
test-matrix:
	$(PYTHON) tests/matrix.py $(MATRIX)

lint: $(VENV)/test.done
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/codespell

types: $(VENV)/test.done
	$(VENV)/bin/mypy

# A process a core; each takes whole files, whose tests share what they built.
# Where Python is told to keep no bytecode, each of a thousand processes would compile eegzarr anew.
unit: $(VENV)/test.done $(VENV)/peers.done
	PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest --benchmark-disable --numprocesses logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# Runs the gallery's scripts, those that have changed. The variable silences an advertisement of Material's for another program.
docs: $(VENV)/docs.done
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict
	@echo "open site/index.html; with search: $(RUN) -m http.server --directory site"

bench: $(VENV)/peers.done
	$(RUN) -m benchmarks $(BENCH)

bench-smoke: $(VENV)/peers.done
	$(RUN) -m benchmarks --smoke --out bench/smoke

# A stamp tells that its packages are there; pyproject.toml or constraints.txt changing renews it.
$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "eegzarr needs Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/base.done: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	touch $@

$(VENV)/train.done: $(VENV)/base.done
	@echo "installing PyTorch and braindecode, once ..."
	$(PIP) --editable '.[train]'
	touch $@

$(VENV)/docs.done: $(VENV)/base.done
	$(PIP) --editable '.[docs]'
	touch $@

$(VENV)/test.done: $(VENV)/base.done
	$(PIP) --editable '.[test,s3]'
	touch $@ $(VENV)/train.done $(VENV)/docs.done $(VENV)/bench.done

$(VENV)/bench.done: $(VENV)/base.done
	$(PIP) --editable '.[bench]'
	touch $@ $(VENV)/train.done

# Peers get environments of their own; one that can't be installed is left out, with the reason in the results.
$(VENV)/peers.done: $(VENV)/bench.done benchmarks/environments.py
	$(RUN) -m benchmarks.environments
	touch $@

clean:
	rm -rf $(DEMO) bench $(VENV) .matrix site docs/generated docs/gallery/demo
