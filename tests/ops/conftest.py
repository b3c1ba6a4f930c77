"""What the tests of all operators share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segaware import use_backend


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the tests of Triton's kernels, which want a process of their own, unless it is asked for them."""
    if collection_path.name == "triton" and config.getoption("--backend") != "triton":
        return True
    return None


@pytest.fixture(scope="module", params=["reference", "numba"])
def each_backend(request: pytest.FixtureRequest) -> Iterator[None]:
    """All tests of the module, once with each backend."""
    with use_backend(request.param):
        yield


@pytest.fixture(scope="module")
def uninitialised_is_nan() -> Iterator[None]:
    """Memory from torch.empty is filled with NaN, so that an element that no kernel writes shows."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def with_threads() -> Iterator[Callable[[int, Callable[[], list[Tensor]]], list[Tensor]]]:
    """A function that runs another one on so many threads."""
    before = torch.get_num_threads()

    def run(threads: int, function: Callable[[], list[Tensor]]) -> list[Tensor]:
        torch.set_num_threads(threads)
        return function()

    yield run
    torch.set_num_threads(before)


@pytest.fixture(params=["channels_last", "strided"])
def relayout(request: pytest.FixtureRequest) -> Callable[[Tensor], Tensor]:
    """A function that returns the same image batch (N, C, H, W) in another memory layout."""

    def channels_last(image: Tensor) -> Tensor:
        return image.contiguous(memory_format=torch.channels_last)

    def strided(image: Tensor) -> Tensor:
        return image.transpose(2, 3).repeat_interleave(2, dim=3)[..., ::2].transpose(2, 3)

    return {"channels_last": channels_last, "strided": strided}[request.param]


@pytest.fixture
def saved_bytes() -> Callable[[Callable[[], Tensor]], int]:
    """A function that runs an operator and returns the bytes that autograd keeps for its backward pass."""

    def measure(run: Callable[[], Tensor]) -> int:
        storages: dict[int, int] = {}
        alive: list[Tensor] = []  # so that no address is used twice

        def pack(tensor: Tensor) -> Tensor:
            alive.append(tensor)
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            assert run().requires_grad
        return sum(storages.values())

    return measure
