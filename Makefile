# Everything sets itself up: Python 3.11-3.13 with pip, and make, are all that a machine needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENT := .venv-client
# Quiet and offline, in tests too.
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
# Which torch `install-mmpose` and `test-client` take: on Linux plain `torch` brings CUDA (several GB).
TORCH ?= torch

# For `bench-gpu`: a Python that has torch with CUDA, and its version, if the wheels are fetched on another machine.
GPU_PYTHON ?= python3
GPU_PYTHON_VERSION ?= $(shell $(GPU_PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
GPU_KIT := build/bench-gpu
# What the benchmark imports beyond torch, torchvision, numpy, scipy, pandas, OpenCV, matplotlib, Pillow and rich.
GPU_NEEDS := 'av<19' mmengine==0.10.7 mmcv-lite==2.1.0 mmpose==1.3.2 addict yapf platformdirs termcolor json-tricks munkres \
	pycocotools six 'setuptools<81'

# What the processes of a run load: the command line, the flows with the pose model; and Prefect's server.
RUN_IMPORTS := flows.cli.annotate, flows.cli.demo, flows.annotate_dataset, openvino, scipy.optimize, scipy.sparse.csgraph
SERVER_IMPORTS := flows.prefect_server.serve, prefect.server.api.server, uvicorn.protocols.http.auto, uvicorn.lifespan.on

.PHONY: help install install-mmpose install-int8 lock licences settings catalogue docs-pictures audit fuzz demo up test test-browser \
	test-client test-mmpose test-integration bench-gpu bench-gpu-kit lint format clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

# Installs by uv, which takes a third of pip's time, and by pip where uv cannot be had or cannot reach the index that pip
# is configured for. $(1): what to install, in the options that both understand.
define install_packages
	@echo "Installing $(2)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python $(1) 2>$(VENV)/uv.log || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check $(1)
endef

$(BIN)/python:
	@echo "Creating $(VENV)"
	@# uv unpacks pip in a tenth of the time that venv needs for it.
	@$(PYTHON) -m venv --without-pip $(VENV)
	@{ $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check 'uv>=0.5' && \
		$(BIN)/uv pip install --quiet --python $(BIN)/python pip; } 2>$(VENV)/uv.log || \
		{ echo "uv cannot be had here; pip does the work"; $(PYTHON) -m venv $(VENV); }

# Locked versions, each checked by its hash: the same on every machine. The project itself is built with the locked
# setuptools, so that nothing is downloaded for the build.
$(VENV)/.installed: pyproject.toml requirements.lock | $(BIN)/python
	$(call install_packages,--require-hashes --requirement requirements.lock,the locked packages)
	$(call install_packages,--no-deps --no-build-isolation --editable .,fightpose)
	@echo "Compiling what a run imports"
	@# uv installs sources only: without this every process of the first run compiles them, and of all later runs too where
	@# PYTHONDONTWRITEBYTECODE is set. Only what is imported: all files of all packages take four times as long.
	@export PYTHONDONTWRITEBYTECODE=; $(BIN)/python -c "import $(SERVER_IMPORTS)" & server=$$!; \
		$(BIN)/python -c "import $(RUN_IMPORTS)" && wait $$server
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(call install_packages,--require-hashes --requirement requirements-dev.lock,what the tests need)
	@touch $@

install: $(VENV)/.installed ## Create .venv and install fightpose into it

lock: $(VENV)/.installed ## Renew requirements.lock and requirements-dev.lock (network)
	$(BIN)/uv pip compile pyproject.toml --extra build --universal --upgrade --generate-hashes --no-header --no-annotate \
		--quiet --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra build --extra dev --constraint requirements.lock --universal --upgrade \
		--generate-hashes --no-header --no-annotate --quiet --output-file requirements-dev.lock

catalogue: $(VENV)/.installed-dev ## Bring the Korean texts up to date with the code
	$(BIN)/python -m tests.language.catalogue

settings: $(VENV)/.installed-dev ## Renew docs/settings.md
	$(BIN)/python -m tasks.core.settings.describe docs/settings.md

docs-pictures: demo $(VENV)/.installed-dev ## Renew the pictures of the docs, from the demo clips
	$(BIN)/python -m tests.docs.pictures demo-output
	$(BIN)/python -m tests.docs.screenshots demo-output

licences: $(VENV)/.installed-dev ## Renew docs/licences.md
	$(BIN)/python -m tests.supply_chain > docs/licences.md

audit: $(VENV)/.installed ## Ask for known weaknesses of the locked versions (network)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --require-hashes --disable-pip --requirement requirements.lock

$(VENV)/.installed-mmpose: $(VENV)/.installed
	@echo "Installing torch and mmpose (minutes)"
	@# By pip: it finds builds of torch for the CPU alone where an index or a disk offers them.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(TORCH)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mmpose]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps mmpose==1.3.2
	@touch $@

install-mmpose: $(VENV)/.installed-mmpose ## Add RTMO as mmpose config and checkpoint; compiles nothing

$(VENV)/.installed-int8: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[int8]'
	@touch $@

install-int8: $(VENV)/.installed-int8 ## Add what `fightpose quantize-model` needs

demo: $(VENV)/.installed ## Annotate four demo clips and show what comes out
	$(BIN)/fightpose demo

up: $(VENV)/.installed ## Start a Prefect server, pools, deployments and workers; Ctrl-C ends all of it
	$(BIN)/fightpose up

test-integration: $(VENV)/.installed-dev ## Kill, flood and schedule real servers and workers (minutes)
	$(BIN)/python -m pytest -m integration tests/integration

test: $(VENV)/.installed-dev ## Run the tests and show how much of tasks/ and flows/ they cover
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

fuzz: $(VENV)/.installed-dev ## Feed thousands of damaged clips and files (minutes)
	$(BIN)/python -m tests.fuzz

test-mmpose: $(VENV)/.installed-dev $(VENV)/.installed-mmpose ## Run the tests that need mmpose
	$(BIN)/python -m pytest -m mmpose

# mmaction2 in an environment of its own, as on a training machine; nothing of this project is in it, nothing is compiled.
# It is installed without its requirements, of which STGCN++ needs only those that are named here. datumaro, which reads
# exports in the tests, comes in the same way: its requirements bring a second OpenCV.
$(CLIENT)/.installed:
	$(PYTHON) -m venv $(CLIENT)
	$(CLIENT)/bin/python -m pip install --quiet --disable-pip-version-check '$(TORCH)' mmengine==0.10.7 mmcv-lite==2.1.0 \
		'setuptools<81' einops 'importlib_metadata<9' scipy
	$(CLIENT)/bin/python -m pip install --quiet --disable-pip-version-check attrs orjson json-stream shapely imagesize \
		pandas tqdm pycocotools lxml
	$(CLIENT)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps mmaction2==1.2.0 datumaro==1.13.12
	@touch $@

test-client: $(VENV)/.installed-dev $(CLIENT)/.installed ## Annotate real clips; train and test mmaction2 on them, read exports by datumaro
	$(BIN)/python -m pytest -m client tests/client

test-browser: $(VENV)/.installed-dev ## Run the tests of the review page in Chromium
	$(BIN)/python -m pytest -m browser tests/browser

$(GPU_KIT)/.fetched:
	mkdir -p $(GPU_KIT)
	$(GPU_PYTHON) -m pip download --quiet --disable-pip-version-check --only-binary=:all: --dest $(GPU_KIT) \
		--python-version $(GPU_PYTHON_VERSION) --implementation cp $(foreach n,34 31 28 27 24 17 12 5,--platform manylinux_2_$(n)_x86_64) \
		--platform manylinux2014_x86_64 --platform manylinux1_x86_64 --no-deps $(GPU_NEEDS)
	$(GPU_PYTHON) -m pip download --quiet --disable-pip-version-check --only-binary=:all: --dest $(GPU_KIT) \
		--python-version $(GPU_PYTHON_VERSION) --implementation cp --platform manylinux_2_17_x86_64 pydantic
	touch $@

bench-gpu-kit: $(GPU_KIT)/.fetched ## Fetch what bench-gpu needs, to take build/bench-gpu to a machine without a network

bench-gpu: $(GPU_KIT)/.fetched ## Measure RTMO-s on an NVIDIA GPU (at most 8 minutes; GPU_PYTHON has torch with CUDA)
	$(GPU_PYTHON) -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --upgrade \
		--target $(GPU_KIT)/site $(GPU_KIT)/*.whl
	PYTHONPATH=$(GPU_KIT)/site:. timeout 470 $(GPU_PYTHON) -W ignore -m tests.benchmarks.gpu --json $(GPU_KIT)/result.json

lint: $(VENV)/.installed-dev ## Check style, types and file formats
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	# mmpose is installed without the packages that it asks for and does not need here, which pip would report.
	test -e $(VENV)/.installed-mmpose || $(BIN)/python -m pip check
	$(BIN)/python -m pytest -q --no-header tests/test_supply_chain.py

format: $(VENV)/.installed-dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what the targets made, the cache of models and demo clips excepted
	rm -rf $(VENV) $(CLIENT) demo-output .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info build dist
