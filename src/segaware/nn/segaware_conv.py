"""Segmentation-aware convolution as a layer."""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segaware.nn.hardness import hardness_parameter, nonnegative, shown
from segaware.ops import attention_mask, embedding_distance, segaware_conv2d
from segaware.ops.arguments import check_context, check_devices, check_image, check_integer
from segaware.ops.convolution.reference import Normalize
from segaware.ops.window import IntPair, Padding, Window, as_pair


class SegAwareConv2d(nn.Conv2d):
    """A `torch.nn.Conv2d` whose window attends to the pixels that belong with its centre (Eq. 7).

    The layer has the parameters of `Conv2d` and one more, `hardness` (Eq. 3's lambda). It loads the `state_dict` of any
    `Conv2d` of its shape, and at hardness 0 it is that layer. The layer uses `max(hardness, 0)`: the parameter can
    start at 0, leave it, and never acts as a negative one.

    Args:
        in_channels: As in `Conv2d`, and so are all arguments up to `dtype`.
        out_channels: Number of filters.
        kernel_size: Window size.
        stride: Step between output pixels.
        padding: Padding, or "same" or "valid".
        dilation: Step between taps.
        groups: Number of groups.
        bias: Whether to add a bias.
        padding_mode: What the padding holds. Whatever it is, the mask of a tap outside the image is 1.
        device: Where the parameters live.
        dtype: Type of the parameters of `Conv2d`; the hardness is kept in float32.
        normalize: How the mask is normalised, see `segaware.ops.segaware_conv2d`.
        hardness: Start value of the hardness, 0 or more.

    Raises:
        ValueError: If an argument is out of range; the message names it.

    Example:
        >>> conv = torch.nn.Conv2d(8, 16, 3, padding=1)
        >>> layer = SegAwareConv2d(8, 16, 3, padding=1)
        >>> _ = layer.load_state_dict(conv.state_dict())
        >>> image, embedding = torch.randn(1, 8, 20, 20), torch.randn(1, 4, 20, 20)
        >>> torch.allclose(layer(image, embedding), conv(image), atol=1e-5)
        True
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntPair,
        stride: IntPair = 1,
        padding: Padding = 0,
        dilation: IntPair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        normalize: Normalize = "mean",
        hardness: float = 0.0,
    ) -> None:
        window = Window.of(kernel_size, stride, padding, dilation)
        super().__init__(
            check_integer("in_channels", in_channels, 1),
            check_integer("out_channels", out_channels, 1),
            window.kernel_size,
            window.stride,
            padding if isinstance(padding, str) else as_pair("padding", padding, 0),
            window.dilation,
            check_integer("groups", groups, 1),
            bias,
            padding_mode,
            device,
            dtype,
        )
        if normalize not in get_args(Normalize):
            raise ValueError(f"normalize must be one of {get_args(Normalize)}, got {normalize!r}")
        self.normalize: Normalize = normalize
        self.hardness = hardness_parameter(hardness, device)

    def distance(self, embedding: Tensor) -> Tensor:
        """Return the distances (N, K, Ho, Wo) of this layer's window over an embedding (N, E, H, W) of its input."""
        return embedding_distance(embedding, self.kernel_size, self.stride, self.padding, self.dilation)  # type: ignore[arg-type]

    def forward(self, input: Tensor, embedding: Tensor | None = None, *, distance: Tensor | None = None) -> Tensor:
        """Convolve `input` under the mask of its embedding.

        Args:
            input: Image or features (N, C, H, W).
            embedding: One embedding per pixel of `input`, (N, E, H, W).
            distance: Instead of an embedding, its distances (N, K, Ho, Wo) from `distance` of this layer or of
                another with the same window, so that layers can share them.

        Returns:
            Output (N, F, Ho, Wo).

        Raises:
            ValueError: If not exactly one of `embedding` and `distance` is given, or shapes, dtypes or devices do not
                fit.
            TypeError: If what must be a tensor is none.
        """
        check_image("input", input)
        check_context("SegAwareConv2d", embedding, distance)
        check_devices(input=input, embedding=embedding, distance=distance, weight=self.weight)
        if embedding is not None:
            if embedding.shape[-2:] != input.shape[-2:]:
                raise ValueError(
                    f"embedding must have one vector per pixel of input, {tuple(input.shape[-2:])}, "
                    f"got {tuple(embedding.shape[-2:])}"
                )
            distance = self.distance(embedding)
        assert distance is not None
        padding = cast(Padding, self.padding)
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = 0
        return segaware_conv2d(
            input,
            self.weight,
            attention_mask(distance, nonnegative(self.hardness)),
            self.bias,
            self.stride,  # type: ignore[arg-type]
            padding,
            self.dilation,  # type: ignore[arg-type]
            self.groups,
            self.normalize,
        )

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if prefix + "hardness" in missing_keys:  # the weights of a plain Conv2d: the hardness stays as it is
            missing_keys.remove(prefix + "hardness")

    def extra_repr(self) -> str:
        """Describe the layer as `Conv2d` does, with its hardness."""
        return f"{super().extra_repr()}, normalize={self.normalize!r}, hardness={shown(self.hardness)}"
