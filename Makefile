# make explore   install, then open the explorer in JupyterLab
# make test      install, bring a Chromium, run every test
# make static    build the front-end in js/ into the package
# make faithfulness   measure which explanations of the shipped model to believe

PYTHON ?= python3
LAB ?=
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet

.PHONY: explore test format notebooks faithfulness static clean

explore: .venv/lab
	$(PY) -m jupyterlab --ServerApp.root_dir="$(CURDIR)" $(LAB) notebooks/explore.ipynb

test: .venv/test
	$(PY) tests/browser/chromium.py
	$(PY) -m pytest

format: .venv/test
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# The notebooks whose pictures are saved in them.
notebooks: .venv/test
	$(PY) notebooks/execute.py attention_analysis compare

# How far to believe each explanation of the shipped model: ten minutes.
faithfulness: .venv/lab
	$(PY) -m stockformer faithfulness --out docs/faithfulness.md --table stockformer/sample_data/faithfulness.csv

static: .venv/test
	$(PY) js/node.py ci
	$(PY) js/node.py run build

clean:
	rm -rf .venv dist js/node_modules

# torch comes first and pinned: a range would take the newest CUDA build.
.venv/lab: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) --constraint constraints.txt --editable '.[lab,indicators]'
	touch $@

.venv/test: .venv/lab
	$(PIP) --constraint constraints.txt --editable '.[lab,indicators,test]'
	touch $@
