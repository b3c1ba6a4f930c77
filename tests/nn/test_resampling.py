"""Resampling that keeps pixels in place."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from segaware.nn import resample, upsample
from segaware.nn.resampling import sample, sampled_size


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (4, 7), (5, 8), (16, 17), (33, 30)])
def test_sampling_undoes_it(stride: int, size: tuple[int, int]) -> None:
    low = torch.randn(2, 3, *size)[..., ::stride, ::stride]
    high = upsample(low, stride, size)
    assert high.shape == (2, 3, *size)
    torch.testing.assert_close(high[..., ::stride, ::stride], low)


@pytest.mark.parametrize("stride", [2, 3, 4, 8])
@pytest.mark.parametrize("size", [(17, 25), (20, 23)])
def test_a_ramp_is_kept_up_to_the_last_input_pixel_and_level_beyond(stride: int, size: tuple[int, int]) -> None:
    rows, columns = torch.arange(float(size[0])), torch.arange(float(size[1]))
    ramp = 3 * rows[:, None] - 2 * columns
    last_row, last_column = ((n - 1) // stride * stride for n in size)
    expected = 3 * rows.clamp(max=last_row)[:, None] - 2 * columns.clamp(max=last_column)
    torch.testing.assert_close(upsample(ramp[None, None, ::stride, ::stride], stride, size)[0, 0], expected)


def test_gradient() -> None:
    low = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: upsample(x, 4, (9, 8)), (low,))


@pytest.mark.parametrize("input_size", [(4, 5), (3, 4), (2, 5), (9, 17)])
def test_a_wrong_size_is_named(input_size: tuple[int, int]) -> None:
    message = rf"^input must have size \(3, 5\) .* by 4 to \(9, 17\), got \({input_size[0]}, {input_size[1]}\)"
    with pytest.raises(ValueError, match=message):
        upsample(torch.zeros(1, 2, *input_size), 4, (9, 17))


def test_half_the_resolution_is_every_other_pixel() -> None:
    for size in ((1, 1), (8, 9), (33, 30)):
        image = torch.randn(1, 2, *size)
        assert torch.equal(resample(image, Fraction(1, 2)), image[..., ::2, ::2])


@pytest.mark.parametrize("size", [(33, 41), (32, 35), (34, 2)])
def test_a_ramp_is_sampled_at_three_quarters_and_back(size: tuple[int, int]) -> None:
    rows, columns = torch.arange(float(size[0])), torch.arange(float(size[1]))
    ramp = (3 * rows[:, None] - 2 * columns)[None, None]
    small = resample(ramp, Fraction(3, 4))
    assert small.shape[-2:] == tuple(len(range(0, 3 * (n - 1) + 1, 4)) for n in size)
    torch.testing.assert_close(small[0, 0], 4 * rows[: small.shape[2], None] - 8 / 3 * columns[: small.shape[3]])
    last_row, last_column = (4 / 3 * (n - 1) for n in small.shape[-2:])
    expected = 3 * rows.clamp(max=last_row)[:, None] - 2 * columns.clamp(max=last_column)
    torch.testing.assert_close(resample(small, Fraction(4, 3), size)[0, 0], expected)


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("size", [(1, 9), (21, 26), (32, 33), (481, 321)])
def test_sampling_at_the_size_of_a_strided_layer(size: tuple[int, int], stride: int) -> None:
    input = torch.randn(2, 3, *size)
    torch.testing.assert_close(sample(input, sampled_size(size, stride)), input[..., ::stride, ::stride])


def test_sampling_at_another_size_takes_the_pixels_under_centres() -> None:
    """One or the other along each side: 10 rows and 8 columns, the latter from 17 without padding."""
    input = torch.arange(20.0 * 17).view(1, 1, 20, 17)
    assert torch.equal(sample(input, (10, 8)), input[:, :, ::2, 1:16:2])
    assert torch.equal(sample(input, (7, 17)), input[:, :, ::3])  # no power of two, the smallest of several


def test_sampling_in_an_exported_program() -> None:
    class Sample(nn.Module):
        def forward(self, input: Tensor, smaller: Tensor) -> Tensor:
            return sample(input, (smaller.shape[-2], smaller.shape[-1]))

    dynamic = dict.fromkeys((2, 3), torch.export.Dim.DYNAMIC)
    input = torch.randn(1, 2, 33, 26)
    example = (input, torch.zeros(1, 1, 9, 8))
    program = torch.export.export(Sample(), example, dynamic_shapes=(dynamic, dynamic)).module()
    for size in ((33, 26), (5, 13), (16, 9), (7, 25)):
        assert torch.equal(program(input, torch.zeros(1, 1, *size)), sample(input, size))
