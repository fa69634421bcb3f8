# make demo   runs the main job on scenes of garments, with the small model
# make test   runs every check; make test-slow also the proofs that take minutes
# make lock   resolves the dependencies anew after a change of requirements/*.in
# make template, make pin-image   see deploy/README.md
# Each sets up what it needs in .venv first, and skips what is done.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
DEMO := demo-output

.PHONY: demo test test-slow lint lock template pin-image clean

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "palipipe needs Python 3.11 to 3.13; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

KERNELS := $(wildcard model/cpu_kernels/*.cc model/cpu_kernels/*.h)

$(VENV)/run.stamp: requirements/base.txt setup.py pyproject.toml $(KERNELS) | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/base.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(VENV)/test.stamp: requirements/dev.txt $(VENV)/run.stamp
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

# The compilers of TPUs and GPUs, for tests without either. They lie beside the environment and not in
# it: jax that can import them looks for a chip at each start, and says that there is none.
ifeq ($(shell uname -sm),Linux x86_64)
COMPILERS := $(VENV)/tpu.stamp $(VENV)/gpu.stamp
endif

$(VENV)/tpu.stamp: requirements/tpu.txt | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target $(VENV)/tpu --no-deps --require-hashes \
		-r requirements/tpu.txt
	@touch $@

# Of what the image for GPUs has, the compiler and its assembler.
$(VENV)/gpu.stamp: requirements/gpu.txt | $(BIN)/uv
	awk '/^[a-z]/ { wanted = /^(jax-cuda12-pjrt|nvidia-cuda-nvcc-cu12)==/ } wanted' $< \
		> $(VENV)/gpu-compiler.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target $(VENV)/gpu --no-deps --require-hashes \
		-r $(VENV)/gpu-compiler.txt
	@touch $@

demo: $(VENV)/run.stamp
	$(BIN)/palipipe annotate --input 'examples/scenes/*.tar' --output $(DEMO) \
		--task "caption en" --task "answer en {question}" --task "detect {detect}" \
		--task "segment {segment}" --task ocr

# Two files of tests at a time: most wait for processes that they start, or compile on one core.
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile

test: lint $(COMPILERS)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-slow: lint $(COMPILERS)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "slow or not slow"

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy deploy/*.py
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/shellcheck deploy/*.sh

# The tests' versions come first, so that what is tested is what users get. An accelerator's file
# holds only what the image's variant has beyond base.txt, for the worker's one platform.
COMPILE = $(BIN)/uv pip compile --quiet --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header --python-version 3.11
WORKER = $(COMPILE) --python-platform x86_64-manylinux_2_31
BEYOND_BASE = --constraint requirements/base.txt \
	$$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements/base.txt)

lock: | $(BIN)/uv
	$(COMPILE) --universal requirements/dev.in --output-file requirements/dev.txt
	$(COMPILE) --universal requirements/base.in --constraint requirements/dev.txt \
		--output-file requirements/base.txt
	$(WORKER) requirements/tpu.in $(BEYOND_BASE) --output-file requirements/tpu.txt
	$(WORKER) requirements/gpu.in $(BEYOND_BASE) --output-file requirements/gpu.txt
	$(WORKER) requirements/airflow.in --output-file requirements/airflow.txt

template: $(VENV)/run.stamp
	$(BIN)/python deploy/flex_metadata.py

pin-image: $(VENV)/run.stamp
	$(BIN)/python deploy/pin_images.py

clean:
	rm -rf $(VENV) $(DEMO) .cache build *.egg-info
