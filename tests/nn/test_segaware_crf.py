"""SegAwareCRF, Eq. 5 and 6 as a layer."""

import copy
import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segaware import use_backend
from segaware.nn import clamp_hardness
from segaware.nn.segaware_crf import SegAwareCRF

Array = NDArray[np.float64]


def loops(crf: SegAwareCRF, logits: Tensor, embedding: Tensor) -> Tensor:
    """Mean field pixel by pixel."""
    u, e = logits.double().numpy(), embedding.double().numpy()
    c, w_s, w_b = (p.detach().double().numpy() for p in (crf.compatibility, crf.spatial_weight, crf.bilateral_weight))
    if crf.weights == "scalar":
        w_s, w_b = w_s * np.eye(len(c)), w_b * np.eye(len(c))
    bandwidth, spatial_bandwidth = crf.log_bandwidth.exp().item(), crf.log_spatial_bandwidth.exp().item()
    hardness = max(crf.hardness.item(), 0)
    q = u
    for _ in range(crf.iterations):
        p = np.exp(q) / np.exp(q).sum(1, keepdims=True)
        result = np.zeros_like(u)
        for n, y, x in product(*map(range, (len(u), *u.shape[2:]))):
            spatial = neighbour_mean(p[n], e[n], (y, x), crf.spatial_window.kernel_size, (1, 1), 0, spatial_bandwidth)
            bilateral = neighbour_mean(
                p[n], e[n], (y, x), crf.kernel_size, crf.dilation, hardness, bandwidth, crf.metric
            )
            result[n, :, y, x] = u[n, :, y, x] - c @ (w_s @ spatial + w_b @ bilateral)
        q = result
    return torch.from_numpy(q)


def neighbour_mean(
    p: Array, e: Array, pixel: tuple[int, int], kernel_size: tuple[int, int], dilation: tuple[int, int],
    hardness: float, bandwidth: float, metric: str = "l1",
) -> Array:  # fmt: skip
    reach = [range(-(k // 2) * d, k // 2 * d + 1, d) for k, d in zip(kernel_size, dilation, strict=True)]
    values, exponents = [], []
    for dy, dx in product(*reach):
        y, x = pixel[0] + dy, pixel[1] + dx
        if (dy, dx) == (0, 0) or not (0 <= y < p.shape[1] and 0 <= x < p.shape[2]):
            continue
        difference = e[:, y, x] - e[(slice(None), *pixel)]
        distance = {
            "l1": np.abs(difference).sum(),
            "sqeuclidean": (difference**2).sum(),
            "euclidean": (difference**2).sum() ** 0.5,
        }[metric]
        values.append(p[:, y, x])
        exponents.append(hardness * distance + (dy**2 + dx**2) / (2 * bandwidth**2))
    if not values:
        return np.zeros(len(p))
    weights = np.exp(min(exponents) - np.array(exponents))
    return np.asarray(weights @ np.array(values) / weights.sum())


def randomised(crf: SegAwareCRF) -> SegAwareCRF:
    """Give every parameter another value than the one it starts at."""
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.add_(torch.rand_like(parameter) * 0.3)
    return crf


def two_regions(seed: int, height: int = 33, width: int = 41) -> tuple[Tensor, Tensor, Tensor]:
    """Logits that are blurred and noisy, a good embedding, and the labels of a disc on a background."""
    generator = torch.Generator().manual_seed(seed)

    def noise(channels: int) -> Tensor:
        return torch.randn(1, channels, height, width, generator=generator)

    y, x = torch.meshgrid(torch.arange(height) - height / 2, torch.arange(width) - width / 2.5, indexing="ij")
    labels = (y**2 + x**2 < (height / 3) ** 2).long()[None]
    regions = F.one_hot(labels).movedim(-1, 1).float()
    blurred = F.avg_pool2d(F.pad(regions, (4, 4, 4, 4), mode="replicate"), 9, stride=1)
    return 3 * blurred + noise(2), torch.cat([regions, regions], 1) + 0.1 * noise(4), labels


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).float().mean().item()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"kernel_size": 3, "dilation": 4, "spatial_kernel_size": 3, "bandwidth": 3.0, "spatial_bandwidth": 0.7},
        {"kernel_size": (3, 5), "dilation": (1, 2), "spatial_kernel_size": (1, 3), "iterations": 3, "hardness": 0.0},
        {"kernel_size": 5, "dilation": 1, "iterations": 1, "weights": "scalar", "bandwidth": 2.0},
        {"kernel_size": 5, "dilation": 2, "metric": "sqeuclidean", "hardness": 0.3},
        {"kernel_size": 3, "dilation": 2, "metric": "euclidean", "weights": "scalar"},
    ],
)
@pytest.mark.parametrize("size", [(7, 10), (11, 4)])
def test_numpy_loop(arguments: dict[str, Any], size: tuple[int, int]) -> None:
    crf = randomised(SegAwareCRF(3, **arguments).double())
    logits, embedding = torch.randn(2, 3, *size).double(), torch.randn(2, 4, *size).double()
    expected = loops(crf, logits, embedding)
    torch.testing.assert_close(crf(logits, embedding), expected)
    with torch.no_grad():
        torch.testing.assert_close(crf(logits, embedding), expected)


