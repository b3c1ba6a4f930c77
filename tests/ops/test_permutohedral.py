"""PermutohedralLattice and mean_field against loops in NumPy, against each other, and against the exact Gaussian."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segaware import use_backend
from segaware.ops import _backends
from segaware.ops.permutohedral import library, op, reference
from segaware.ops.permutohedral.op import PermutohedralLattice, mean_field

from .lattice_loops import close, numpy_gaussian, numpy_lattice, numpy_mean_field, random_pixels

pytestmark = pytest.mark.usefixtures("uninitialised_is_nan")


@pytest.mark.parametrize("channels", [1, 8, 21, 30])
@pytest.mark.parametrize("dimensions", [1, 2, 3, 5, 7])
def test_the_lattice_against_a_dictionary(dimensions: int, channels: int) -> None:
    features, values = random_pixels(dimensions, channels, 90)
    close(PermutohedralLattice(features).filter(values), numpy_lattice(features, values))


@pytest.mark.parametrize(("dimensions", "pixels", "spread"), [(2, 9_000, 60.0), (5, 1_000, 12.0)])
def test_many_strips_points_and_chains(dimensions: int, pixels: int, spread: float) -> None:
    """More than a strip has, than a hash table begins with, than a task blurs; half of the pixels are far apart."""
    features, values = random_pixels(dimensions, 2, pixels, spread)
    features[:, ::2] *= 50
    close(PermutohedralLattice(features).filter(values), numpy_lattice(features, values), 1e-4)


def test_features_below_zero_and_far_apart() -> None:
    features, values = random_pixels(2, 3, 40)
    features[0, :20] -= 3000
    features[1, :10] -= 500_000
    close(PermutohedralLattice(features).filter(values), numpy_lattice(features, values), 1e-1)
    near = PermutohedralLattice(features[:, 20:]).filter(values[:, 20:])
    close(PermutohedralLattice(features).filter(values)[:, 20:], near)


def test_the_reference_is_the_exact_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    features, values = (t.double() for t in random_pixels(3, 4, 30))
    expected = numpy_gaussian(features, values)
    for pairs in (reference._PAIRS, 30 * 7):  # in one piece, and in pieces of 7 pixels
        monkeypatch.setattr(reference, "_PAIRS", pairs)
        close(PermutohedralLattice(features, backend="reference").filter(values), expected, 1e-12)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_symmetric_normalisation(backend: Any) -> None:
    features, values = random_pixels(2, 3, 60)
    exact = numpy_gaussian if backend == "reference" else numpy_lattice
    norm = 1 / np.sqrt(exact(features, torch.ones(1, 60)))
    expected = norm * exact(features, values * torch.from_numpy(norm))
    close(PermutohedralLattice(features, "symmetric", backend).filter(values), expected)


@pytest.mark.parametrize(("dimensions", "within"), [(1, 0.02), (2, 0.02), (3, 0.02), (5, 0.03)])
def test_the_lattice_comes_near_the_exact_gaussian(dimensions: int, within: float) -> None:
    """Of values 0 or 1 that depend on the features, as classes do."""
    features, _ = random_pixels(dimensions, 1, 3000, 3.0)
    values = torch.stack([features[0] > 1.5, features.sum(0) > 1.5 * dimensions]).float()
    lattice, exact = (
        PermutohedralLattice(features, "symmetric", backend).filter(values) for backend in ("numba", "reference")
    )
    assert (lattice - exact).square().mean().sqrt() < within
    assert (lattice - values).square().mean().sqrt() > 0.1


@pytest.mark.parametrize(("dimensions", "side", "density"), [(1, 4000, 200.0), (2, 120, 6.0), (3, 48, 4.0)])
def test_a_constant_where_pixels_are_dense(dimensions: int, side: int, density: float) -> None:
    """A lattice point has (3/2)^(D/2) / sqrt(D + 1) of the feature space, and every direction's blur adds up to 2."""
    grid = torch.meshgrid(*[torch.arange(float(side))] * dimensions, indexing="ij")
    features, ones = torch.stack(grid) / density, torch.ones(1, *[side] * dimensions)
    inside = (0, *[slice(side // 3, -side // 3)] * dimensions)
    volume = 1.5 ** (dimensions / 2) / math.sqrt(dimensions + 1)
    expected = density**dimensions * volume * 2 ** (dimensions + 1) / (1 + 2**-dimensions)
    filtered = PermutohedralLattice(features).filter(ones)[inside]
    torch.testing.assert_close(filtered, torch.full_like(filtered, expected), rtol=0.02, atol=0)
    normalized = PermutohedralLattice(features, "symmetric").filter(ones)[inside]
    torch.testing.assert_close(normalized, torch.ones_like(normalized), rtol=0.01, atol=0)


def test_the_filter_is_linear() -> None:
    features, values = random_pixels(5, 6, 500)
    lattice = PermutohedralLattice(features)
    close(
        lattice.filter(2 * values[:3] - values[3:]), 2 * lattice.filter(values[:3]) - lattice.filter(values[3:]), 1e-5
    )


def test_the_filter_is_nearly_symmetric() -> None:
    """Not quite: its directions are blurred one after the other, and lack points at different places."""
    features, values = random_pixels(5, 2, 500)
    u, v = values
    filtered_u, filtered_v = PermutohedralLattice(features).filter(values)
    assert (u @ filtered_v).item() == pytest.approx((filtered_u @ v).item(), rel=1e-2)


def test_the_order_of_pixels_does_not_matter() -> None:
    features, values = random_pixels(3, 3, 20_000, 20.0)
    order = torch.randperm(20_000, generator=torch.Generator().manual_seed(0))
    shuffled = PermutohedralLattice(features[:, order]).filter(values[:, order])
    close(shuffled, PermutohedralLattice(features).filter(values)[:, order], 1e-4)


def test_pixels_that_are_all_the_same_get_the_sum() -> None:
    features, values = torch.full((2, 9000), 0.3), random_pixels(2, 2, 9000)[1]
    filtered = PermutohedralLattice(features).filter(values)
    (expected,) = numpy_lattice(features[:, :1], torch.ones(1, 1))
    close(filtered, values.sum(1, keepdim=True) * expected.item() * torch.ones(9000), 1e-4)


def test_shapes_dtypes_and_layouts() -> None:
    features, values = random_pixels(2, 3, 35)
    expected = numpy_lattice(features, values)
    image = PermutohedralLattice(features.view(2, 5, 7).double())
    filtered = image.filter(values.view(3, 5, 7).double())
    assert filtered.shape == (3, 5, 7) and filtered.dtype == torch.float64
    close(filtered.flatten(1), expected)
    close(image.filter(values.view(3, 5, 7).permute(1, 2, 0).contiguous().permute(2, 0, 1)).flatten(1), expected)
    half = image.filter(values.view(3, 5, 7).bfloat16())
    assert half.dtype == torch.bfloat16
    close(half.flatten(1), expected, 1e-2)
    close(PermutohedralLattice(features.t().contiguous().t()).filter(values), expected)


def mean_field_arguments(pixels: int, classes: int = 5) -> tuple[Tensor, list[Tensor], list[float]]:
    """Log-probabilities, the features of two filters, and their weights."""
    position, scores = random_pixels(2, classes, pixels, 6.0)
    color, _ = random_pixels(3, 1, pixels, 3.0)
    return (4 * scores).log_softmax(0), [position, torch.cat([position / 3, color])], [1.5, -0.7]


def test_mean_field_of_the_reference() -> None:
    scores, features, weights = mean_field_arguments(40)
    scores, features = scores.double(), [f.double() for f in features]
    kernels = [numpy_gaussian(f, torch.eye(40)) for f in features]
    for iterations in (0, 1, 4):
        expected = numpy_mean_field(scores, kernels, weights, iterations)
        close(mean_field(scores, features, weights, iterations, backend="reference"), expected, 1e-10)


@pytest.mark.parametrize("classes", [2, 8, 21, 25])
def test_mean_field_on_the_lattice(classes: int) -> None:
    scores, features, weights = mean_field_arguments(80, classes)
    kernels = [numpy_lattice(f, torch.eye(80)).T for f in features]
    for iterations in (0, 1, 4):
        expected = numpy_mean_field(scores, kernels, weights, iterations)
        close(mean_field(scores, features, weights, iterations, backend="numba"), expected)
    expected = numpy_mean_field(scores, kernels[1:], [3.0], 2)
    close(mean_field(scores, features[1:], [3.0], 2, backend="numba"), expected)


def test_mean_field_of_many_strips_is_the_equation_with_filters() -> None:
    scores, features, weights = mean_field_arguments(18_000, 4)
    filters = [PermutohedralLattice(f, "symmetric").filter for f in features]
    close(mean_field(scores, features, weights, 3), reference.mean_field(scores, filters, weights, 3))


def test_without_filters_or_iterations_the_probabilities_are_given_back() -> None:
    scores, features, weights = mean_field_arguments(30)
    for backend in ("numba", "reference"):
        with use_backend(backend):  # type: ignore[arg-type]
            close(mean_field(scores, features, weights, 0), scores.exp())
            close(mean_field(scores, [], [], 3), scores.exp())


def test_small_probabilities_are_exact() -> None:
    """With messages of weight 0 the result is the softmax of the scores."""
    scores = torch.stack([torch.zeros(800), torch.linspace(-80, -10, 800)]).log_softmax(0)
    marginals = mean_field(scores, [torch.arange(800.0)[None]], [0.0], 1, backend="numba")
    torch.testing.assert_close(marginals, scores.double().softmax(0).float(), rtol=2e-6, atol=0)


def test_extreme_scores_give_sure_marginals() -> None:
    scores, features, weights = mean_field_arguments(50)
    scores = (1e4 * scores).log_softmax(0)
    marginals = mean_field(scores, features, weights, 3)
    close(marginals.sum(0), torch.ones(50))
    assert torch.equal(marginals.argmax(0), scores.argmax(0))
    assert marginals.min() < 1e-37  # nothing is cut off at the end


def test_the_number_of_threads_changes_nothing(with_threads: Callable[..., list[Tensor]]) -> None:
    scores, features, weights = mean_field_arguments(30_000, 21)

    def run() -> list[Tensor]:
        filtered = PermutohedralLattice(features[1]).filter(scores)
        return [filtered, mean_field(scores, features, weights, 2)]

    one, *others = (with_threads(threads, run) for threads in (1, 2, 5))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_nothing_carries_a_gradient() -> None:
    scores, features, weights = mean_field_arguments(20)
    for tensor in (scores, *features):
        tensor.requires_grad_()
    for backend in ("numba", "reference"):
        with use_backend(backend):  # type: ignore[arg-type]
            assert not PermutohedralLattice(features[0]).filter(scores).requires_grad
            assert not mean_field(scores, features, weights, 1).requires_grad


def test_the_operator_is_registered_properly() -> None:
    scores, features, weights = mean_field_arguments(20)
    torch.library.opcheck(library.permutohedral_mean_field, (scores, features, weights, 2))


def test_compile_and_export_see_through_mean_field() -> None:
    scores, features, _ = mean_field_arguments(20)

    class Refine(torch.nn.Module):
        def forward(self, scores: Tensor, feature: Tensor) -> Tensor:
            return mean_field(scores, [feature], [2.0], 3).exp()

    expected = Refine()(scores, features[0])
    compiled = torch.compile(Refine(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(scores, features[0]), expected)
    exported = torch.export.export(Refine(), (scores, features[0]))
    torch.testing.assert_close(exported.module()(scores, features[0]), expected)


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        (torch.rand(2), {}, r"^features must be .*\(D, H, W\).*got .*\(2,\)"),
        (torch.rand(0, 4), {}, r"^features must be .*got .*\(0, 4\)"),
        (torch.rand(2, 0), {}, "^features must be .*at least one pixel"),
        (torch.ones(2, 3, dtype=torch.int64), {}, "^features must be .*floating-point.*got torch.int64"),
        (torch.tensor([[0.0, torch.nan]]), {}, "^features must be finite"),
        (torch.tensor([[0.0, torch.inf]]), {}, "^features must be finite"),
        (torch.rand(2, 3), {"normalization": "row"}, "^normalization must be one of .*got 'row'"),
        (torch.rand(2, 3), {"backend": "cuda"}, "^backend must be .*got 'cuda'"),
        (1e7 * torch.rand(5, 300), {}, "^features span .* lattice points, too many: .* larger bandwidths"),
    ],
)
def test_a_bad_lattice_is_named(features: Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PermutohedralLattice(features, **options)


def test_bad_values_are_named() -> None:
    lattice = PermutohedralLattice(torch.rand(2, 4, 5))
    with pytest.raises(ValueError, match=r"^values must be .*\(C, 4, 5\).*got .*\(3, 5, 4\)"):
        lattice.filter(torch.rand(3, 5, 4))
    with pytest.raises(ValueError, match=r"^values must be .*floating-point.*got torch.int64"):
        lattice.filter(torch.ones(3, 4, 5, dtype=torch.int64))


def test_bad_features_and_weights_of_a_mean_field_are_named() -> None:
    scores, features, weights = mean_field_arguments(20)
    run = partial(mean_field, scores, iterations=1)
    with pytest.raises(ValueError, match=r"^features\[1\] must have the pixels .*\(D, 20\), got \(2, 19\)"):
        run([features[0], features[0][:, 1:]], weights)
    with pytest.raises(ValueError, match=r"^features\[0\] must be finite"):
        run([features[0] * torch.nan, features[1]], weights)
    with pytest.raises(ValueError, match=r"^weights must be one per filter, 2, got 1$"):
        run(features, [1.0])


def test_under_autocast() -> None:
    features, values = random_pixels(3, 4, 200)
    scores, points, weights = mean_field_arguments(40)
    kernels = [numpy_gaussian(f, torch.eye(40)) for f in points]
    with torch.autocast("cpu", torch.bfloat16):
        close(PermutohedralLattice(features, backend="reference").filter(values), numpy_gaussian(features, values))
        marginals = mean_field(scores, points, weights, 2, backend="reference")
    close(marginals, numpy_mean_field(scores, kernels, weights, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [1e4, 1e7, 1e8, -1e7, 1e12])
@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_features_far_from_0(dimensions: int, offset: float, dtype: torch.dtype) -> None:
    """What float32 has left of them is filtered as well as ever."""
    features, values = random_pixels(dimensions, 3, 60)
    features = features.to(dtype) + offset
    close(PermutohedralLattice(features).filter(values), numpy_lattice(features, values), 5e-3)
    close(PermutohedralLattice(features, backend="reference").filter(values), numpy_gaussian(features, values))


@pytest.mark.parametrize("offset", [1e7, 1e8])
def test_mean_field_far_from_0(offset: float) -> None:
    scores, features, weights = mean_field_arguments(60)
    features = [f.double() + offset for f in features]
    for backend, kernel in (("numba", numpy_lattice), ("reference", numpy_gaussian)):
        expected = numpy_mean_field(scores, [kernel(f, torch.eye(60)).T for f in features], weights, 3)
        close(mean_field(scores, features, weights, 3, backend=backend), expected, 1e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize("spread", [1e5, 1e7, 1e8, 5e8])
def test_pixels_that_are_far_from_each_other_keep_their_values(spread: float) -> None:
    for backend in ("numba", "reference"):
        features, values = random_pixels(1, 2, 50, spread)
        lattice = PermutohedralLattice(features, "symmetric", backend)  # type: ignore[arg-type]
        close(lattice.filter(values), values, 1e-5)


@pytest.mark.parametrize("spread", [5e9, 1e15, 1e30, 3e38])
def test_features_that_are_too_far_from_each_other(spread: float) -> None:
    features, values = random_pixels(1, 2, 50, spread)
    message = r"^features must be finite and less than 1e\+09 standard deviations apart, got .*: .* larger bandwidths"
    with pytest.raises(ValueError, match=message):
        PermutohedralLattice(features)
    with pytest.raises(ValueError, match=message):
        mean_field(values.log_softmax(0), [features], [1.0], 1)
    # Within a compiled program, values are not looked at before.
    for bad in (features, torch.full_like(features, torch.nan)):
        with pytest.raises(ValueError, match=message):
            library.permutohedral_mean_field(values.log_softmax(0), [bad], [1.0], 1)


def test_without_numba_the_exact_sum_has_to_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is another algorithm, and takes a time that is quadratic."""
    monkeypatch.setitem(_backends._problems, "numba", "Numba cannot be imported (no such module)")
    features, values = random_pixels(2, 3, 20)
    message = 'backend "numba" cannot run: Numba cannot be imported .*"reference" runs everywhere'
    with pytest.raises(RuntimeError, match=message):
        PermutohedralLattice(features)
    with pytest.raises(RuntimeError, match=message):
        mean_field(values.log_softmax(0), [features], [1.0], 1)
    with use_backend("reference"):
        close(PermutohedralLattice(features).filter(values), numpy_gaussian(features, values))


class Calls(TorchDispatchMode):
    """Which of segaware's operators are called, and on which devices."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, set[str]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        if "segaware" in str(function):
            self.found.append((str(function), {t.device.type for t in tree_leaves(arguments) if isinstance(t, Tensor)}))
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_tensors_of_other_devices_take_the_lattice_too(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the device: such tensors have shapes and no numbers."""
    monkeypatch.setattr(op, "_check_features", lambda name, features: None)
    with FakeTensorMode(), Calls() as calls:
        scores, feature = torch.empty(3, 4, 5, device=device), torch.empty(2, 4, 5, device=device)
        for chosen in (None, "numba"):
            marginals = mean_field(scores, [feature], [1.0], 2, backend=chosen)  # type: ignore[arg-type]
            assert marginals.device.type == device and marginals.shape == scores.shape
    assert calls.found == [("segaware.permutohedral_mean_field.default", {"cpu"})] * 2
