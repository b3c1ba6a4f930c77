"""PairLoss, Eq. 1 and 2."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from segaware.nn import PairLoss

METRICS = ("l1", "sqeuclidean", "euclidean")


def loop_over_pairs(
    embedding: NDArray[Any],
    labels: NDArray[Any],
    *,
    alpha: float,
    beta: float,
    reach: tuple[int, int],
    dilations: tuple[int, ...],
    ignore_index: int,
    average: str,
    hinge: str,
    metric: str,
) -> float:
    """The loss from the text: every pixel with every neighbour up to `reach` steps away."""
    near, far = [], []
    steps = [s for s in product(range(-reach[0], reach[0] + 1), range(-reach[1], reach[1] + 1)) if s != (0, 0)]
    for (n, y, x), dilation, (dy, dx) in product(np.ndindex(labels.shape), dilations, steps):
        v, u = y + dilation * dy, x + dilation * dx
        if not (0 <= v < labels.shape[1] and 0 <= u < labels.shape[2]):
            continue
        if ignore_index in (labels[n, y, x], labels[n, v, u]):
            continue
        difference = np.abs(embedding[n, :, y, x] - embedding[n, :, v, u])
        squares = (difference**2).sum()
        distance = {"l1": difference.sum(), "sqeuclidean": squares, "euclidean": squares**0.5}[metric]
        same = labels[n, y, x] == labels[n, v, u]
        excess = max(distance - alpha if same else beta - distance, 0)
        (near if same else far).append(excess if hinge == "linear" else excess**2 / 2)
    if average == "pairs":
        return sum(near + far) / len(near + far)
    return sum(near) / len(near) + sum(far) / len(far)


def embedding_and_labels(size: tuple[int, int] = (7, 8)) -> tuple[Tensor, Tensor]:
    """Distances on both sides of both thresholds, three regions and some pixels without one."""
    random = np.random.default_rng(0)
    labels = torch.from_numpy(random.choice([0, 1, 2, 255], (2, *size), p=[0.6, 0.2, 0.1, 0.1]))
    return torch.from_numpy(random.normal(0, 0.5, (2, 3, *size))), labels


@pytest.mark.parametrize("average", ["near_far", "pairs"])
@pytest.mark.parametrize("hinge", ["linear", "squared"])
@pytest.mark.parametrize("metric", METRICS)
def test_numpy_loop(average: Any, hinge: Any, metric: Any) -> None:
    embedding, labels = embedding_and_labels()
    expected = loop_over_pairs(
        embedding.numpy(),
        labels.numpy(),
        alpha=0.5,
        beta=2.0,
        reach=(1, 1),
        dilations=(1, 2, 5),
        ignore_index=255,
        average=average,
        hinge=hinge,
        metric=metric,
    )
    loss = PairLoss(average=average, hinge=hinge, metric=metric)
    assert loss(embedding, labels).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("alpha", "beta", "kernel_size", "dilations", "ignore_index"),
    [(0.2, 1.0, 5, (1,), 2), (0.0, 0.7, (1, 3), (2, 1), 0), (1.0, 1.0, (3, 5), (7,), 255), (0.5, 3.0, 3, (1, 1), -1)],
)
def test_numpy_loop_with_other_options(
    alpha: float, beta: float, kernel_size: Any, dilations: tuple[int, ...], ignore_index: int
) -> None:
    embedding, labels = embedding_and_labels((8, 9))
    rows, columns = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    expected = loop_over_pairs(
        embedding.numpy(),
        labels.numpy(),
        alpha=alpha,
        beta=beta,
        reach=(rows // 2, columns // 2),
        dilations=dilations,
        ignore_index=ignore_index,
        average="near_far",
        hinge="linear",
        metric="l1",
    )
    loss = PairLoss(alpha, beta, kernel_size, dilations, ignore_index)
    assert loss(embedding, labels).item() == pytest.approx(expected)


def test_sums_and_counts() -> None:
    """A row 0, 0.75 | 2 with the border before the last pixel: both pairs are seen from both ends."""
    embedding, labels = torch.tensor([[[[0.0, 0.75, 2.0]]]]), torch.tensor([[[0, 0, 1]]])
    near, far, near_pairs, far_pairs = PairLoss(dilations=(1,)).sums(embedding, labels)
    assert (near.item(), far.item(), near_pairs.item(), far_pairs.item()) == (2 * 0.25, 2 * 0.75, 2, 2)


def test_nothing_to_pay_within_alpha_and_beyond_beta() -> None:
    labels = torch.zeros(1, 9, 9, dtype=torch.long)
    labels[..., 4:] = 1
    embedding = torch.stack([labels * 2.6, 0.3 * torch.rand(1, 9, 9)], dim=1)
    assert PairLoss()(embedding, labels) == 0
    assert PairLoss(beta=3.0)(embedding, labels) > 0
    assert PairLoss(alpha=0.1)(embedding, labels) > 0


def test_far_pairs_are_not_drowned() -> None:
    """An embedding that is the same everywhere costs beta, however few the pairs across a border."""
    labels = torch.zeros(1, 60, 60, dtype=torch.long)
    labels[:, :2, :2] = 1
    embedding = torch.zeros(1, 4, 60, 60)
    _, _, near_pairs, far_pairs = PairLoss().sums(embedding, labels)
    share = (far_pairs / (near_pairs + far_pairs)).item()
    assert 0 < share < 0.01
    assert PairLoss()(embedding, labels).item() == pytest.approx(2.0)
    assert PairLoss(average="pairs")(embedding, labels).item() == pytest.approx(2.0 * share)


@pytest.mark.parametrize("average", ["near_far", "pairs"])
@pytest.mark.parametrize("labels", [torch.full((1, 4, 5), 255), torch.zeros(1, 1, 1, dtype=torch.long)])
def test_no_pairs_cost_nothing_but_can_be_trained_on(labels: Tensor, average: Any) -> None:
    embedding = torch.randn(1, 2, *labels.shape[1:], requires_grad=True)
    loss = PairLoss(average=average)(embedding, labels)
    loss.backward()
    assert loss == 0
    assert embedding.grad is not None and not embedding.grad.any()


def test_a_pixel_without_a_label_has_no_say_and_no_gradient() -> None:
    embedding, labels = embedding_and_labels()
    unknown = (labels == 255)[:, None].expand_as(embedding)
    embedding.requires_grad_()
    loss = PairLoss()(embedding, labels)
    (gradient,) = torch.autograd.grad(loss, embedding)
    assert unknown.any() and not gradient[unknown].any()
    assert (gradient[~unknown] != 0).float().mean() > 0.9
    moved = torch.where(unknown, 100.0, embedding)
    assert PairLoss()(moved, labels) == loss


@pytest.mark.parametrize("hinge", ["linear", "squared"])
@pytest.mark.parametrize("metric", METRICS)
def test_gradient(hinge: Any, metric: Any) -> None:
    embedding, labels = embedding_and_labels((4, 5))
    loss = PairLoss(hinge=hinge, metric=metric, dilations=(1, 2))
    assert torch.autograd.gradcheck(lambda e: loss(e, labels), (embedding.requires_grad_(),))


def test_autograd_keeps_no_columns() -> None:
    embedding, labels = torch.randn(1, 64, 24, 24, requires_grad=True), torch.randint(0, 3, (1, 24, 24))
    storages: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    dilations = (1, 2, 5)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        PairLoss(dilations=dilations)(embedding, labels)
    kept = sum(t.untyped_storage().nbytes() for t in storages.values())
    columns = len(dilations) * 9 * embedding.numel() * embedding.element_size()
    assert 0 < kept < columns / 4


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("ignore_index", [255, -1])
def test_any_integer_labels_and_any_ignore_index(dtype: torch.dtype, ignore_index: int) -> None:
    embedding = torch.randn(1, 3, 6, 7)
    labels = torch.randint(0, 3, (1, 6, 7))
    expected = PairLoss()(embedding, labels)
    assert PairLoss(ignore_index=ignore_index)(embedding, labels.to(dtype)) == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(dtype: torch.dtype) -> None:
    embedding = (30 * torch.randn(1, 8, 40, 40)).to(dtype).requires_grad_()
    labels = torch.zeros(1, 40, 40, dtype=torch.long)
    loss = PairLoss()(embedding, labels)
    loss.backward()
    torch.testing.assert_close(loss, PairLoss()(embedding.detach().float(), labels), rtol=1e-2, atol=0)
    assert embedding.grad is not None and embedding.grad.isfinite().all()


@pytest.mark.parametrize(
    "labels",
    [
        torch.zeros(1, 5, 6),
        torch.zeros(5, 6, dtype=torch.long),
        torch.zeros(1, 1, 5, 6, dtype=torch.long),
        torch.zeros(1, 5, 5, dtype=torch.long),
        torch.zeros(2, 5, 6, dtype=torch.long),
    ],
)
def test_bad_labels_are_named(labels: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^labels must be integers of shape \(N, H, W\) = \(1, 5, 6\), got torch\."):
        PairLoss()(torch.zeros(1, 3, 5, 6), labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 2.5}, "alpha <= beta, got alpha=2.5, beta=2.0"),
        ({"alpha": -0.1}, "0 <= alpha.*got alpha=-0.1"),
        ({"kernel_size": 4}, "^kernel_size must be odd, got 4"),
        ({"kernel_size": (3, 2)}, r"^kernel_size must be odd, got \(3, 2\)"),
        ({"kernel_size": 0}, "^kernel_size must be .*got 0"),
        ({"dilations": ()}, "^dilations must name at least one"),
        ({"dilations": (1, 0)}, "^dilation must be .*got 0"),
        ({"average": "mean"}, "^average must be one of .*got 'mean'"),
        ({"hinge": "l1"}, "^hinge must be one of .*got 'l1'"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairLoss(**arguments)


def test_a_bad_metric_is_named() -> None:
    with pytest.raises(ValueError, match=r"^metric must be one of .*got 'l2'"):
        PairLoss(metric="l2")(torch.zeros(1, 3, 5, 6), torch.zeros(1, 5, 6, dtype=torch.long))  # type: ignore[arg-type]