def test_worked_example_with_the_weights_it_starts_with() -> None:
    """In a row of three, ends have one neighbour; the middle has two, one of them behind a border of distance ln 3."""
    likely = torch.tensor([0.9, 0.5, 0.2])
    logits = torch.stack([likely.log(), (1 - likely).log()])[None, :, None]
    embedding = torch.tensor([0.0, 0.0, math.log(3)]).view(1, 1, 1, 3)
    crf = SegAwareCRF(2, (1, 3), 1, (1, 3), iterations=1, bandwidth=5.0)
    expected = logits[0, 0, 0] + torch.tensor([0.5 + 0.5, (0.9 + 0.2) / 2 + 0.9 * 0.75 + 0.2 * 0.25, 0.5 + 0.5])
    torch.testing.assert_close(crf(logits, embedding)[0, 0, 0], expected)
    stronger = SegAwareCRF(2, (1, 3), 1, (1, 3), iterations=1, bandwidth=5.0, compat=3.0)
    threefold = logits[0, 0, 0] + 3 * (expected - logits[0, 0, 0])
    torch.testing.assert_close(stronger(logits, embedding)[0, 0, 0], threefold)


def test_what_it_starts_with() -> None:
    crf, scalar = SegAwareCRF(3), SegAwareCRF(3, weights="scalar")
    assert (crf.kernel_size, crf.dilation, crf.spatial_window.kernel_size, crf.iterations) == (
        (13, 13), (9, 9), (5, 5), 2,
    )  # fmt: skip
    assert torch.equal(crf.compatibility, -torch.eye(3)) and torch.equal(scalar.compatibility, -torch.eye(3))
    assert torch.equal(crf.spatial_weight, torch.eye(3)) and torch.equal(crf.bilateral_weight, torch.eye(3))
    assert scalar.spatial_weight.item() == scalar.bilateral_weight.item() == 1
    assert crf.log_bandwidth.item() == crf.log_spatial_bandwidth.item() == pytest.approx(math.log(20))
    assert crf.hardness.item() == 1


def test_from_the_start_it_helps() -> None:
    logits, embedding, labels = two_regions(0)
    before, after = accuracy(logits, labels), accuracy(SegAwareCRF(2)(logits, embedding), labels)
    assert before < 0.95 and after > before + 0.03


def test_from_the_start_it_leaves_confident_logits_alone() -> None:
    labels = torch.randint(5, (2, 19, 23))
    logits = 4 * F.one_hot(labels).movedim(-1, 1).float()
    assert accuracy(SegAwareCRF(5)(logits, torch.ones(2, 3, 19, 23)), labels) == 1


@pytest.mark.parametrize("weights", ["matrix", "scalar"])
def test_training_changes_every_parameter_and_helps_on_other_images(weights: Any) -> None:
    crf = SegAwareCRF(2, kernel_size=7, dilation=3, hardness=0.1, weights=weights)
    start = copy.deepcopy(crf)
    optimizer = torch.optim.Adam(crf.parameters(), lr=0.1)
    for step in range(12):
        logits, embedding, labels = two_regions(step)
        optimizer.zero_grad()
        F.cross_entropy(crf(logits, embedding), labels).backward()
        optimizer.step()
        clamp_hardness(crf)
    for (name, before), after in zip(start.named_parameters(), crf.parameters(), strict=True):
        assert (before - after).abs().min() > 0.05, name

    for seed in (100, 101):
        logits, embedding, labels = two_regions(seed)
        untrained, trained = start(logits, embedding), crf(logits, embedding)
        assert F.cross_entropy(trained, labels) < 0.7 * F.cross_entropy(untrained, labels)
        assert accuracy(trained, labels) > accuracy(untrained, labels)


