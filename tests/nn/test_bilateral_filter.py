"""BilateralFilter2d, Eq. 4 as a layer."""

import copy
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from segaware.nn import BilateralFilter2d

from ..ops import numpy_loops


@pytest.mark.parametrize(
    ("kernel_size", "dilation", "iterations"), [(3, 1, 1), (5, 1, 2), ((3, 5), 2, 1), (2, 1, 3), (1, 1, 1)]
)
def test_numpy_loop(kernel_size: Any, dilation: int, iterations: int) -> None:
    scores, embedding = torch.randn(2, 3, 6, 7).double(), torch.randn(2, 4, 6, 7).double()
    layer = BilateralFilter2d(kernel_size, dilation, iterations, hardness=0.5)
    distance = numpy_loops.embedding_distance(embedding.numpy(), kernel_size, "l1", padding="same", dilation=dilation)
    mask = np.exp(-0.5 * distance)
    expected = numpy_loops.segaware_filter2d(scores.numpy(), mask, kernel_size, dilation, iterations, "exclude")
    torch.testing.assert_close(layer(scores, embedding), torch.from_numpy(expected))
    assert torch.equal(layer(scores, distance=layer.distance(embedding)), layer(scores, embedding))


def test_worked_example_with_the_defaults() -> None:
    """Across the border the weight is exp(-1); taps outside the image do not count."""
    step, across = torch.tensor([[[[0.0, 0.0, 1.0]]]]), math.exp(-1)
    output = BilateralFilter2d((1, 3))(step, step)
    assert output.flatten().tolist() == pytest.approx([0, across / (2 + across), 1 / (1 + across)])


def test_a_negative_parameter_acts_as_0() -> None:
    scores, embedding = torch.randn(1, 2, 6, 7), torch.randn(1, 4, 6, 7)
    layer = BilateralFilter2d(3)
    with torch.no_grad():
        layer.hardness.fill_(-1)
    torch.testing.assert_close(layer(scores, embedding), BilateralFilter2d(3, hardness=0)(scores, embedding))


def test_numpy_loop_of_medians() -> None:
    values, embedding = torch.randn(2, 3, 6, 7).double(), torch.randn(2, 4, 6, 7).double()
    layer = BilateralFilter2d((3, 5), 2, iterations=2, hardness=0.5, reduce="median")
    distance = numpy_loops.embedding_distance(embedding.numpy(), (3, 5), "l1", padding="same", dilation=2)
    expected = numpy_loops.segaware_median2d(values.numpy(), np.exp(-0.5 * distance), (3, 5), 2, 2, 0.1)
    assert torch.equal(layer(values, embedding), torch.from_numpy(expected))


@pytest.mark.parametrize("hardness", [0.0, 0.5])
def test_gradient_reaches_hardness_and_embedding(hardness: float) -> None:
    scores, embedding = torch.randn(1, 2, 6, 7), torch.randn(1, 4, 6, 7, requires_grad=True)
    layer = BilateralFilter2d(3, iterations=2, hardness=hardness)
    output = layer(scores, embedding)
    target = BilateralFilter2d(3, iterations=2, hardness=0.25)(scores, embedding).detach()
    (output - target).square().sum().backward()
    assert layer.hardness.grad is not None and embedding.grad is not None
    assert torch.sign(layer.hardness.grad).item() == (-1 if hardness == 0 else 1)
    assert bool(embedding.grad.abs().sum() > 0) == (hardness > 0)


def test_hardness_is_the_only_parameter_and_is_copied_and_saved() -> None:
    layer, other = BilateralFilter2d(3, hardness=0.7), BilateralFilter2d(3)
    assert set(layer.state_dict()) == {"hardness"}
    other.load_state_dict(layer.state_dict())
    assert other.hardness.item() == copy.deepcopy(layer).hardness.item() == layer.hardness.item()


def test_repr() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = repr(BilateralFilter2d((3, 5), dilation=2, iterations=4, hardness=0.25))
    assert text == "BilateralFilter2d(kernel_size=(3, 5), dilation=(2, 2), iterations=4, hardness=0.25)"
    assert repr(BilateralFilter2d(3, reduce="median")).endswith("hardness=1, reduce='median')")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 0}, "^kernel_size must be .*got 0"),
        ({"kernel_size": 2.5}, "^kernel_size must be .*got 2.5"),
        ({"dilation": 0}, "^dilation must be .*got 0"),
        ({"iterations": 0}, "^iterations must be .*got 0"),
        ({"iterations": True}, "^iterations must be .*got True"),
        ({"iterations": 1.5}, "^iterations must be .*got 1.5"),
        ({"hardness": -0.5}, "^hardness must be .*got -0.5"),
        ({"reduce": "mode"}, "^reduce must be one of .*got 'mode'"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BilateralFilter2d(**{"kernel_size": 3, **arguments})


def test_neither_or_both_of_embedding_and_distance_is_named() -> None:
    layer, scores = BilateralFilter2d(3), torch.zeros(1, 2, 6, 7)
    with pytest.raises(ValueError, match="either an embedding or a distance"):
        layer(scores)
    with pytest.raises(ValueError, match="either an embedding or a distance"):
        layer(scores, scores, distance=layer.distance(scores))


def test_an_embedding_of_another_size_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(1, 9, 6, 7\).*got .*\(1, 9, 6, 6\)"):
        BilateralFilter2d(3)(torch.zeros(1, 2, 6, 7), torch.zeros(1, 2, 6, 6))
