"""segaware_upsample, joint bilateral upsampling over embeddings."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segaware.ops import segaware_upsample

from . import numpy_loops
from .random_windows import repeatable

sizes = st.tuples(st.integers(1, 5), st.integers(1, 5))
sides = st.tuples(st.floats(0, 1.5), st.floats(-2, 4))


def random_arguments(
    points: tuple[int, int], pixels: tuple[int, int], channels: int = 2, dim: int = 3, batch: int = 1
) -> list[Tensor]:
    """Values, the embeddings of pixels and of points, and a hardness."""
    shapes = ((batch, channels, *points), (batch, dim, *pixels), (batch, dim, *points))
    random = torch.Generator().manual_seed(0)
    return [
        *(torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes),
        torch.tensor(0.7).double(),
    ]


def test_worked_example() -> None:
    """The middle pixel lies between both points; its embedding is that of the first, 2 away from the second's."""
    values, pixels, points = (torch.tensor(row).view(1, 1, 1, -1) for row in ([1.0, 5], [0.0, 0, 2], [0.0, 2]))
    output = segaware_upsample(values, pixels, points, 0.5, radius=1, columns=(0.5, 0.0))
    mask = float(np.exp(-1))
    torch.testing.assert_close(output.flatten(), torch.tensor([1, (1 + 5 * mask) / (1 + mask), 5]))


@settings(repeatable, max_examples=60)
@given(sizes, sizes, st.integers(1, 3), sides, sides, st.sampled_from(["reference", "numba"]))
def test_numpy_loop(points: Any, pixels: Any, radius: int, rows: Any, columns: Any, backend: Any) -> None:
    *arguments, hardness = random_arguments(points, pixels, batch=2)
    loop = numpy_loops.segaware_upsample(*(a.numpy() for a in arguments), 0.7, radius, [rows, columns])
    output = segaware_upsample(*arguments, hardness, radius, rows, columns, backend=backend)
    torch.testing.assert_close(output, torch.from_numpy(loop), rtol=1e-7, atol=1e-7)  # places are rounded to 1e-9


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("pixels", [(20, 35), (13, 9), (3, 4), (5, 7), (1, 1)])
def test_hardness_0_is_bilinear_interpolation(pixels: tuple[int, int], backend: Any) -> None:
    values, embedding, coarse, _ = random_arguments((5, 7), pixels)
    embedding[0, 0, 0, 0] = torch.inf  # which is not looked at
    output = segaware_upsample(values, embedding, coarse, 0.0, radius=1, backend=backend)
    expected = F.interpolate(values, pixels, mode="bilinear", align_corners=False)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-8)
    corners = [((n - 1) / max(length - 1, 1), 0.0) for n, length in zip((5, 7), pixels, strict=True)]
    output = segaware_upsample(values, embedding, coarse, 0.0, 1, *corners, backend=backend)
    expected = F.interpolate(values, pixels, mode="bilinear", align_corners=True)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-8)


def test_points_on_every_fourth_pixel() -> None:
    values, embedding, coarse, _ = random_arguments((3, 4), (9, 13))
    output = segaware_upsample(values, embedding, coarse, 0.0, 1, (0.25, 0.0), (0.25, 0.0))
    expected = F.interpolate(values, (9, 13), mode="bilinear", align_corners=True)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("scale", [0.1, 1 / 8, 0.3])