@pytest.mark.parametrize("weights", ["matrix", "scalar"])
@pytest.mark.parametrize("metric", ["l1", "sqeuclidean"])
def test_gradient(weights: Any, metric: Any) -> None:
    crf = randomised(SegAwareCRF(2, 3, 2, 3, 2, 0.6, 2.0, 1.5, metric, weights).double())
    names = [name for name, _ in crf.named_parameters()]
    # No ties, where the L1 distance has no gradient to check.
    logits, embedding = torch.randn(1, 2, 3, 4).double(), torch.randperm(24).view(1, 2, 3, 4).double() / 20

    def run(logits: Tensor, embedding: Tensor, *parameters: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(crf, dict(zip(names, parameters, strict=True)), (logits, embedding))
        return output

    arguments = [t.detach().requires_grad_() for t in (logits, embedding, *crf.parameters())]
    with use_backend("reference"):
        assert torch.autograd.gradcheck(run, arguments)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (8, 9), (17, 30)])
@pytest.mark.parametrize("arguments", [{}, {"kernel_size": 5, "dilation": 2, "metric": "sqeuclidean"}])
def test_kernels_agree_with_the_reference(size: tuple[int, int], arguments: dict[str, Any]) -> None:
    crf = randomised(SegAwareCRF(3, **arguments).double())
    inputs = [torch.randn(2, c, *size, dtype=torch.float64, requires_grad=True) for c in (3, 4)]
    weight, results = torch.randn(2, 3, *size), []
    for backend in ("reference", "numba"):
        with use_backend(backend):  # type: ignore[arg-type]
            output = crf(*inputs)
            results.append((output, *torch.autograd.grad((output * weight).sum(), [*inputs, *crf.parameters()])))
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("size", [(1, 1), (6, 4), (9, 3)])
def test_pixels_without_neighbours_get_no_message(size: tuple[int, int]) -> None:
    """The bilateral window steps over the whole image, and the spatial one is left out by its weight."""
    crf = SegAwareCRF(2, 3, dilation=9)
    with torch.no_grad():
        crf.spatial_weight.zero_()
    logits, embedding = torch.randn(1, 2, *size, requires_grad=True), torch.randn(1, 4, *size, requires_grad=True)
    output = crf(logits, embedding)
    assert torch.equal(output, logits)
    output.square().sum().backward()
    for tensor in (logits, embedding, *crf.parameters()):
        assert tensor.grad is not None and tensor.grad.isfinite().all()


@pytest.mark.parametrize(("hardness", "bandwidth"), [(1e4, 20.0), (3.0, 1e-3), (1e30, 1e-15)])
def test_a_mask_that_would_underflow_picks_the_nearest_neighbour(hardness: float, bandwidth: float) -> None:
    embedding = torch.tensor([0.0, 50.0, 110.0, 190.0, 260.0]).view(1, 1, 1, 5).requires_grad_()
    logits = torch.randn(1, 3, 1, 5, requires_grad=True)
    crf = SegAwareCRF(3, (1, 5), 1, (1, 3), iterations=1, hardness=hardness, bandwidth=bandwidth)
    with torch.no_grad():
        crf.spatial_weight.zero_()
    output = crf(logits, embedding)
    torch.testing.assert_close(output, logits + logits.softmax(1)[..., [1, 0, 1, 4, 3]])
    output.square().sum().backward()
    for tensor in (logits, embedding, *crf.parameters()):
        assert tensor.grad is not None and tensor.grad.isfinite().all()


