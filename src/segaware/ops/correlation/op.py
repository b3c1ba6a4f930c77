"""Correlation of the features of two images, what FlowNetC matches them by."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segaware.ops._autocast import without_autocast
from segaware.ops.arguments import check_devices, check_integer, check_tensor

# Far beyond sense: FlowNetC's is 20 at stride 8 to the image. Displacements along both axes multiply.
MOST_DISPLACEMENT = 4096
_MOST_CORRELATIONS = 2**16


@without_autocast
def correlation(input1: Tensor, input2: Tensor, max_displacement: int, stride: int = 1) -> Tensor:
    """Likeness of every pixel's features to those around it in the other image, `c(x, d) = <f1(x), f2(x + d)> / C`.

    The correlation layer of Dosovitskiy et al. 2015 (FlowNet, Eq. 1) for patches of one pixel. Outside the image, f2
    is 0.

    Args:
        input1: Features f1 of the first image, (N, C, H, W), floating-point.
        input2: Features f2 of the second, (N, C, H, W).
        max_displacement: The largest displacement along either axis, 0 or more.
        stride: Step between displacements, which are the multiples of it, 0 among them.

    Returns:
        Correlations (N, D * D, H, W) with D = 2 * (max_displacement // stride) + 1. Displacements d = (dy, dx) are in
        row-major order, from the most negative. A number that is not finite makes NaN of the gradients of what it is
        correlated with, and of no others.

    Raises:
        ValueError: If the inputs are not floating-point images of one shape, dtype and device, or a number is out of
            range.
        TypeError: If an input is no tensor.

    Example:
        >>> from segaware.ops.correlation.op import correlation
        >>> row1, row2 = torch.tensor([[[[1.0, 2.0, 3.0]]], [[[0.0, 1.0, 2.0]]]]).split(1)
        >>> correlation(row1, row2, max_displacement=1)[0, 3:6, 0]  # dx = -1, 0, 1 at dy = 0
        tensor([[0., 0., 3.],
                [0., 2., 6.],
                [1., 4., 0.]])
    """
    for name, input in (("input1", input1), ("input2", input2)):
        wanted = "a floating-point tensor with channels and pixels, of shape (N, C, H, W)"
        check_tensor(name, input, wanted, lambda input: input.dim() == 4 and 0 not in input.shape[1:])
    if input1.shape != input2.shape or input1.dtype != input2.dtype:
        raise ValueError(
            f"input1 and input2 must have the same shape and dtype, got {tuple(input1.shape)} of {input1.dtype} and "
            f"{tuple(input2.shape)} of {input2.dtype}"
        )
    check_devices(input1=input1, input2=input2)
    max_displacement = check_integer("max_displacement", max_displacement, 0, MOST_DISPLACEMENT)
    stride = min(check_integer("stride", stride, 1), max_displacement + 1)  # beyond that there is one displacement, 0
    if (2 * (max_displacement // stride) + 1) ** 2 > _MOST_CORRELATIONS:
        raise ValueError(
            f"max_displacement must have at most {_MOST_CORRELATIONS} displacements at stride {stride}, "
            f"got {max_displacement}"
        )

    batch, channels, height, width = input1.shape
    steps = max_displacement // stride
    displacements, reach = 2 * steps + 1, steps * stride
    # All products of a row of f1 with a row of f2 are one matrix product, of which a band along the diagonal is wanted.
    # Columns x and x + d are the same modulo the stride, so a row is taken apart into as many rows, each its own
    # product. H is the first dimension: f2 at a vertical displacement is a slice of it, and autograd saves no copies.
    over = (stride - width % stride) % stride  # no remainder of a negative number, which ONNX exporters get wrong

    def rows_of(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        rows1 = F.pad(first / channels, (0, over)).unflatten(3, (-1, stride)).permute(2, 0, 4, 3, 1).flatten(0, 2)
        rows2 = F.pad(second, (reach, reach + over, reach, reach)).unflatten(3, (-1, stride)).permute(2, 0, 4, 1, 3)
        return rows1, rows2.contiguous()  # (H + 2 * reach, N, stride, C, columns of f2)

    if torch.is_grad_enabled():
        # Outside the band gradients are 0, which times NaN would be NaN: the products are differentiated as those of
        # finite numbers, and what has to do with others gets its NaN here.
        unknown1, unknown2 = (~input.detach().isfinite() for input in (input1, input2))
        finite1, finite2 = rows_of(input1.masked_fill(unknown1, 0), input2.masked_fill(unknown2, 0))
        rows1, rows2 = rows_of(
            _Meeting.apply(input1, unknown2, steps, stride), _Meeting.apply(input2, unknown1, steps, stride)
        )
    else:
        rows1, rows2 = finite1, finite2 = rows_of(input1, input2)
    bands = []
    for y in range(0, 2 * reach + 1, stride):
        second, finite = (rows[y : y + height].flatten(0, 2) for rows in (rows2, finite2))
        products = _Product.apply(rows1, second, finite1, finite)
        # Entry (x, x + k), k = 0 ... displacements - 1, lies x * (columns of f2 + 1) + k numbers in: column k of rows
        # that are longer by one. There is one less of these, and the last row of the products ends in its entries.
        last, length = products.shape[1] - 1, products.shape[2] + 1
        band = products.flatten(1)[:, : last * length].unflatten(1, (last, length))[..., :displacements]
        bands.append(torch.cat([band, products[:, -1:, -displacements:]], dim=1))  # without the rest of the products
    correlations = torch.stack(bands).unflatten(1, (height, batch, stride))
    correlations = correlations.permute(2, 0, 5, 1, 4, 3).flatten(4)[..., :width]  # (N, dy, dx, H, W)
    return correlations.flatten(1, 2)


class _Product(torch.autograd.Function):
    """A product of matrices, with the gradient that it has at others."""

    @staticmethod
    def forward(rows1: Tensor, rows2: Tensor, at1: Tensor, at2: Tensor) -> Tensor:
        return rows1 @ rows2

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        at1, at2 = ctx.saved_tensors
        return grad @ at2.mT, at1.mT @ grad, None, None


class _Meeting(torch.autograd.Function):
    """The input, whose gradient is NaN where a displacement leads to an unknown number of the other's."""

    @staticmethod
    def forward(input: Tensor, unknown: Tensor, steps: int, stride: int) -> Tensor:
        return input.view_as(input)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int, int], output: Tensor) -> None:
        _, unknown, ctx.steps, ctx.stride = inputs
        ctx.save_for_backward(unknown)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (unknown,) = ctx.saved_tensors
        near = F.pad(unknown.to(grad.dtype), [ctx.steps * ctx.stride] * 4)
        for kernel_size in ((2 * ctx.steps + 1, 1), (1, 2 * ctx.steps + 1)):
            near = F.max_pool2d(near, kernel_size, stride=1, dilation=ctx.stride)
        return grad.masked_fill(near > 0, math.nan), None, None, None
