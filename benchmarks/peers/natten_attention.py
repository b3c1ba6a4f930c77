"""NATTEN's neighbourhood attention: means over windows like the filter's, with softmaxed dot products as weights.

Another function than ours, of the same windows and about the same size.
"""

from natten import na2d
from torch import Tensor


def attention(embedding: Tensor, input: Tensor, kernel_size: int) -> Tensor:
    """Attend with embeddings (N, C, H, W) as queries and keys, in one head, to an input of as many channels."""
    query, value = (x.permute(0, 2, 3, 1)[..., None, :].contiguous() for x in (embedding, input))
    return na2d(query, query, value, kernel_size=kernel_size).squeeze(3).permute(0, 3, 1, 2)
