# The same verbs for people and CI. `make run` and `make test` set up what they need.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
JOBS   ?= $(shell expr 2 \* $$(nproc))# tests wait for processes of theirs about half of the time
FEW    ?= $(shell expr 3 \* $$(nproc) / 2)# slow ones, and virtual devices, mind a crowd

.PHONY: chromium faults moto runtimes run test test-slow check format docs bench lab lab-down clean help

help:            ## list the verbs
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

runtimes: $(READY)  ## every runtime that has wheels for this machine (2.5 GB)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,runtimes]'

run: $(READY)    ## the main job on this machine: train, fold, build, measure, show
	$(BIN)/harness run --device local

chromium:        ## Debian's browser, which opens pages in the tests (root); without it those are skipped
	@command -v chromium || { apt-get update -q && apt-get install -y -q --no-install-recommends chromium; } \
	|| echo 'no chromium here: the tests that need it are skipped'

faults:          ## what tests of power cuts and clocks need: strace, a C compiler (root); without them those are skipped
	@{ command -v strace && command -v cc; } || { apt-get update -q && apt-get install -y -q --no-install-recommends strace gcc libc6-dev; } \
	|| echo 'no strace or C compiler here: the tests that need one are skipped'

moto: .moto/bin/moto_server  ## an S3 server for the tests, by itself: its packages do not stand beside ours
.moto/bin/moto_server:
	$(PYTHON) -m venv .moto
	.moto/bin/pip install --quiet --disable-pip-version-check 'moto[s3]>=5' flask flask-cors

test: $(READY)   ## the fast tests
	$(BIN)/pytest -n $(JOBS) --dist worksteal

# Tests of a measuring tool mind their neighbours: what fails in the crowd is named, and tried once more by itself.
AGAIN = || { [ $$? -eq 1 ] && $(BIN)/pytest --last-failed --last-failed-no-failures none

test-slow: $(READY)  ## everything, the slow and fault-injecting tests and the lab's included
	$(BIN)/pytest -n $(FEW) --dist worksteal -m 'not lab' $(AGAIN) -m 'not lab'; }
	$(BIN)/pytest -n $(FEW) --dist worksteal -m lab $(AGAIN) -m lab; }

check: $(READY)  ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)   ## write what the docs quote from where it comes from
	$(BIN)/python scripts/docs.py

format: $(READY) ## make the code look as `check` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## the figures that the docs quote (docs/benchmarks.md)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	$(BIN)/python -m benchmarks

lab: $(READY)    ## two virtual Pis and a Jetson-like device on this machine (docs/lab.md)
	$(BIN)/python -m tests.lab up

lab-down: $(READY)  ## remove the virtual devices
	$(BIN)/python -m tests.lab down

clean:           ## forget the environment and caches of tools; runs under results/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