def test_one_layer_serves_all_image_sizes_and_a_batch_is_its_images() -> None:
    crf = randomised(SegAwareCRF(4))
    for size in ((20, 31), (8, 8), (33, 2)):
        logits, embedding = torch.randn(3, 4, *size), torch.randn(3, 5, *size)
        each = [crf(logits[i : i + 1], embedding[i : i + 1]) for i in range(3)]
        torch.testing.assert_close(crf(logits, embedding), torch.cat(each))


def test_without_gradients_the_result_is_the_same_and_nothing_given_is_written_to() -> None:
    crf = SegAwareCRF(3, kernel_size=5, dilation=2)
    logits, embedding = torch.randn(2, 3, 37, 6), torch.randn(2, 4, 37, 6)
    distance = crf.distance(embedding)
    given = logits, embedding, distance
    copies = [t.clone() for t in given]
    expected = crf(logits, embedding)
    assert torch.equal(crf(logits, distance=distance), expected)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(crf(logits, embedding), expected)
            torch.testing.assert_close(crf(logits, distance=distance), expected)
    assert all(map(torch.equal, given, copies))


def test_half_precision_and_autocast_compute_in_float32() -> None:
    crf = randomised(SegAwareCRF(3, kernel_size=5, dilation=2))
    # Whole numbers, so that distances have no rounding.
    logits, embedding = torch.randn(1, 3, 9, 8).bfloat16(), torch.randint(4, (1, 2, 9, 8)).bfloat16()
    expected = crf(logits.float(), embedding.float())
    output = crf(logits, embedding)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, expected.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(crf(logits.float(), embedding.float()), expected)


def test_a_negative_hardness_acts_as_0() -> None:
    crf, zero = SegAwareCRF(2, hardness=0.3), SegAwareCRF(2, hardness=0.0)
    with torch.no_grad():
        crf.hardness.fill_(-1)
    logits, embedding = torch.randn(1, 2, 20, 21), torch.randn(1, 3, 20, 21)
    torch.testing.assert_close(crf(logits, embedding), zero(logits, embedding))


@pytest.mark.parametrize("weights", ["matrix", "scalar"])
def test_it_is_saved_and_copied(weights: Any) -> None:
    crf, other = randomised(SegAwareCRF(3, weights=weights)), SegAwareCRF(3, weights=weights)
    assert set(crf.state_dict()) == {
        "compatibility", "spatial_weight", "bilateral_weight", "hardness", "log_bandwidth", "log_spatial_bandwidth",
    }  # fmt: skip
    other.load_state_dict(crf.state_dict())
    logits, embedding = torch.randn(1, 3, 11, 12), torch.randn(1, 3, 11, 12)
    expected = crf(logits, embedding)
    assert torch.equal(other(logits, embedding), expected)
    assert torch.equal(copy.deepcopy(crf)(logits, embedding), expected)


