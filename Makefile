# `make demo` and `make test` do all the set-up they need.
PYTHON ?= python3
# One exact PyTorch: a plain `torch` may bring several gigabytes of CUDA libraries. Override for a CUDA build of yours.
TORCH ?= torch==2.13.0
# The Triton that this PyTorch's CUDA builds come with; here it interprets and compiles kernels without a GPU.
TRITON ?= triton==3.7.1; sys_platform == 'linux'
# Networks that tests convert. Apart from the environment of the command, where a torchvision that was not built for its
# PyTorch would stop Lightning from being imported, and without what they need: that is there, torch included.
ARCHITECTURES ?= torchvision==0.28.0 timm==1.0.31 segmentation-models-pytorch==0.6.0
BIN := .venv/bin

.PHONY: demo test test-gpu check docs site bench install clean clean-kernels

demo: install
	$(BIN)/segaware demo --out demo

test: install .venv/architectures/installed
	$(BIN)/python -m pytest

# On a machine with a GPU, whose PyTorch is a build for it: `make test-gpu TORCH=torch`.
test-gpu: install
	$(BIN)/python -m pytest tests/ops/triton --backend triton

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/operator_figures.py

# Runs the tutorials, and fails where a link is broken or a public name has no docstring. Open site/index.html.
site: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/installed-bench
	$(BIN)/segaware bench

install: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet "$(TRITON)" --editable ".[dev]"
	touch $@

.venv/architectures/installed: .venv/installed
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .venv/architectures $(ARCHITECTURES)
	touch $@

# With $(TORCH) beside it, so that nothing can bring another PyTorch.
.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet "$(TORCH)" --editable ".[docs]"
	touch $@

.venv/installed-bench: .venv/installed
	$(BIN)/python -m pip install --quiet "$(TORCH)" --editable ".[bench]"
	touch $@

clean: clean-kernels
	rm -rf .venv

# What Numba has compiled.
clean-kernels:
	find src tests -name '*.nb[ic]' -delete
