"""The operators together, as layers have them: compiled, exported, captured in a graph, and the same in every run."""

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from segaware import attention_mask, convert, embedding_distance, segaware_conv2d, segaware_filter2d, use_backend
from segaware.tuning import gpu

from .comparison import DEVICE, random_numbers, results

needs_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="the interpreter cannot be captured")


class Layers(torch.nn.Module):
    def forward(self, embedding: Tensor, input: Tensor, weight: Tensor) -> Tensor:
        mask = attention_mask(embedding_distance(embedding, 3, padding=1, backend="triton"), 0.5)
        output = segaware_conv2d(input, weight, mask, padding=1, backend="triton")
        return segaware_filter2d(output, mask, 3, iterations=2, backend="triton").relu()


@pytest.fixture
def tensors() -> list[Tensor]:
    return [random_numbers(2, 5, 7, 6), random_numbers(2, 17, 7, 6, seed=1), random_numbers(16, 17, 3, 3, seed=2)]


def test_compile_and_export_see_through_it(tensors: list[Tensor]) -> None:
    compiled = torch.compile(Layers(), fullgraph=True, backend="aot_eager")
    for actual, expected in zip(results(compiled, tensors), results(Layers(), tensors), strict=True):
        torch.testing.assert_close(actual, expected)
    exported = torch.export.export(Layers(), tuple(tensors))
    assert all(f"segaware.{name}" in str(exported.graph) for name in ("embedding_distance", "conv2d", "filter2d"))
    torch.testing.assert_close(exported.module()(*tensors), Layers()(*tensors))


def test_every_run_gives_the_same_bits(tensors: list[Tensor]) -> None:
    """Kernels have nothing atomic, and no other operator here may be indeterministic: a fixture forbids it."""
    assert torch.are_deterministic_algorithms_enabled()
    first, second = results(Layers(), tensors), results(Layers(), tensors)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@needs_gpu
def test_cuda_graphs_capture_forward_and_backward(tensors: list[Tensor]) -> None:
    leaves = [t.requires_grad_() for t in tensors]

    def step() -> list[Tensor]:
        output = Layers()(*leaves)
        # A graph that is kept alive would tie the gradients of leaves to the stream that it was made on.
        return [output.detach(), *torch.autograd.grad(output.sum(), leaves)]

    expected = step()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    graph.replay()
    torch.cuda.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(captured, expected, strict=True))


class Checkpointed(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 17, 3, 2, 1), torch.nn.Conv2d(17, 16, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return checkpoint(self.second, self.first(image).relu(), use_reentrant=False)


def test_a_converted_network_finds_its_image_in_the_backward_pass() -> None:
    """On a GPU that runs in another thread."""
    torch.manual_seed(0)
    converted = convert(Checkpointed(), torch.nn.Conv2d(3, 4, 1), hardness=0.5).to(DEVICE)
    image = random_numbers(2, 3, 9, 8)
    gradients = []
    for backend in ("reference", "triton"):
        with use_backend(backend):
            gradients.append(torch.autograd.grad(converted(image).square().sum(), list(converted.parameters())))
    for expected, actual in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


class Plain(torch.nn.Sequential):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(torch.nn.Conv2d(3, 17, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(17, 17, 3, 1, 1, groups=17))


@torch.no_grad()
def test_a_converted_network_is_one_graph() -> None:
    """Without an operation that PyTorch cannot trace, so that all its launches can be captured."""
    converted = convert(Plain().eval(), torch.nn.Conv2d(3, 4, 1), hardness=0.5).to(DEVICE)
    image = random_numbers(1, 3, 9, 8)
    with use_backend("triton"):
        expected = converted(image)
        compiled = torch.compile(converted, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(image), expected)


@needs_gpu
@torch.no_grad()
def test_cuda_graphs_of_a_converted_network() -> None:
    converted = convert(Plain().eval(), torch.nn.Conv2d(3, 4, 1), hardness=0.5).to(DEVICE)
    image = random_numbers(1, 3, 9, 8)
    expected = converted(image)
    compiled = torch.compile(converted, mode="reduce-overhead")
    for _ in range(3):  # warms up, captures, replays
        torch.testing.assert_close(compiled(image).clone(), expected)
    replay = gpu.captured(lambda: converted(image))
    assert torch.equal(replay(), expected) and torch.equal(replay(), expected)


@needs_gpu
def test_chosen_for_cuda_tensors(tensors: list[Tensor]) -> None:
    default = embedding_distance(tensors[0], 3, padding=1)
    with use_backend("triton"):
        assert torch.equal(embedding_distance(tensors[0], 3, padding=1), default)


def test_other_devices_are_refused() -> None:
    other = "meta"
    with pytest.raises(RuntimeError, match=f'backend "triton" cannot run: it runs on .* tensors, got one on {other}'):
        embedding_distance(torch.zeros(1, 2, 5, 5, device=other), 3, backend="triton")
