# make explore   install, then open the explorer in the browser, on a server of JupyterLab
# make test      everything below
# make check     linting, formatting, types of Python and TypeScript
# make unit      the tests that need no browser and build nothing
# make browser   the tests that drive notebook servers in a Chromium, which is installed where there is none
# make pictures  renew the pictures that the browser tests compare with, and show what changed
# make format    format Python and TypeScript
# make static    build the front-end in js/ into the package
# make faithfulness   measure how far to trust the explanations of the shipped model
# make planted   measure whether explanations find known mechanisms

PYTHON ?= python3
LAB ?=
# Tests wait for pages and kernels half of the time.
WORKERS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN))
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --no-compile --constraint constraints.txt --editable

# Every kernel and every worker imports torch: with bytecode that takes a third of the time.
unexport PYTHONDONTWRITEBYTECODE

PYTEST := $(PY) -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

.PHONY: explore test tests check unit browser pictures chromium chromium-package bytecode format notebooks faithfulness \
        planted static clean

explore: .venv/lab
	@echo "The explorer opens in the browser; JupyterLab, with every notebook, is at /lab of the same address."
	$(PY) -m jupyterlab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/voila/render/notebooks/explore.ipynb $(LAB)

# With --jobs=2 the tests run beside mypy, which has one core to itself and takes a minute in a fresh clone.
test: check tests

tests: chromium bytecode js/node_modules
	$(PYTEST)

check: js/node_modules
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) js/node.py run check
	$(PY) -m mypy

unit: .venv/test
	$(PYTEST) -m "not browser and not slow"

browser: chromium bytecode js/node_modules
	$(PYTEST) -m browser

pictures: chromium bytecode js/node_modules
	rm -rf test-failures/pictures
	PICTURES=renew $(PYTEST) -m pictures
	@echo "Old, new and difference of every picture that changed: $(CURDIR)/test-failures/pictures"

chromium: .venv/test chromium-package
	$(PY) tests/browser/chromium.py

# With --jobs=2 it is installed while pip works.
chromium-package:
	$(PYTHON) tests/browser/chromium.py --package

# Else every worker of the tests compiles the same modules at the same time.
bytecode: .venv/test
	$(PY) -c "import ipykernel.kernelapp, jupyterlab.labapp"
	$(PY) -m pytest --collect-only -qqq --disable-warnings

format: js/node_modules
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	$(PY) js/node.py run format

# The notebooks whose pictures are saved in them.
notebooks: .venv/test
	$(PY) notebooks/execute.py attention_analysis compare planted

# How far to trust each explanation of the shipped model: a quarter of an hour.
faithfulness: .venv/lab
	$(PY) -m stockformer faithfulness --overwrite --out docs/faithfulness.md --table stockformer/sample_data/faithfulness.csv

# Whether explanations find what is planted in small markets: ten minutes of one core.
planted: .venv/lab
	$(PY) -m stockformer planted --overwrite --out docs/planted.md --table stockformer/planted/scores.csv

static: js/node_modules
	$(PY) js/node.py run build

clean:
	rm -rf .venv dist js/node_modules

js/node_modules: js/package-lock.json | .venv/test
	$(PY) js/node.py ci
	touch $@

.venv/lab: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing this package, torch and JupyterLab into .venv: some minutes, about 2 GB."
	$(PIP) '.[lab,indicators,history]'
	touch $@

.venv/test: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) '.[lab,indicators,history,test]'
	touch .venv/lab $@

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv --upgrade-deps .venv