def test_repr() -> None:
    crf = SegAwareCRF(3, (3, 5), 2, 3, iterations=4, hardness=0.25, metric="euclidean", weights="scalar")
    assert repr(crf) == (
        "SegAwareCRF(num_classes=3, kernel_size=(3, 5), dilation=(2, 2), spatial_kernel_size=(3, 3), iterations=4, "
        "hardness=0.25, bandwidth=20, spatial_bandwidth=20, metric='euclidean', weights='scalar')"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "^num_classes must be .*got 1"),
        ({"num_classes": 2.0}, "^num_classes must be .*got 2.0"),
        ({"kernel_size": 4}, "^kernel_size must be odd.*got 4"),
        ({"kernel_size": (3, 2)}, r"^kernel_size must be odd.*got \(3, 2\)"),
        ({"kernel_size": 1}, "^kernel_size must .*more than one tap.*got 1"),
        ({"kernel_size": 0}, "^kernel_size must be .*got 0"),
        ({"spatial_kernel_size": 4}, "^spatial_kernel_size must be odd.*got 4"),
        ({"dilation": 0}, "^dilation must be .*got 0"),
        ({"iterations": 0}, "^iterations must be .*got 0"),
        ({"hardness": -0.5}, "^hardness must be .*got -0.5"),
        ({"bandwidth": 0.0}, "^bandwidth must be .*got 0.0"),
        ({"bandwidth": math.nan}, "^bandwidth must be .*got nan"),
        ({"spatial_bandwidth": -1.0}, "^spatial_bandwidth must be .*got -1.0"),
        ({"spatial_bandwidth": math.inf}, "^spatial_bandwidth must be .*got inf"),
        ({"metric": "l2"}, "^metric must be .*got 'l2'"),
        ({"weights": "vector"}, "^weights must be .*got 'vector'"),
        ({"compat": -1.0}, "^compat must be .*got -1.0"),
        ({"compat": math.nan}, "^compat must be .*got nan"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegAwareCRF(**{"num_classes": 3, **arguments})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "either an embedding or a distance"),
        (
            {"embedding": torch.zeros(1, 2, 6, 7), "distance": torch.zeros(1, 9, 6, 7)},
            "either an embedding or a distance",
        ),
        (
            {"logits": torch.zeros(1, 4, 6, 7), "embedding": torch.zeros(1, 2, 6, 7)},
            r"^logits must .*\(N, 3, H, W\).*got torch.float32 of shape \(1, 4, 6, 7\)",
        ),
        ({"logits": torch.zeros(3, 6, 7), "embedding": torch.zeros(1, 2, 6, 7)}, r"^logits must .*got .*\(3, 6, 7\)"),
        ({"logits": torch.zeros(1, 3, 6, 7).int(), "embedding": torch.zeros(1, 2, 6, 7)}, "^logits must .*got .*int32"),
        ({"embedding": torch.zeros(1, 2, 6, 6)}, r"^embedding must .*\(1, E, 6, 7\).*got \(1, 2, 6, 6\)"),
        ({"embedding": torch.zeros(2, 2, 6, 7)}, r"^embedding must .*\(1, E, 6, 7\).*got \(2, 2, 6, 7\)"),
        ({"embedding": torch.zeros(2, 6, 7)}, r"^embedding must .*\(1, E, 6, 7\).*got \(2, 6, 7\)"),
        ({"distance": torch.zeros(1, 25, 6, 7)}, r"^distance must .*\(1, 9, 6, 7\).*got .*\(1, 25, 6, 7\)"),
        ({"distance": torch.zeros(1, 9, 6, 7).int()}, "^distance must .*got torch.int32"),
    ],
)
def test_a_bad_input_is_named(inputs: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegAwareCRF(3, kernel_size=3)(**{"logits": torch.zeros(1, 3, 6, 7), **inputs})


@pytest.mark.parametrize("distance", [math.inf, math.nan])
def test_hardness_0_does_not_look_at_distances(distance: float) -> None:
    crf, logits = SegAwareCRF(3, kernel_size=3, dilation=2, hardness=0.0), torch.randn(1, 3, 7, 8)
    given = torch.rand(1, 9, 7, 8)
    given[0, ::2, 3, 4] = distance
    expected = crf(logits, distance=torch.zeros(1, 9, 7, 8))
    for backend in ("reference", "numba"):
        with use_backend(backend):  # type: ignore[arg-type]
            torch.testing.assert_close(crf(logits, distance=given), expected)
            with torch.no_grad():
                torch.testing.assert_close(crf(logits, distance=given), expected)
    given.requires_grad_()
    gradients = torch.autograd.grad(crf(logits, distance=given).square().sum(), [given, *crf.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shared", [False, True])
def test_gradients_of_half_precisions_are_those_of_float32(dtype: torch.dtype, shared: bool) -> None:
    """Where a hardness of 20 makes much of distances: these are not rounded."""
    crf = SegAwareCRF(3, kernel_size=5, dilation=1, hardness=20.0)
    logits, embedding, weight = torch.randn(1, 3, 9, 8), torch.rand(1, 4, 9, 8), torch.randn(1, 3, 9, 8)
    outcomes = []
    for number in (dtype, torch.float64):
        leaves = [t.to(dtype).to(number).requires_grad_() for t in (logits, embedding)]
        crf.to(torch.float64 if number == torch.float64 else torch.float32)
        given = {"distance": crf.distance(leaves[1])} if shared else {"embedding": leaves[1]}
        output = crf(leaves[0], **given)
        outcomes.append(torch.autograd.grad((output * weight).sum(), [*leaves, crf.hardness]))
    for actual, expected in zip(*outcomes, strict=True):
        error = (actual.double() - expected).norm() / expected.norm()
        assert error < (1e-2 if actual.dim() else 2e-3)
