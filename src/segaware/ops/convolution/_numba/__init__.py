"""Eq. 7 on CPU: matrix products whose left factor, the masked columns, exists one cache-sized block at a time.

Images are channels-last here, so that a column is a run of channels. With s_i = K / sum_k m_ik (or as `normalize`
says), for blocks of pixels i and taps k small enough for the cache:

    output    y_i = sum_k (s_i m_ik x_k) t_k                      columns times filters (forward.py)
    weight    dt_k = sum_i (s_i m_ik x_k) dy_i                    the same columns, transposed, times gradients
    input     dx_k = sum_i m_ik u_ik, where u_ik = t_k s_i dy_i   gradients times filters, scattered to the taps
    mask      dm_ik = x_k u_ik - sum_j m_ij x_j u_ij / sum_j m_ij (all three in backward.py)

Where every channel has one filter of its own there is no product, and depthwise.py adds up vectors of channels.
"""

from __future__ import annotations

from torch import Tensor

from segaware.ops.convolution._numba import depthwise
from segaware.ops.convolution._numba.backward import backward as backward_products
from segaware.ops.convolution._numba.forward import forward as forward_products
from segaware.ops.convolution.reference import Normalize
from segaware.ops.window import Window


def _is_depthwise(input: Tensor, weight: Tensor, groups: int) -> bool:
    return groups > 1 and groups == input.shape[1] == weight.shape[0]


def forward(
    input: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None, window: Window, groups: int, normalize: Normalize
) -> Tensor:
    """Return Eq. 7, channels-last if the input or the weight is, as conv2d."""
    run = depthwise.forward if _is_depthwise(input, weight, groups) else forward_products
    return run(input, weight, mask, bias, window, groups, normalize)


def backward(
    grad: Tensor, input: Tensor, weight: Tensor, mask: Tensor, window: Window, groups: int, normalize: Normalize,
    needed: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of input, weight, mask and bias; empty tensors for those that are not needed."""
    run = depthwise.backward if _is_depthwise(input, weight, groups) else backward_products
    return run(grad, input, weight, mask, window, groups, normalize, needed)
