"""Eq. 7 on CPU: matrix products whose left factor, the masked columns, exists one cache-sized block at a time.

Images are channels-last here, so that a column is a run of channels. With s_i = K / sum_k m_ik (or as `normalize`
says), for blocks of pixels i and taps k small enough for the cache:

    output    y_i = sum_k (s_i m_ik x_k) t_k                      columns times filters (forward.py)
    weight    dt_k = sum_i (s_i m_ik x_k) dy_i                    the same columns, transposed, times gradients
    input     dx_k = sum_i m_ik u_ik, where u_ik = t_k s_i dy_i   gradients times filters, scattered to the taps
    mask      dm_ik = x_k u_ik - sum_j m_ij x_j u_ij / sum_j m_ij (all three in backward.py)
"""

from segaware.ops.convolution._numba.backward import backward
from segaware.ops.convolution._numba.forward import forward

__all__ = ["backward", "forward"]
