"""The layer that upsamples along borders."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from segaware import export_onnx
from segaware.nn import SegAwareUpsample, upsample


def test_hardness_0_is_interpolation() -> None:
    values, embedding = torch.randn(2, 3, 4, 5), torch.randn(2, 6, 29, 36)
    output = SegAwareUpsample(1, hardness=0.0)(values, embedding)
    torch.testing.assert_close(output, F.interpolate(values, (29, 36), mode="bilinear"), rtol=1e-5, atol=1e-5)
    output = SegAwareUpsample(1, stride=8, hardness=0.0)(values, embedding)
    torch.testing.assert_close(output, upsample(values, 8, (29, 36)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stride", [None, 8])
def test_a_step_lies_where_that_of_the_embedding_does(stride: int | None) -> None:
    """Two regions, with a border 3 pixels beside that of bilinear interpolation."""
    image = torch.zeros(1, 1, 16, 64)
    image[..., 31:] = 1
    coarse = image[..., ::8, ::8] if stride else F.interpolate(image, (2, 8), mode="area")
    output = SegAwareUpsample(stride=stride, hardness=30.0)(coarse.round(), image)
    torch.testing.assert_close(output, image, rtol=0, atol=1e-3)


def test_hardness_is_learned_and_stays_positive() -> None:
    layer = SegAwareUpsample(hardness=0.0)
    values, embedding = torch.rand(1, 2, 3, 3), torch.rand(1, 4, 12, 12)
    layer(values, embedding).square().sum().backward()
    assert layer.hardness.grad is not None and layer.hardness.grad != 0
    with torch.no_grad():
        layer.hardness.fill_(-1.0)
    torch.testing.assert_close(layer(values, embedding), SegAwareUpsample(hardness=0.0)(values, embedding))


@pytest.mark.parametrize("stride", [None, 4])
def test_onnx_of_any_size(stride: int | None, tmp_path: Path) -> None:
    layer = SegAwareUpsample(stride=stride, hardness=0.5).eval()
    inputs = {"input": torch.rand(1, 3, 5, 7), "embedding": torch.rand(1, 4, 20, 28)}
    difference = export_onnx(layer, tmp_path / "layer.onnx", inputs)
    assert difference is not None and difference < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "layer.onnx")
    inputs = {"input": torch.rand(3, 3, 6, 2), "embedding": torch.rand(3, 4, 23, 8)}
    with torch.no_grad():
        expected = layer(**inputs)
    (output,) = session.run(None, {name: x.numpy() for name, x in inputs.items()})
    np.testing.assert_allclose(output, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 0}, "^radius must be .*got 0"),
        ({"stride": 0}, "^stride must be .*got 0"),
        ({"hardness": -1.0}, "^hardness must be .*got -1.0"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegAwareUpsample(**options)


def test_a_size_that_does_not_fit_the_stride() -> None:
    with pytest.raises(ValueError, match=r"^input must have size \(2, 3\) at stride 8, got \(2, 4\)"):
        SegAwareUpsample(stride=8)(torch.rand(1, 2, 2, 4), torch.rand(1, 2, 16, 20))
