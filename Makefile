# Every command of the project. `make` alone lists them.

PYTHON  ?= python3
PROFILE ?= quick

# A folder with the public data sets, if there is one; otherwise they are downloaded.
ifneq ($(wildcard ../shared/data),)
export ORGANELLE_FUSION_DATA ?= $(abspath ../shared/data)
endif

BIN := .venv/bin
UV  := $(BIN)/uv pip
REPRODUCE = $(BIN)/organelle-fusion reproduce --profile '$(PROFILE)' \
	$(if $(MANIFEST),--manifest '$(MANIFEST)')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help book chapter plan pdf test pages bench notebooks lint lock clean

help:  ## list the commands
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo '  PROFILE=quick chooses the settings, MANIFEST=stacks.csv your own images.'

# The environment, exactly as locked. The stamp is written last and removed first, so that an
# interrupted installation is never trusted: without its stamp, .venv is made anew.
.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit( \
		"make: expected Python 3.11, 3.12 or 3.13, found " + sys.version.split()[0] + \
		"; install one of them and name it: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'make: $(PYTHON) cannot make virtual environments; apt install python3-venv' >&2; exit 1; }
	@echo 'Preparing the environment in .venv (about 4 GB, some minutes the first time)'
	@if [ -e $@ ]; then rm $@; else rm -rf .venv && $(PYTHON) -m venv .venv; fi
	@if [ ! -x $(BIN)/uv ]; then \
		sed -n '/^uv==/,/^    # via/p' requirements.lock > .venv/uv.txt && \
		$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r .venv/uv.txt; fi
	@$(UV) sync --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	@$(UV) install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	@touch $@

book: .venv/.ready  ## run all notebooks and build the book
	@$(REPRODUCE)

chapter: .venv/.ready  ## run one chapter again and rebuild: make chapter N=06
	@$(if $(N),,echo 'make: which chapter? for example: make chapter N=06' >&2; exit 2)
	@$(REPRODUCE) --chapter '$(N)'

plan: .venv/.ready  ## say what make book would train and take, and do nothing
	@$(REPRODUCE) --dry-run

pdf: .venv/.ready  ## print the pages that make book has built as one PDF
	@$(BIN)/organelle-fusion pdf

# Two files of tests at a time, here and below: most use one core.
test: .venv/.ready  ## run the tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile

pages: .venv/.ready  ## check the pages that make book has built
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m pages

# Peers that the project itself does not need, in a folder of their own. The stamp as above.
.venv/peers/.ready: .venv/.ready benchmarks/peers.lock
	@echo 'Preparing the peers in .venv/peers (about 4 GB, with the GPU libraries of PyTorch)'
	@rm -rf .venv/peers
	@$(UV) install --python $(BIN)/python --quiet --no-deps --require-hashes \
		--target .venv/peers -r benchmarks/peers.lock
	@touch $@

bench: .venv/peers/.ready  ## measure speed, beside other packages
	@$(BIN)/python -m benchmarks

# The .py files are what people edit; the .ipynb beside them are made from them, never back.
notebooks: .venv/.ready  ## make the .ipynb from the .py
	@$(BIN)/jupytext --quiet --to ipynb --update --set-kernel python3 notebooks/*.py

lint: .venv/.ready  ## check style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

# Of what the peers ask for, the first line is in the environment already; PyTorch is imported, and
# computes on the processor, without the others.
NOT_PEERS = colorama fsspec importlib-metadata jinja2 lazy-importer markupsafe networkx numpy tqdm \
	typing-extensions zipp \
	cuda-bindings cuda-pathfinder cuda-toolkit mpmath nvidia-cuda-cccl nvidia-cusolver \
	nvidia-nvjitlink nvidia-nvtx setuptools sympy triton
lock: .venv/.ready  ## choose versions anew for changed dependencies
	@$(UV) compile --universal --generate-hashes --no-emit-index-url --no-header --quiet \
		--python-version 3.11 --extra dev pyproject.toml -o requirements.lock
	@$(UV) compile --universal --generate-hashes --no-emit-index-url --no-header --quiet \
		--python-version 3.11 --override requirements.lock benchmarks/peers.in \
		$(addprefix --no-emit-package ,$(NOT_PEERS)) -o benchmarks/peers.lock

clean:  ## remove results and pages; the environment and downloads stay
	rm -rf _build book/executed data/runs
