"""Distances between every pixel's embedding and its neighbours': the contract."""

from __future__ import annotations

from typing import get_args

from torch import Tensor

from segaware.ops._backends import Backend, choose_backend
from segaware.ops.arguments import check_image, compute_dtype
from segaware.ops.distance import library, reference
from segaware.ops.distance.reference import Metric
from segaware.ops.window import IntPair, Padding, Window


def embedding_distance(
    embedding: Tensor,
    kernel_size: IntPair,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    metric: Metric = "l1",
    backend: Backend | None = None,
) -> Tensor:
    """Distance from every pixel's embedding to each neighbour in its window, d_ik = ||e_i - e_k||.

    This is the distance inside Eq. 1 and Eq. 3 of Harley et al. 2017 (the authors' layer "Im2dist"). The window slides
    as in `torch.nn.functional.conv2d`; a distance is 0 where the tap or the window's centre lies outside the image,
    so that the mask of such a tap is 1.

    Args:
        embedding: Embeddings (N, E, H, W) or (E, H, W); float32, float64, bfloat16 or float16.
        kernel_size: Window size, an int or (vertical, horizontal), odd or even. The centre tap is `kernel_size // 2`.
        stride: Step between output pixels.
        padding: Pixels added around the image, or "same" or "valid" as in `conv2d`.
        dilation: Step between taps.
        metric: "l1", the sum of absolute differences; "sqeuclidean", the sum of squares; "euclidean", its root.
            Where two embeddings are equal, the gradient is 0.
        backend: "reference", "numba", "triton", or None for what `use_backend` chose, by default the fastest for the
            device.

    Returns:
        Distances (N, K, Ho, Wo), or (K, Ho, Wo) for one image, with the taps in the row-major order of `F.unfold` and
        K the number of taps. Half precisions are accumulated in float32.

    Raises:
        ValueError: If `embedding` is not a floating-point image, a window argument is out of range, `metric` is
            unknown, or the window does not fit into the padded image.
        TypeError: If `embedding` is no tensor.
        RuntimeError: If the backend that was asked for cannot run here.

    Example:
        >>> row = torch.tensor([[[[1.0, 2.0, 5.0]]]])
        >>> embedding_distance(row, kernel_size=(1, 3), padding=(0, 1)).flatten(2)
        tensor([[[0., 1., 3.],
                 [0., 0., 0.],
                 [1., 3., 0.]]])
    """
    check_image("embedding", embedding, channels="E")
    if metric not in get_args(Metric):
        raise ValueError(f"metric must be one of {get_args(Metric)}, got {metric!r}")
    window = Window.of(kernel_size, stride, padding, dilation)
    window.output_size(embedding)
    window = window.within(embedding)
    chosen = choose_backend(backend, embedding.device)

    batch = embedding if embedding.dim() == 4 else embedding[None]
    if chosen != "triton":  # whose kernels read half precisions
        batch = batch.to(compute_dtype(embedding))
    if chosen == "reference":
        distance = reference.embedding_distance(batch, window, metric)
    else:
        distance = library.embedding_distance(batch, window.numbers(), metric, chosen)
    distance = distance.to(embedding.dtype)
    return distance if embedding.dim() == 4 else distance[0]
