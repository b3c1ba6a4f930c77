"""Values, such as flow and depth, are refined by medians."""

from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segaware import refine
from segaware.nn import BilateralFilter2d
from segaware.refining.kinds import Kind

HALVES = np.repeat([[0.0] * 15 + [1.0] * 17], 24, 0)
IMAGE = np.repeat(HALVES[..., None], 3, 2)
DEPTH = 2 + 5 * HALVES


@pytest.mark.parametrize("embedding", ["color", "fast"])
@pytest.mark.parametrize("coarse", [False, True])
def test_a_blurred_border_becomes_a_step(embedding: Any, coarse: bool) -> None:
    """What lies between the two depths is taken from neither side, and a mean would be of both."""
    depth = torch.from_numpy(DEPTH)[None, None, ::4, ::4]
    if not coarse:
        depth = F.interpolate(depth, (24, 32), mode="bilinear", align_corners=False)
    blurred = depth[0].numpy()
    np.testing.assert_array_equal(refine(IMAGE, blurred, kind="values", embedding=embedding)[0], DEPTH)


def test_colours_are_compared_as_the_embedding_is() -> None:
    """At stride 1 the filter on colours is the layer, and nothing comes after it."""
    values = np.random.default_rng(0).normal(size=(2, 24, 32)).astype(np.float32)
    layer = BilateralFilter2d(5, iterations=2, hardness=1.0, reduce="median")
    image, given = (torch.from_numpy(x).float()[None] for x in (IMAGE.transpose(2, 0, 1), values))
    expected = layer(given, 10 * image)[0].detach().numpy()
    options: dict[str, Any] = {"kernel_size": 5, "iterations": 2, "hardness": 1.0}
    np.testing.assert_array_equal(refine(IMAGE, values, "filter", "values", "color", **options), expected)
    np.testing.assert_array_equal(refine(IMAGE, values, layer, "values", "color"), expected)


def test_a_layer_that_takes_means_still_does() -> None:
    values = np.random.default_rng(0).normal(size=(24, 32)).astype(np.float32)
    values[2:5, 3:9] = np.nan
    refined = refine(IMAGE, values, BilateralFilter2d(5, hardness=0.0), "values", "color")
    window = values[8:13, 8:13]
    assert refined[10, 10] == pytest.approx(window.mean(), abs=1e-6)
    assert refined[3, 6] == pytest.approx(np.nanmean(values[1:6, 4:9]), abs=1e-6)


def test_one_unknown_channel_makes_a_pixel_unknown_and_it_is_filled() -> None:
    flow = np.stack([DEPTH, -DEPTH])
    flow[0, 10, 10] = np.nan
    refined = refine(IMAGE, flow, kind="values", embedding="color", hardness=10.0)
    np.testing.assert_array_equal(refined, [DEPTH, -DEPTH])


@pytest.mark.parametrize("kind", [kind for kind in get_args(Kind) if kind != "values"])
def test_a_median_is_for_values_alone(kind: Kind) -> None:
    with pytest.raises(ValueError, match=f"^method must reduce by 'mean' for {kind}"):
        refine(IMAGE, np.zeros((2, 24, 32), np.float32), BilateralFilter2d(3, reduce="median"), kind)
