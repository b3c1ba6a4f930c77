"""What all operators refuse, in one way: their tensors, their devices, their sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segaware import DenseCRF, SegAwareCRF, dense_crf
from segaware.nn import BilateralFilter2d, MultiscaleEndPointLoss, PairLoss, SegAwareConv2d, SegAwareUpsample
from segaware.ops import (
    PermutohedralLattice,
    attention_mask,
    correlation,
    embedding_distance,
    mean_field,
    segaware_conv2d,
    segaware_filter2d,
    segaware_median2d,
    segaware_upsample,
)
from segaware.ops.arguments import check_integer
from segaware.ops.window import Window

IMAGE, MASK, LOGITS = torch.rand(1, 4, 5, 6), torch.ones(1, 9, 5, 6), torch.randn(1, 3, 5, 6)
RGB, FLAT = torch.rand(1, 3, 5, 6), torch.randn(3, 5, 6)

# Every operator and layer as a function of its tensors, by their names.
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Tensor]]] = {
    "segaware_conv2d": (
        lambda **tensors: segaware_conv2d(**tensors, padding=1),
        {"input": IMAGE, "weight": torch.randn(2, 4, 3, 3), "mask": MASK, "bias": torch.zeros(2)},
    ),
    "segaware_filter2d": (
        lambda **tensors: segaware_filter2d(**tensors, kernel_size=3),
        {"input": IMAGE, "mask": MASK},
    ),
    "segaware_median2d": (
        lambda **tensors: segaware_median2d(**tensors, kernel_size=3),
        {"input": IMAGE, "mask": MASK},
    ),
    "embedding_distance": (lambda **tensors: embedding_distance(**tensors, kernel_size=3), {"embedding": IMAGE}),
    "segaware_upsample": (
        segaware_upsample,
        {
            "input": RGB[..., :2, :3],
            "embedding": IMAGE,
            "coarse_embedding": IMAGE[..., :2, :3],
            "hardness": torch.tensor(1.0),
        },
    ),
    "attention_mask": (attention_mask, {"distance": MASK, "hardness": torch.tensor(1.0)}),
    "correlation": (
        lambda **tensors: correlation(**tensors, max_displacement=1),
        {"input1": IMAGE, "input2": IMAGE},
    ),
    "PermutohedralLattice": (PermutohedralLattice, {"features": FLAT}),
    "PermutohedralLattice.filter": (PermutohedralLattice(FLAT).filter, {"values": FLAT}),
    "mean_field": (
        lambda log_probabilities, feature: mean_field(log_probabilities, [feature], [1.0], 2),
        {"log_probabilities": FLAT.log_softmax(0), "feature": FLAT},
    ),
    "dense_crf": (dense_crf, {"log_probabilities": LOGITS.log_softmax(1), "image": RGB}),
    "DenseCRF": (DenseCRF(), {"scores": LOGITS, "image": RGB}),
    "SegAwareConv2d": (SegAwareConv2d(4, 2, 3, padding=1), {"input": IMAGE, "embedding": RGB}),
    "SegAwareConv2d, distance": (SegAwareConv2d(4, 2, 3, padding=1), {"input": IMAGE, "distance": MASK}),
    "BilateralFilter2d": (BilateralFilter2d(3), {"input": IMAGE, "embedding": RGB}),
    "BilateralFilter2d, distance": (BilateralFilter2d(3), {"input": IMAGE, "distance": MASK}),
    "SegAwareUpsample": (SegAwareUpsample(), {"input": RGB[..., :2, :3], "embedding": IMAGE}),
    "SegAwareCRF": (SegAwareCRF(3, 3), {"logits": LOGITS, "embedding": RGB}),
    "SegAwareCRF, distance": (SegAwareCRF(3, 3), {"logits": LOGITS, "distance": MASK}),
    "PairLoss": (PairLoss(), {"embedding": IMAGE, "labels": torch.zeros(1, 5, 6, dtype=torch.long)}),
    "MultiscaleEndPointLoss": (
        lambda flow, target, valid: MultiscaleEndPointLoss()({1: flow}, target, valid),
        {"flow": RGB[:, :2], "target": RGB[:, :2], "valid": torch.ones(1, 5, 6, dtype=torch.bool)},
    ),
}
ARGUMENTS = [(call, name) for call, (_, tensors) in CALLS.items() for name in tensors]
NAMES = {"feature": r"features\[0\]", "flow": r"flows\[1\]"}  # what an error calls those

NO_TENSORS: dict[str, Callable[[Tensor], Any]] = {
    "ndarray": Tensor.numpy,
    "list": Tensor.tolist,
    "str": str,
    "NoneType": lambda tensor: None,
}
NOT_DENSE: dict[str, Callable[[Tensor], Tensor]] = {
    "sparse_coo": Tensor.to_sparse,
    "nested": lambda tensor: torch.nested.nested_tensor([tensor, tensor]),
    "mkldnn": lambda tensor: tensor.float().to_mkldnn(),
}
WRONG_TYPES: dict[str, Callable[[Tensor], Tensor]] = {
    "torch.float8_e4m3fn": lambda tensor: tensor.to(torch.float8_e4m3fn),
    "torch.float8_e5m2": lambda tensor: tensor.to(torch.float8_e5m2),
    "torch.complex64": lambda tensor: tensor.to(torch.complex64),
    "torch.quint8": lambda tensor: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.quint8),
}


def call_with(call: str, name: str, change: Callable[[Tensor], Any]) -> Any:
    function, tensors = CALLS[call]
    return function(**{**tensors, name: change(tensors[name])})


@pytest.mark.parametrize("kind", NO_TENSORS)
@pytest.mark.parametrize(("call", "name"), ARGUMENTS)
def test_what_is_no_tensor_is_named(call: str, name: str, kind: str) -> None:
    if name == "hardness" or (kind == "NoneType" and name in ("bias", "embedding", "distance")):
        pytest.skip("may be a number, or missing")
    with pytest.raises(TypeError, match=rf"^{NAMES.get(name, name)} must be .*, got {kind}$"):
        call_with(call, name, NO_TENSORS[kind])


@pytest.mark.filterwarnings("ignore:.*nested tensors")
@pytest.mark.parametrize("kind", NOT_DENSE)
@pytest.mark.parametrize(("call", "name"), ARGUMENTS)
def test_a_tensor_that_is_not_dense_is_named(call: str, name: str, kind: str) -> None:
    if kind == "mkldnn" and CALLS[call][1][name].dim() == 0:
        pytest.skip("has none of a scalar")
    with pytest.raises(ValueError, match=rf"^{NAMES.get(name, name)} must be .*, got .*{kind}.*not dense"):
        call_with(call, name, NOT_DENSE[kind])


@pytest.mark.filterwarnings("ignore:torch.ao.quantization", "ignore:.*quantize")
@pytest.mark.parametrize("kind", WRONG_TYPES)
@pytest.mark.parametrize(("call", "name"), ARGUMENTS)
def test_a_type_that_is_not_computed_in_is_named(call: str, name: str, kind: str) -> None:
    with pytest.raises(ValueError, match=rf"^{NAMES.get(name, name)} must be .*, got {kind}"):
        call_with(call, name, WRONG_TYPES[kind])


@pytest.mark.parametrize(
    ("call", "name"), [pair for pair in ARGUMENTS if pair[0] not in ("PermutohedralLattice", "embedding_distance")]
)
def test_tensors_on_two_devices_are_both_named(call: str, name: str) -> None:
    with pytest.raises(
        ValueError, match=r"^(.+) and (.+) must be on the same device, got \1 on .* and \2 on "
    ) as error:
        call_with(call, name, lambda tensor: tensor.to("meta"))
    assert re.search(NAMES.get(name, name), str(error.value))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        pair
        for pair in ARGUMENTS
        if pair[1] in ("input", "logits", "scores", "embedding", "log_probabilities", "input1")
    ],
)
@pytest.mark.parametrize("side", [-3, -2, -1])
def test_an_image_without_channels_or_pixels_is_named(call: str, name: str, side: int) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must (be|have) .*(\(|, )0(,|\))"):
        call_with(call, name, lambda tensor: tensor.narrow(side, 0, 0))


def test_no_filters_are_named() -> None:
    for weight, image in ((torch.zeros(0, 4, 3, 3), IMAGE), (torch.zeros(2, 0, 3, 3), IMAGE[:, :0])):
        with pytest.raises(ValueError, match=r"^(weight|input) must have .*got .*0"):
            segaware_conv2d(image, weight, MASK, padding=1)


@pytest.mark.parametrize("hardness", [-1.0, math.inf, math.nan, 1e31, None, "1", True])
def test_a_hardness_that_is_no_number_is_named(hardness: Any) -> None:
    for call in (lambda: attention_mask(MASK, hardness), lambda: BilateralFilter2d(3, hardness=hardness)):
        with pytest.raises(ValueError, match=r"^hardness must be finite and 0 or more, got "):
            call()


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_hardness_tensor_with_a_bad_value_is_named(value: float) -> None:
    for shape in ((), (1, 9, 1, 1)):
        hardness = torch.zeros(shape)
        hardness.view(-1)[-1] = value
        with pytest.raises(ValueError, match=r"^hardness must be finite and 0 or more, got values from "):
            attention_mask(MASK, hardness)


@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (1, 9, 5, 7), (1, 1, 9, 5, 6), (2,), (0,)])
def test_a_hardness_that_would_enlarge_the_mask_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^hardness must be .*broadcasts to the shape of distance, \(1, 9, 5, 6\)"):
        attention_mask(MASK, torch.zeros(shape))


INTEGERS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "kernel_size": (lambda n: Window.of(n), 3),
    "stride": (lambda n: Window.of(3, stride=n), 2),
    "padding": (lambda n: Window.of(3, padding=(n, n)), 1),
    "dilation": (lambda n: Window.of(3, dilation=n), 2),
    "groups": (lambda n: segaware_conv2d(IMAGE, torch.ones(2, 2, 3, 3), MASK, padding=1, groups=n).sum(), 2),
    "iterations": (lambda n: segaware_filter2d(IMAGE, MASK, 3, iterations=n).sum(), 2),
    "max_displacement": (lambda n: correlation(IMAGE, IMAGE, n).sum(), 1),
    "SegAwareCRF": (lambda n: repr(SegAwareCRF(n, 3, iterations=n)), 2),
    "DenseCRF": (lambda n: repr(DenseCRF(iterations=n)), 2),
    "SegAwareConv2d": (lambda n: repr(SegAwareConv2d(n, n, n, n, n, n)), 2),
    "mean_field": (lambda n: mean_field(FLAT, [FLAT], [1.0], n).sum(), 2),
}


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.array])
@pytest.mark.parametrize("name", INTEGERS)
def test_integers_of_numpy_are_integers(name: str, kind: Callable[[int], Any]) -> None:
    function, number = INTEGERS[name]
    assert function(kind(number)) == function(number)


@pytest.mark.parametrize("value", [np.bool_(True), True, torch.tensor(3), 3.0, np.float64(3), "3", None, np.array([3])])
def test_what_is_no_integer_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^count must be an int of at least 1, got "):
        check_integer("count", value, 1)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda n: embedding_distance(IMAGE, n, padding="same"), "kernel_size"),
        (lambda n: embedding_distance(IMAGE, 3, stride=n, padding=1), "stride"),
        (lambda n: embedding_distance(IMAGE, 3, padding=n), "padding"),
        (lambda n: embedding_distance(IMAGE, 3, dilation=n), "dilation"),
        (lambda n: segaware_filter2d(IMAGE, MASK, 3, iterations=n), "iterations"),
        (lambda n: correlation(IMAGE, IMAGE, n), "max_displacement"),
        (lambda n: mean_field(FLAT, [FLAT], [1.0], n), "iterations"),
        (lambda n: SegAwareCRF(n), "num_classes"),
        (lambda n: SegAwareCRF(3, 3, iterations=n), "iterations"),
        (lambda n: SegAwareConv2d(3, 3, n), "kernel_size"),
        (lambda n: BilateralFilter2d(n), "kernel_size"),
    ],
)
@pytest.mark.parametrize("size", [10**12, 10**30, 1e12, math.inf, math.nan])
def test_a_size_beyond_sense_is_named(call: Callable[[Any], Any], name: str, size: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must (be|have) .*got"):
        call(size)


@pytest.mark.parametrize("padding", [10**5, 10**9])
def test_an_output_beyond_memory_is_refused(padding: int) -> None:
    with pytest.raises(ValueError, match=r"kernel_size \(3, 3\) with padding .* has 9 taps at .* pixels"):
        embedding_distance(IMAGE, 3, padding=padding)


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("kernel_size", [3, 2, (4, 1)])
@pytest.mark.parametrize("near", [12, 13])
def test_taps_far_outside_cost_nothing(kernel_size: Any, near: int, backend: Any) -> None:
    def results(dilation: int) -> list[Tensor]:
        window = Window.of(kernel_size, padding="same", dilation=dilation)
        image = IMAGE.clone().requires_grad_()
        distance = embedding_distance(image, kernel_size, padding="same", dilation=dilation, backend=backend)
        generator = torch.Generator().manual_seed(0)
        mask = torch.rand(1, window.size, 5, 6, generator=generator, requires_grad=True)
        weight = torch.rand(2, 4, *window.kernel_size, generator=generator, requires_grad=True)
        zero = segaware_filter2d(image, mask, kernel_size, dilation, border="zero", backend=backend)
        convolved = segaware_conv2d(
            image, weight, mask, padding="same", dilation=dilation, backend=backend, normalize="sum"
        )
        gradients = torch.autograd.grad((distance.sum() + zero.sum() + convolved.sum()), (image, mask, weight))
        return [distance, zero, convolved, *gradients]

    for far, expected in zip(results(2**20), results(near), strict=True):  # all taps but the middle one are outside
        torch.testing.assert_close(far, expected, equal_nan=True)


def test_layers_with_a_far_dilation() -> None:
    far, near = 2**30, 7
    labels = torch.arange(30).view(1, 5, 6) % 2
    assert PairLoss(dilations=[far])(IMAGE, labels) == PairLoss(dilations=[near])(IMAGE, labels)
    crf, other = SegAwareCRF(3, 3, dilation=far), SegAwareCRF(3, 3, dilation=near)
    torch.testing.assert_close(crf(LOGITS, RGB), other(LOGITS, RGB))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("call", ["SegAwareCRF", "SegAwareCRF, distance", "DenseCRF", "mean_field", "dense_crf"])
def test_unaries_that_are_not_finite_are_named(call: str, value: float) -> None:
    name = next(iter(CALLS[call][1]))
    with pytest.raises(ValueError, match=rf"^{name} must be finite"):
        call_with(call, name, lambda tensor: tensor.index_fill(-1, torch.tensor(2), value))


def test_features_that_make_no_finite_mask_are_named() -> None:
    embedding = RGB.index_fill(-1, torch.tensor(2), 1e30)
    with pytest.raises(ValueError, match=r"^embedding must have differences whose distances are finite"):
        SegAwareCRF(3, 3, dilation=1, metric="sqeuclidean")(LOGITS, embedding * torch.rand(1, 3, 5, 6))
    with pytest.raises(ValueError, match=r"^embedding must be finite"):
        SegAwareCRF(3, 3, dilation=1)(LOGITS, embedding * math.nan)


@pytest.mark.parametrize("weights", [[math.nan], [math.inf], [1e38], ["1"], [None]])
def test_weights_of_a_mean_field_are_finite_numbers(weights: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"^weights must be finite numbers"):
        mean_field(FLAT, [FLAT], weights, 2)


@pytest.mark.parametrize("iterations", [-1, -(10**9), 1.5, True, None])
def test_a_mean_field_has_a_number_of_iterations(iterations: Any) -> None:
    with pytest.raises(ValueError, match=r"^iterations must be an int of at least 0, got "):
        mean_field(FLAT, [FLAT], [1.0], iterations)
