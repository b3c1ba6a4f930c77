"""The kernel of neighbour_mask_ against a softmax."""

import math

import pytest
import torch
from torch import Tensor

from segaware import use_backend
from segaware.ops.neighbour_mask.library import neighbour_mask_
from segaware.ops.neighbour_mask.op import neighbour_mask

pytestmark = pytest.mark.usefixtures("uninitialised_is_nan")


def random_arguments(batch: int, kernel_size: tuple[int, int], height: int, width: int) -> tuple[Tensor, ...]:
    """Distances, a hardness, and what belongs to rows and columns of taps."""
    random = torch.Generator().manual_seed(0)
    distance = 9 * torch.rand(batch, math.prod(kernel_size), height, width, generator=random)
    rows, columns = (-3 * torch.rand(k, n, generator=random) for k, n in zip(kernel_size, (height, width), strict=True))
    return distance, torch.tensor(1.7), rows, columns


def masked(distance: Tensor, hardness: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    mask = distance.clone()
    neighbour_mask_(mask, hardness, rows, columns, "numba")
    return mask


def expected_mask(distance: Tensor, hardness: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    scores = rows.double()[:, None, :, None] + columns.double()[:, None]
    score = scores.flatten(0, 1) - hardness.double() * distance.double()
    score[:, score.shape[1] // 2] = -math.inf
    return score.softmax(1)


@pytest.mark.parametrize(
    ("batch", "kernel_size", "height", "width"),
    [(1, (3, 3), 1, 1), (2, (3, 5), 5, 17), (1, (1, 3), 4, 40), (2, (13, 13), 9, 70), (0, (3, 3), 4, 5)],
)
def test_it_is_a_softmax_but_for_a_factor(batch: int, kernel_size: tuple[int, int], height: int, width: int) -> None:
    arguments = random_arguments(batch, kernel_size, height, width)
    mask, expected = masked(*arguments), expected_mask(*arguments)
    torch.testing.assert_close(mask.double() / mask.double().sum(1, keepdim=True), expected, rtol=2e-6, atol=1e-9)
    assert not mask[:, mask.shape[1] // 2].any() and mask.amax(1).eq(1).all()


def test_scores_of_any_size() -> None:
    """The highest counts, even where all are far below the range of an exponential, or all taps are outside."""
    distance, _, rows, columns = random_arguments(1, (3, 3), 5, 20)
    rows[:2] = columns[:2] = torch.finfo(torch.float32).min / 4
    for hardness in (0.0, 1e4, 1e30):
        mask = masked(distance, torch.tensor(hardness), rows, columns)
        assert mask.isfinite().all() and mask.amax(1).eq(1).all() and mask.amin().ge(0)
    assert mask.sum(1).sub(1).abs().max() < 1e-6  # at the last, hardest one


def test_nan_stays() -> None:
    distance, *others = random_arguments(1, (3, 3), 5, 20)
    distance[0, 2, 3, 4] = math.nan
    mask = masked(distance, *others)
    assert mask[0, 2, 3, 4].isnan() and not mask[..., :3, :].isnan().any()


def test_the_number_of_threads_changes_nothing(with_threads) -> None:  # type: ignore[no-untyped-def]
    arguments = random_arguments(2, (5, 5), 70, 41)
    one, *others = (with_threads(threads, lambda: [masked(*arguments)])[0] for threads in (1, 2, 5))
    assert all(torch.equal(one, other) for other in others)


def test_the_operator_is_registered_properly() -> None:
    torch.library.opcheck(neighbour_mask_, (*random_arguments(1, (3, 3), 4, 5), "numba"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_backend_that_cannot_run_is_an_error_where_there_is_no_kernel_too(dtype: torch.dtype) -> None:
    distance, *others = (t.to("meta", dtype) for t in random_arguments(1, (3, 3), 4, 5))
    with use_backend("numba"), pytest.raises(RuntimeError, match='"numba" cannot run: it runs on CPU tensors'):
        neighbour_mask(distance, *others, overwrite=False)
