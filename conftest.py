"""What the docstring examples use without importing it, as a reader would have it already."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker has a core: threads of several would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

import segaware
from benchmarks.architectures import find_libraries

find_libraries()  # the README converts a network of torchvision

# Kernel files have no examples, and importing them wants Triton.
collect_ignore_glob = ["src/segaware/ops/*/_triton*", "src/segaware/ops/_launch.py"]


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, object]) -> None:
    torch.manual_seed(0)
    doctest_namespace |= {"torch": torch, **{name: getattr(segaware, name) for name in segaware.__all__}}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of whose kernels are tested."""
    parser.addoption(
        "--backend",
        choices=["triton"],
        help="also run tests/ops/triton in this process: on a GPU, or with TRITON_INTERPRET=1 on the CPU",
    )
