"""Eq. 7 on a GPU: implicit matrix products, whose left factor is gathered tap by tap and never stored.

Groups too narrow for matrix units, as those of depthwise convolution, have kernels of their own (narrow.py).

Images are channels-last here, so that what a pixel sees at a tap is a run of channels. With s_i = K / sum_k m_ik (or
as `normalize` says), for tiles of pixels:

    output    y_i = s_i sum_k m_ik (x_k t_k)                        (output.py)
    input     dx_p = sum_k s_i m_ik u_pk, where u_pk = t_k dy_i and i is the window that sees p at tap k
    mask      dm_ik = s_i x_p u_pk - sum_j m_ij s_i x_j u_ij / sum_j m_ij   (both in input_gradient.py)
    weight    dt_k = sum_i (s_i m_ik x_k) dy_i                      (weight_gradient.py)

A mask belongs to all channels of a tap. So the first three can sum a tap over its channels and multiply the product by
the mask, which takes rows x columns multiplications per tap and a second accumulator, or multiply the left factor by
it, rows x channels and in registers, from where Hopper's matrix units take that factor, and sum all taps in one
accumulator. The latter is one loop without branches, whose copies and products overlap; in half precision it rounds
the masked factor. A tile says which (`Tile.masked`). The gradient of the mask is summed from a tap's own product, so
where it is wanted the input's comes of products, in the same pass. In dt the pixels are what is summed over, so there
the left factor is masked always.

Every number is written by one program, which adds in a fixed order; where work has to be split further, programs
write parts, which are added in order. Nothing is atomic, and results are the same to the last bit in every run.
"""

from __future__ import annotations

from torch import Tensor

from segaware.ops._launch import Problem, channels_last, in_format, on_device_of
from segaware.ops.arguments import compute_dtype
from segaware.ops.convolution._triton import narrow
from segaware.ops.convolution._triton.input_gradient import backward_input
from segaware.ops.convolution._triton.masks import scale_mask
from segaware.ops.convolution._triton.output import compute_output
from segaware.ops.convolution._triton.weight_gradient import backward_weight
from segaware.ops.convolution.reference import Normalize
from segaware.ops.window import Window

_NARROW = 16  # channels or filters of a group, fewer than which leave most of a matrix unit idle


def _is_narrow(weight: Tensor, groups: int) -> bool:
    return groups > 1 and min(weight.shape[0] // groups, weight.shape[1]) < _NARROW


def _numerator(window: Window, normalize: Normalize) -> int:
    """Return that of the scale s_i; 0 if there is none."""
    return {"mean": window.size, "sum": 1, "none": 0}[normalize]


def forward(
    input: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None, window: Window, groups: int, normalize: Normalize
) -> Tensor:
    """Return Eq. 7, channels-last if the input or the weight is, as conv2d."""
    with on_device_of(input):
        compute = narrow.compute_output if _is_narrow(weight, groups) else compute_output
        output = compute(
            channels_last(input), channels_last(weight), mask.contiguous(), bias, window, groups,
            _numerator(window, normalize),
        )  # fmt: skip
        return in_format(output, input, weight)


def backward(
    grad: Tensor, input: Tensor, weight: Tensor, mask: Tensor, window: Window, groups: int, normalize: Normalize,
    needed: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of input, weight, mask and bias; empty tensors for those that are not needed."""
    grad_input, grad_weight, grad_mask, grad_bias = (grad.new_empty(0) for _ in range(4))
    with on_device_of(input):
        images = channels_last(grad), channels_last(input)
        filters, mask = channels_last(weight), mask.contiguous()
        scaled_mask, scale = scale_mask(
            mask, Problem.of(input, window), _numerator(window, normalize), compute_dtype(input)
        )
        is_narrow = _is_narrow(weight, groups)
        if needed[0] or needed[2]:
            gather = narrow.backward_input if is_narrow else backward_input
            grad_input, grad_mask = gather(
                *images, filters, mask, scaled_mask, scale, window, groups, normalize != "none", needed[2]
            )
            grad_input = in_format(grad_input, input) if needed[0] else grad.new_empty(0)
        if needed[1]:
            add_up = narrow.backward_weight if is_narrow else backward_weight
            grad_weight = in_format(add_up(*images, filters, scaled_mask, window, groups), weight)
        if needed[3]:
            grad_bias = grad.sum((0, 2, 3))
    return grad_input, grad_weight, grad_mask, grad_bias
