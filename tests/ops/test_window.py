"""Window slides exactly as torch.nn.functional.conv2d does."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given

from segaware.ops.window import Window

from .random_windows import RandomWindow, random_windows, repeatable


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@repeatable
@given(random_windows())
def test_taps_are_what_conv2d_sees(random_window: RandomWindow) -> None:
    kernel_size, geometry, image_size = random_window
    window = Window.of(kernel_size, **geometry)
    image = torch.randn(2, 1, *image_size, dtype=torch.float64)
    one_filter_per_tap = torch.eye(window.size, dtype=torch.float64).view(-1, 1, *kernel_size)
    expected = F.conv2d(image, one_filter_per_tap, **geometry)

    padded = window.pad(image)
    assert window.output_size(image) == tuple(expected.shape[-2:])
    torch.testing.assert_close(torch.cat([window.view(padded, tap) for tap in window.taps()], dim=1), expected)


def test_taps_come_in_the_order_of_unfold() -> None:
    image = torch.arange(20.0).view(1, 1, 4, 5)
    window = Window.of((2, 3), stride=(1, 2), padding=(0, 1))
    padded = window.pad(image)
    columns = torch.stack([window.view(padded, tap) for tap in window.taps()], dim=1)
    torch.testing.assert_close(columns.flatten(3)[:, :, 0], F.unfold(image, (2, 3), stride=(1, 2), padding=(0, 1)))


@pytest.mark.parametrize(
    ("kernel_size", "size", "centre"), [(1, 1, (0, 0)), (3, 9, (1, 1)), ((2, 4), 8, (1, 2)), ((5, 1), 5, (2, 0))]
)
def test_size_and_centre(kernel_size: Any, size: int, centre: tuple[int, int]) -> None:
    window = Window.of(kernel_size)
    assert (window.size, window.centre) == (size, centre)


def test_a_view_copies_nothing() -> None:
    image = torch.zeros(1, 2, 5, 5)
    window = Window.of(3)
    window.view(image, (2, 1)).fill_(7)
    assert image[0, 0].tolist() == [[0] * 5, [0] * 5, *[[0, 7, 7, 7, 0]] * 3]


@pytest.mark.parametrize("argument", ["kernel_size", "stride", "padding", "dilation"])
@pytest.mark.parametrize("value", [-1, 1.0, (1, 2, 3), (1, -1), (1.0, 1), True, (True, 1), None])
def test_a_bad_pair_is_named(argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{argument} must be an int or a pair of ints.*got "):
        Window.of(**{"kernel_size": 3, argument: value})


@pytest.mark.parametrize("argument", ["kernel_size", "stride", "dilation"])
def test_zero_is_named(argument: str) -> None:
    with pytest.raises(ValueError, match=rf"^{argument} must be .* at least 1, got 0"):
        Window.of(**{"kernel_size": 3, argument: 0})


def test_an_unknown_padding_is_named() -> None:
    with pytest.raises(ValueError, match=r'^padding must be .*"same" or "valid", got \'reflect\''):
        Window.of(3, padding="reflect")  # type: ignore[arg-type]


def test_same_padding_with_a_stride_is_named() -> None:
    with pytest.raises(ValueError, match=r'^padding="same" needs stride 1, got stride \(1, 2\)'):
        Window.of(3, stride=(1, 2), padding="same")


def test_a_window_that_does_not_fit_is_named() -> None:
    window = Window.of((3, 4), padding=1, dilation=2)
    assert window.output_size(torch.zeros(1, 1, 3, 5)) == (1, 1)
    with pytest.raises(ValueError, match=r"kernel_size \(3, 4\) and dilation \(2, 2\) spans 5x7 .* has only 5x6"):
        window.output_size(torch.zeros(1, 1, 3, 4))
