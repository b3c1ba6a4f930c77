import colorsys
import math

import numpy as np
import pytest
import torch

from segaware.viz.flow_colors import flow_colors, flow_legend


def wheel_by_hand():
    """The benchmark's wheel: one channel rises or falls along each arc, rounded towards the arc's beginning."""
    wheel = []
    for length, fixed, moving, rises in (
        (15, 0, 1, True),
        (6, 1, 0, False),
        (4, 1, 2, True),
        (11, 2, 1, False),
        (13, 2, 0, True),
        (6, 0, 2, False),
    ):
        for step in range(length):
            color = [0, 0, 0]
            color[fixed] = 255
            color[moving] = 255 * step // length if rises else 255 - 255 * step // length
            wheel.append(color)
    return wheel


def color_by_hand(u, v, max_norm):
    wheel = wheel_by_hand()
    position = (math.atan2(-v, -u) / math.pi + 1) / 2 * 54
    low, norm = int(position), math.hypot(u, v) / max_norm
    color = []
    for first, second in zip(wheel[low], wheel[(low + 1) % 55], strict=True):
        hue = (first + (position - low) * (second - first)) / 255
        color.append(255 * (1 - norm * (1 - hue) if norm <= 1 else 0.75 * hue))
    return color


def pixel(u, v, max_norm=None):
    return flow_colors(torch.tensor([u, v]).double().reshape(2, 1, 1), max_norm)[0, 0].tolist()


def test_every_pixel_equals_the_benchmark_s_rule():
    flow = torch.randn(2, 20, 30, generator=torch.Generator().manual_seed(0)) * 4
    picture = flow_colors(flow, max_norm=5.0)
    assert picture.shape == (20, 30, 3) and picture.dtype == np.uint8
    for y, x in np.ndindex(20, 30):
        expected = color_by_hand(*flow[:, y, x].tolist(), 5.0)
        assert (abs(picture[y, x] + 0.5 - np.array(expected)) <= 0.5 + 1e-6).all()  # cut off, not rounded
    assert 0.1 < (flow.norm(dim=0) > 5).float().mean() < 0.9


@pytest.mark.parametrize(
    ("u", "v", "hue"),
    [(1, 0, 0), (0, 1, 54), (-1, 0, 191), (0, -1, 261)],  # red, yellow, azure, violet; in degrees
)
def test_directions_by_hand(u, v, hue):
    color = pixel(u, v, 1.0)
    assert 360 * colorsys.rgb_to_hsv(*color)[0] == pytest.approx(hue, abs=2)
    assert max(color) == 255 and min(color) == 0


def test_saturation_grows_to_max_norm_and_then_it_darkens():
    assert pixel(0, 0, 8.0) == [255, 255, 255]
    assert pixel(2, 0, 8.0) == [255, 191, 191]
    assert pixel(6, 0, 8.0) == [255, 63, 63]
    assert pixel(8, 0, 8.0) == [255, 0, 0]
    assert pixel(8.001, 0, 8.0) == pixel(800, 0, 8.0) == [191, 0, 0]


def test_the_longest_known_motion_gets_the_full_color():
    flow = torch.tensor([[[1.0, 3.0, 4.0, 50.0]], [[0.0, 0.0, 0.0, 0.0]]])
    valid = torch.tensor([[True, True, True, False]])
    assert (flow_colors(flow, valid=valid)[:, :3] == flow_colors(flow, max_norm=4.0)[:, :3]).all()
    assert (flow_colors(flow) == flow_colors(flow, max_norm=50.0)).all()
    assert (flow_colors(torch.zeros(2, 3, 4)) == 255).all()


@pytest.mark.parametrize("marker", [math.nan, math.inf, -math.inf, 1.1e9, -1.7e9])
def test_unknown_pixels_are_black_and_change_nothing_else(marker):
    flow = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    flow[:, 0, 0] = flow[:, 1, 1] = 0  # so that neither is the longest
    expected = flow_colors(flow)
    valid = torch.ones(5, 6, dtype=torch.bool)
    valid[1, 1] = False
    flow[0, 0, 0] = marker
    picture = flow_colors(flow, valid=valid)
    assert (picture[0, 0] == 0).all() and (picture[1, 1] == 0).all()
    picture[0, 0], picture[1, 1] = expected[0, 0], expected[1, 1]
    assert (picture == expected).all()
    assert (flow_colors(flow * math.nan) == 0).all()


def test_flow_of_any_precision_and_without_pixels():
    flow = torch.randint(-9, 9, (2, 5, 6), generator=torch.Generator().manual_seed(0))
    expected = flow_colors(flow.double())
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        assert (flow_colors(flow.to(dtype).requires_grad_()) == expected).all()
    assert flow_colors(torch.zeros(2, 0, 4)).shape == (0, 4, 3)


@pytest.mark.parametrize("size", [64, 101])
def test_legend_is_the_wheel_of_the_same_colors(size):
    legend = flow_legend(size, max_norm=7.0)
    assert legend.shape == (size, size, 3) and legend.dtype == np.uint8
    offset = torch.arange(size) - (size - 1) / 2
    v, u = torch.meshgrid(offset, offset, indexing="ij")
    flow = torch.stack([u, v]) / ((size - 1) / 2) * 7
    inside = flow.norm(dim=0).numpy() < 6.999
    expected = flow_colors(flow, max_norm=7.0)
    lower = np.arange(size)[:, None] > size // 2 + 4  # below the scale and the number
    assert (abs(legend.astype(int) - expected)[inside & lower] <= 1).all()  # rounding before numbers are cut off
    assert (legend[flow.norm(dim=0).numpy() > 7.001] == 255).all()
    written = (abs(legend.astype(int) - expected) > 1).any(-1) & inside
    assert legend[written].min() == 0 and 30 < written.sum() < 0.25 * size**2


def test_legend_says_what_it_stands_for():
    legends = [flow_legend(96, max_norm) for max_norm in (3.0, 12.5, 12.51, 999.6, 1000.0, 99999.0)]
    assert (legends[1] == legends[2]).all()  # three digits
    assert (legends[3] == legends[4]).all()
    for a, b in ((0, 1), (1, 3), (4, 5)):
        assert (legends[a] != legends[b]).any()


FLOW = torch.zeros(2, 3, 4)
VALID = torch.ones(3, 4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: flow_colors(FLOW[:1]),
            r"flow must be a floating point tensor of shape \(2, H, W\), got .* \(1, 3, 4\)",
        ),
        (lambda: flow_colors(FLOW[None]), r"flow must .* \(1, 2, 3, 4\)"),
        (lambda: flow_colors(FLOW.long()), "flow must .* torch.int64"),
        (lambda: flow_colors(FLOW.numpy()), "flow must be a floating point tensor .* ndarray"),
        (lambda: flow_colors(FLOW, valid=VALID[:2]), r"valid must be a bool tensor of shape \(3, 4\), got .* \(2, 4\)"),
        (lambda: flow_colors(FLOW, valid=VALID.byte()), "valid must .* torch.uint8"),
        (lambda: flow_colors(FLOW, valid=VALID.numpy()), "valid must be a bool tensor .* ndarray"),
        (lambda: flow_colors(FLOW, 0.0), "max_norm must be positive and finite, got 0"),
        (lambda: flow_colors(FLOW, math.nan), "max_norm must .* got nan"),
        (lambda: flow_legend(96, -1.0), "max_norm must be positive and finite, got -1"),
        (lambda: flow_legend(96, math.inf), "max_norm must .* got inf"),
        (lambda: flow_legend(63, 1.0), "size must be at least 64, got 63"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
