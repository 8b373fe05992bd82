# The front of the two commands: `make` trains and draws digits, `make test` proves the code.
# Windows, or no make: the same three pip lines are in the README.
PYTHON ?= python3
BIN := .venv/bin
RUN ?= runs/digits
MINUTES ?=
ARGS ?=

.DEFAULT_GOAL := digits
.PHONY: digits test test-all mutants attack audit sbom atlas exports notebooks docs docs-serve docs-links evidence dist check format bench gpu clean

digits: .venv/ready
	$(BIN)/fromnoise train digits --out $(RUN) --resume $(if $(MINUTES),--minutes $(MINUTES))
	$(BIN)/fromnoise show $(RUN)

test: .venv/ready-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not long"

test-all: .venv/ready-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

mutants: .venv/ready-dev
	$(BIN)/python tests/mutation/run.py

atlas: .venv/ready-dev
	$(BIN)/python docs/atlas/make.py

exports: .venv/ready-dev
	$(BIN)/python tests/exports.py --write

notebooks: .venv/ready-dev
	$(BIN)/jupytext --quiet --to ipynb notebooks/mnist.py notebooks/scores.py
	cd notebooks && ../$(BIN)/jupyter execute --inplace mnist.ipynb scores.ipynb

# The site, in docs/_build/html; every warning is an error.
docs: .venv/ready-dev
	$(BIN)/sphinx-build -W --keep-going -q -d docs/_build/doctrees -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

docs-serve: docs
	$(BIN)/python -m http.server --directory docs/_build/html 8000

docs-links: .venv/ready-dev
	$(BIN)/sphinx-build -W --keep-going -q -d docs/_build/doctrees -b linkcheck docs docs/_build/links

evidence: .venv/ready-dev
	$(BIN)/fromnoise verify --quiet --out docs/evidence/verify.json
	$(BIN)/python docs/evidence/make.py

dist:
	$(PYTHON) benchmarks/release.py $(ARGS)

check: .venv/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check

format: .venv/ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/ready-bench
	$(BIN)/python benchmarks/speed.py

gpu: .venv/ready-dev
	$(BIN)/python benchmarks/gpu.py $(ARGS)

# What releases need beside the code; each looks things up on the network.
audit: .venv/ready-release
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

sbom: .venv/ready-release
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o dist/fromnoise.cdx.json $(BIN)/python

attack: .venv/ready-dev
	$(BIN)/python benchmarks/attack.py $(ARGS)

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/ready: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[digits,vision,figures]"
	touch $@

.venv/ready-dev: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch .venv/ready $@

.venv/ready-bench: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,bench]"
	touch .venv/ready .venv/ready-dev $@

.venv/ready-release: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[release]"
	touch .venv/ready $@

clean:
	rm -rf .venv .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