def test_a_tile_is_a_part_of_the_image(scale: float, backend: Any) -> None:
    """Whatever is masked: hardness 100 leaves one point, be its tent ever so small."""
    values, embedding, coarse, _ = random_arguments((9, 9), (40, 30))
    side = scale, scale / 2 - 0.5
    whole = segaware_upsample(values, embedding, coarse, 100.0, 2, side, side, backend)
    for top, left in ((0, 7), (13, 10), (20, 1)):
        part, columns = (scale, side[1] + scale * top), (scale, side[1] + scale * left)
        tile = embedding[..., top : top + 11, left : left + 20]
        output = segaware_upsample(values, tile, coarse, 100.0, 2, part, columns, backend)
        torch.testing.assert_close(output, whole[..., top : top + 11, left : left + 20], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_a_pixel_far_from_all_takes_the_nearest(backend: Any) -> None:
    values, points = torch.tensor([[[[1.0, 2.0, 3.0]]]]), torch.tensor([[[[0.0, 1e4, 3e4]]]])
    output = segaware_upsample(values, torch.full((1, 1, 1, 6), 1e6), points, 5.0, radius=3, backend=backend)
    torch.testing.assert_close(output, torch.full((1, 1, 1, 6), 3.0))


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_gradcheck(radius: int, backend: Any) -> None:
    arguments = [a.requires_grad_() for a in random_arguments((3, 2), (4, 5))]
    side = (0.6, -0.4)
    assert torch.autograd.gradcheck(lambda *a: segaware_upsample(*a, radius, side, backend=backend), arguments)


def test_gradient_of_the_gradient() -> None:
    arguments = [a.requires_grad_() for a in random_arguments((2, 2), (2, 3), dim=2)]
    assert torch.autograd.gradgradcheck(lambda *a: segaware_upsample(*a, 1, backend="reference"), arguments)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_dtypes_under_autocast(dtype: torch.dtype, backend: Any) -> None:
    arguments = [a.to(dtype) for a in random_arguments((3, 4), (9, 11), channels=5)]
    with torch.autocast("cpu", torch.bfloat16):
        output = segaware_upsample(*arguments, backend=backend)
    assert output.dtype == dtype
    expected = segaware_upsample(*(a.double() for a in arguments), backend="reference")
    torch.testing.assert_close(output.double(), expected, rtol=torch.finfo(dtype).eps, atol=2e-6)


def test_one_image_is_a_batch_of_one() -> None:
    *arguments, hardness = random_arguments((3, 4), (9, 11))
    output = segaware_upsample(*(a[0] for a in arguments), hardness)
    assert output.shape == (2, 9, 11) and torch.equal(output, segaware_upsample(*arguments, hardness)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"embedding": torch.zeros(2, 4, 5, 6)},
            r"^embedding must have as many images as input, of shape \(1, 3, 2, 3",
        ),
        ({"embedding": torch.zeros(4, 5, 6)}, "^embedding must have as many images"),
        (
            {"coarse_embedding": torch.zeros(1, 4, 3, 3)},
            r"^coarse_embedding must be .*\(1, 4, 2, 3\), got .*\(1, 4, 3, 3",
        ),
        ({"coarse_embedding": torch.zeros(1, 3, 2, 3)}, r"^coarse_embedding must be .*\(1, 4, 2, 3\)"),
        ({"hardness": -1.0}, "^hardness must be finite and 0 or more, got -1.0"),
        ({"hardness": torch.tensor(-1.0)}, "^hardness must be finite and 0 or more, got values from -1"),
        ({"hardness": torch.ones(1)}, r"^hardness must be .*without dimensions, got torch.float32 of shape \(1,\)"),
        ({"radius": 0}, "^radius must be an int of at least 1, got 0"),
        ({"radius": 17}, "^radius must be an int of at most 16, got 17"),
        ({"radius": 1.0}, "^radius must be .*got 1.0"),
        ({"rows": (-1.0, 0.0)}, r"^rows must be .*scale of 0 or more and an offset, got \(-1.0, 0.0\)"),
        ({"rows": 2.0}, "^rows must be .*got 2.0"),
        ({"columns": (1.0, float("nan"))}, r"^columns must be .*got \(1.0, nan\)"),
        ({"columns": (1.0,)}, r"^columns must be .*got \(1.0,\)"),
        ({"backend": "cuda"}, "^backend must be .*got 'cuda'"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    good = {
        "input": torch.zeros(1, 3, 2, 3),
        "embedding": torch.zeros(1, 4, 5, 6),
        "coarse_embedding": torch.zeros(1, 4, 2, 3),
        "hardness": 1.0,
    }
    with pytest.raises(ValueError, match=message):
        segaware_upsample(**{**good, **arguments})
