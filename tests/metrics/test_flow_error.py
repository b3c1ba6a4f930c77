import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics import Metric

from segaware.metrics import paired_bootstrap
from segaware.metrics.flow_error import (
    AngularError,
    BoundaryEndPointError,
    EndPointError,
    FlAll,
    angular_error,
    end_point_error,
    fl_outliers,
    flow_error_sums,
    mean_flow_errors,
)


def vector(u: float, v: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor([u, v], dtype=dtype).reshape(2, 1, 1)


def flows(seed: int, shape: tuple[int, int] = (16, 22)) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, truth and where it is known. Blocks of motion, errors of some pixels, a tenth unknown."""
    generator = np.random.default_rng(seed)
    coarse = generator.normal(0, 20, (2, 2, 2))
    target = coarse.repeat(11, 1).repeat(11, 2)[:, : shape[0], : shape[1]] + generator.normal(0, 0.1, (2, *shape))
    prediction = target + generator.normal(0, 3, (2, *shape))
    valid = generator.random(shape) > 0.1
    return torch.from_numpy(prediction).float(), torch.from_numpy(target).float(), torch.from_numpy(valid)


def batch_of(count: int) -> tuple[Tensor, Tensor, Tensor]:
    predictions, targets, valids = zip(*map(flows, range(count)), strict=True)
    return torch.stack(predictions), torch.stack(targets), torch.stack(valids)


def angle_by_acos(a: np.ndarray, b: np.ndarray) -> float:
    a, b = np.append(a, 1.0), np.append(b, 1.0)
    return math.degrees(math.acos(a @ b / math.sqrt((a @ a) * (b @ b))))


def jumps(flow: np.ndarray, valid: np.ndarray) -> list[tuple[int, int]]:
    return [
        (row, column)
        for row, column in np.ndindex(valid.shape)
        for y, x in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
        if 0 <= y < valid.shape[0] and 0 <= x < valid.shape[1] and valid[row, column] and valid[y, x]
        if math.dist(flow[:, row, column], flow[:, y, x]) > 1
    ]


def loop_sums(prediction: Tensor, target: Tensor, valid: Tensor, distances: tuple[float, ...]) -> np.ndarray:
    predicted, true, known = prediction.double().numpy(), target.double().numpy(), valid.numpy()
    boundary = jumps(true, known)
    sums = np.zeros((4 + len(distances), 2))
    for pixel in map(tuple, np.argwhere(known)):
        guess, truth = predicted[(slice(None), *pixel)], true[(slice(None), *pixel)]
        error = math.dist(guess, truth)
        distance = min((math.dist(pixel, other) for other in boundary), default=math.inf)
        sums[:3] += [error, 1], [angle_by_acos(guess, truth), 1], [error > 3 and error / math.hypot(*truth) > 0.05, 1]
        for row, limit in enumerate(distances, start=3):
            if distance <= limit:
                sums[row] += error, 1
        if distance > distances[-1]:
            sums[-1] += error, 1
    return sums


@pytest.mark.parametrize("distances", [(1, 3, 6), (0,), (2.5, 100)])
def test_sums_equal_a_loop_over_pixels(distances: tuple[float, ...]) -> None:
    for seed in range(3):
        sums = flow_error_sums(*flows(seed), distances=distances)
        np.testing.assert_allclose(sums.numpy(), loop_sums(*flows(seed), distances), rtol=1e-9)
        assert sums.dtype == torch.float64
        assert 0 < sums[2, 0] < sums[2, 1], "some pixels are outliers and some are not"
        assert sums[3:-1, 1].diff().gt(0).all() and sums[-2:, 1].sum() == sums[0, 1]


def test_default_distances_are_5_10_and_20_pixels() -> None:
    target = torch.zeros(2, 1, 60)
    target[0, :, 30:] = 10.0  # pixels 29 and 30 are the boundary
    sums = flow_error_sums(target + 2, target, torch.ones(1, 60, dtype=torch.bool))
    assert sums[3:, 1].tolist() == [12, 22, 42, 18]
    torch.testing.assert_close(mean_flow_errors(sums)[3:], torch.full((4,), 8.0).sqrt().double())


def test_threshold_decides_what_a_boundary_is() -> None:
    prediction, target, valid = flows(0)
    assert flow_error_sums(prediction, target, valid, threshold=1000.0)[3:, 1].tolist() == [0, 0, 0, valid.sum()]


def test_images_of_a_batch_stay_apart() -> None:
    batch = batch_of(3)
    sums = flow_error_sums(*batch)
    assert sums.shape == (3, 7, 2)
    for image in range(3):
        torch.testing.assert_close(sums[image], flow_error_sums(*flows(image)), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("prediction", "target", "error", "angle"),
    [
        ((0, 0), (0, 0), 0, 0),
        ((1, 0), (0, 0), 1, 45),
        ((0, math.sqrt(3)), (0, 0), math.sqrt(3), 60),
        ((1, 0), (-1, 0), 2, 90),
        ((1, 0), (0, 1), math.sqrt(2), 60),
        ((3, 4), (0, 0), 5, math.degrees(math.atan(5))),
        ((1e6, 0), (-1e6, 0), 2e6, 180),
    ],
)
def test_cases_by_hand(
    prediction: tuple[float, float], target: tuple[float, float], error: float, angle: float
) -> None:
    a, b = vector(*prediction), vector(*target)
    assert end_point_error(a, b).item() == pytest.approx(error)
    for pair in ((a, b), (b, a)):
        assert angular_error(*pair).item() == pytest.approx(angle, abs=1.2e-4)


def test_tiny_angles_are_right_in_single_precision() -> None:
    # Rounding makes 1 - cos of these angles, 1e-9 and less, vanish.
    target = vector(3, 4, torch.float32)
    for step in (1e-3, 1e-4, 1e-5):
        prediction = target + step * vector(4, -3, torch.float32)
        expected = math.degrees(math.dist(prediction.flatten().tolist(), target.flatten().tolist()) / math.sqrt(26))
        assert angular_error(prediction, target).item() == pytest.approx(expected, rel=1e-3)
    assert angular_error(target * 1e4, target * 1e4).item() == 0.0


@pytest.mark.parametrize(
    ("length", "error", "outlier"),
    [(0, 2.99, False), (0, 3.01, True), (60, 3.01, True), (61, 3.01, False), (100, 4.99, False), (100, 5.01, True)],
)
def test_outliers_are_above_3_pixels_and_5_percent(length: float, error: float, outlier: bool) -> None:
    target = vector(0.6 * length, 0.8 * length)
    assert fl_outliers(target + vector(-0.8 * error, 0.6 * error), target).item() is outlier


def test_pixel_errors_take_any_leading_dimensions() -> None:
    prediction, target = torch.randn(2, 3, 4, 2, 5, 6, generator=torch.Generator().manual_seed(0)).unbind(0)
    for function in (end_point_error, angular_error, fl_outliers):
        errors = function(prediction, target)
        assert errors.shape == (3, 4, 5, 6)
        torch.testing.assert_close(errors[2, 1], function(prediction[2, 1], target[2, 1]))


METRICS: list[tuple[type[Metric], slice | int]] = [
    (EndPointError, 0),
    (AngularError, 1),
    (FlAll, 2),
    (BoundaryEndPointError, slice(3, None)),
]


@pytest.mark.parametrize(("metric", "rows"), METRICS)
def test_metric_weighs_every_pixel_alike(metric: type[Metric], rows: slice | int) -> None:
    batch = batch_of(3)
    batch[2][0, :, :18] = False  # images of different weight
    whole, left, right = metric(), metric(), metric()
    whole.update(*batch)
    left.update(*(images[0] for images in batch))
    left.update(*(images[1] for images in batch))
    right.update(*(images[2:] for images in batch))
    left.merge_state(right)  # as another process
    torch.testing.assert_close(left.compute(), whole.compute(), rtol=1e-12, atol=0, equal_nan=True)
    expected = mean_flow_errors(flow_error_sums(*batch).sum(0))[rows]
    torch.testing.assert_close(whole.compute(), expected, rtol=1e-12, atol=0, equal_nan=True)
    assert whole.compute().dtype == torch.float64


def test_boundary_metric_takes_distances_and_threshold() -> None:
    metric = BoundaryEndPointError(distances=(1, 4), threshold=15.0)
    metric.update(*flows(0))
    expected = mean_flow_errors(flow_error_sums(*flows(0), distances=(1, 4), threshold=15.0))[3:]
    torch.testing.assert_close(metric.compute(), expected, rtol=1e-12, atol=0)
    assert not torch.equal(expected, mean_flow_errors(flow_error_sums(*flows(0), distances=(1, 4)))[3:])


def test_metrics_that_saw_nothing_known_are_nan() -> None:
    prediction, target, valid = flows(0)
    for metric in (EndPointError(), AngularError(), FlAll(), BoundaryEndPointError()):
        metric.update(prediction, target, torch.zeros_like(valid))
        assert metric.compute().isnan().all()


@pytest.mark.parametrize("marker", [math.nan, math.inf, 1.1e9, -1e10])
def test_unknown_flow_is_left_out_of_every_score(marker: float) -> None:
    prediction, target, valid = flows(0)
    expected = flow_error_sums(prediction, target, valid)
    marked = torch.where(valid, target, marker)
    everywhere = torch.ones_like(valid)
    guess = torch.where(valid, prediction, math.nan)  # nothing that is predicted there is looked at
    assert torch.equal(flow_error_sums(guess, marked, everywhere), expected)
    for metric_type, rows in METRICS:
        metric = metric_type()
        metric.update(guess, marked, everywhere)
        torch.testing.assert_close(metric.compute(), mean_flow_errors(expected)[rows], rtol=0, atol=0, equal_nan=True)


def test_bootstrap_of_one_row() -> None:
    prediction, target, valid = batch_of(12)
    control = flow_error_sums(prediction, target, valid, distances=(1, 3))
    better = flow_error_sums(target + 0.9 * (prediction - target), target, valid, distances=(1, 3))
    interval = paired_bootstrap(better[:, 3], control[:, 3], mean_flow_errors, samples=200, seed=4, level=0.8)
    differences = []
    for times in np.random.default_rng(4).multinomial(12, [1 / 12] * 12, size=200):
        image = np.repeat(np.arange(12), times)
        total = [sums.numpy()[image, 3].sum(0) for sums in (better, control)]
        differences.append(total[0][0] / total[0][1] - total[1][0] / total[1][1])
    assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(differences, [10, 90])))
    assert interval.low < interval.difference < interval.high < 0
    assert interval.difference == pytest.approx(-0.1 * mean_flow_errors(control.sum(0))[3].item(), rel=1e-5)


FLOW = torch.zeros(2, 3, 4)
VALID = torch.ones(3, 4, dtype=torch.bool)
SHAPES = r"prediction and target must have the same shape \(..., 2, H, W\), got "


@pytest.mark.parametrize("function", [end_point_error, angular_error, fl_outliers])
@pytest.mark.parametrize("pair", [(FLOW, FLOW[:, :2]), (FLOW[:1], FLOW[:1]), (FLOW, FLOW[None]), (FLOW[0], FLOW[0])])
def test_other_shapes_are_refused(function: Callable[[Tensor, Tensor], Tensor], pair: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match=SHAPES):
        function(*pair)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((FLOW, FLOW[:, :2], VALID), SHAPES + r"\(2, 3, 4\) and \(2, 2, 4\)"),
        ((FLOW.permute(1, 2, 0), FLOW.permute(1, 2, 0), VALID), SHAPES + r"\(3, 4, 2\) and"),
        ((FLOW.long(), FLOW, VALID), "prediction must be floating point, got torch.int64"),
        ((FLOW, FLOW.long(), VALID), "flow must be floating point .* got torch.int64"),
        ((FLOW, FLOW, VALID[:2]), r"valid must be bool of shape \(3, 4\)"),
        ((FLOW, FLOW, VALID.float()), "valid must be bool .* got torch.float32"),
        ((FLOW + torch.tensor([1, 1, math.nan, math.inf]), FLOW, VALID), "prediction must be finite .* at 6 pixels"),
    ],
)
def test_bad_flow_is_named(arguments: tuple[Tensor, Tensor, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flow_error_sums(*arguments)
    for metric, _ in METRICS:
        with pytest.raises(ValueError, match=message):
            metric().update(*arguments)


@pytest.mark.parametrize("distances", [(), (-1, 5), (5, 5), (10, 5), (5, math.inf), (5, math.nan), (math.nan,)])
def test_bad_distances_are_named(distances: tuple[float, ...]) -> None:
    for call in (lambda: flow_error_sums(FLOW, FLOW, VALID, distances), lambda: BoundaryEndPointError(distances)):
        with pytest.raises(ValueError, match="distances must be strictly increasing, 0 or more and finite, got"):
            call()


def test_bad_threshold_and_bad_sums_are_named() -> None:
    with pytest.raises(ValueError, match="threshold must be 0 or more and finite, got -1"):
        BoundaryEndPointError(threshold=-1)
    with pytest.raises(ValueError, match="threshold must be"):
        flow_error_sums(FLOW, FLOW, VALID, threshold=-1)
    with pytest.raises(ValueError, match=r"sums must have shape \(..., 2\), got \(2, 3\)"):
        mean_flow_errors(torch.zeros(2, 3))
