# `make demo` and `make test` do all the set-up they need.
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := .venv/Scripts
else
PYTHON ?= python3
BIN := .venv/bin
endif
# One exact PyTorch: a plain `torch` may bring several gigabytes of CUDA libraries. Override for a CUDA build of yours.
TORCH ?= torch==2.13.0
# The Triton that this PyTorch's CUDA builds come with; here it interprets and compiles kernels without a GPU.
TRITON ?= triton==3.7.1; sys_platform == 'linux'
# Networks that tests convert. Apart from the environment of the command, where a torchvision that was not built for its
# PyTorch would stop Lightning from being imported, and without what they need: that is there, torch included.
ARCHITECTURES ?= torchvision==0.28.0 timm==1.0.31 segmentation-models-pytorch==0.6.0
# The versions of all other packages; empty for the newest. They say nothing of PyTorch, and cannot bring another one.
CONSTRAINTS ?= constraints/dev.txt
PIP = $(BIN)/python -m pip install --quiet $(addprefix --constraint ,$(CONSTRAINTS))

.PHONY: demo test test-browser test-gpu check lint types imports docs site bench bench-gpu dist constraints install clean clean-kernels

demo: .venv/installed-demo
	$(BIN)/segaware demo --out demo

test: install .venv/architectures/installed
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --ignore tests/browser

# Browsers are the system's: root of a Debian installs them here, elsewhere the tests that are skipped say what they want.
test-browser: install
	command -v chromium && command -v firefox-esr || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get; then apt-get update -qq && apt-get install -qq -y chromium firefox-esr; fi || \
	echo "the browsers that are missing could not be installed"
	command -v npm && npm install --silent --ignore-scripts --prefix .venv/onnxruntime-web onnxruntime-web@1.30.0 || \
	echo "onnxruntime-web could not be installed"
	$(BIN)/python -m pytest tests/browser -rs

# On a machine with a GPU, whose PyTorch is a build for it: `make test-gpu TORCH=torch`.
test-gpu: install
	$(BIN)/python -m pytest tests/ops/triton --backend triton

check: lint types imports

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

docs: install
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.operator_figures

# Runs the tutorials, and fails where a link is broken or a public name has no docstring. Open site/index.html.
site: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/installed-bench
	$(BIN)/python -m benchmarks

# On a machine with a GPU: tunes, and measures every goal of the GPU kernels, in less than ten minutes after the set-up.
# What was measured before is kept: move it to results/bench/earlier/NAME_COMMIT.json first.
bench-gpu: .venv/installed-bench .venv/architectures/installed
	$(BIN)/segaware tune --quick
	$(BIN)/python -m benchmarks gpu conversion_cuda

# Wheel and sdist, as a release uploads them.
dist: install
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

# The newest versions that fit this PyTorch, for all systems and Pythons; and the lowest that pyproject.toml promises.
# What comes with PyTorch is left out, PyTorch first.
LOCK = $(BIN)/uv pip compile --quiet --custom-compile-command "make constraints" --no-annotate --python-version 3.10 pyproject.toml
WITHOUT_TORCH = grep -vE '^(torch|triton|nvidia-.*|cuda-.*)=='
constraints: install
	$(BIN)/python -m pip install --quiet uv
	echo "$(TORCH)" | $(LOCK) - --upgrade --universal --all-extras | $(WITHOUT_TORCH) > constraints/dev.txt
	$(LOCK) --resolution lowest-direct --extra dev | $(WITHOUT_TORCH) > constraints/lowest.txt

install: .venv/installed

# What a user installs; Triton and what tests and checks need take longer than the demo's training.
.venv/installed-demo: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(PIP) --editable ".[train]"
	touch $@

.venv/installed: .venv/installed-demo
	$(PIP) "$(TRITON)" --editable ".[dev]"
	touch $@

.venv/architectures/installed: .venv/installed
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .venv/architectures $(ARCHITECTURES)
	touch $@

# With $(TORCH) beside it, so that nothing can bring another PyTorch.
.venv/installed-docs: .venv/installed
	$(PIP) "$(TORCH)" --editable ".[docs]"
	touch $@

.venv/installed-bench: .venv/installed
	$(PIP) "$(TORCH)" --editable ".[bench]"
	touch $@

clean: clean-kernels
	rm -rf .venv

# What Numba has compiled.
clean-kernels:
	find src tests -name '*.nb[ic]' -delete
