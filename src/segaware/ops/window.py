"""The sliding window shared by all operators: its arguments, its geometry and its taps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from segaware.ops.arguments import as_integer, check_integer

# More than that is beyond sense: a window of 255x255 pixels, and 1 TB of masks or distances of one image.
_MOST_TAPS = 2**16
_MOST_NUMBERS = 2**38

IntPair: TypeAlias = int | tuple[int, int]
Padding: TypeAlias = IntPair | Literal["same", "valid"]


def as_pair(name: str, value: IntPair, minimum: int) -> tuple[int, int]:
    """Return `value` as (vertical, horizontal), or say what is wrong with it.

    Raises:
        ValueError: If `value` is not an int or a pair of ints, each at least `minimum`, or is beyond sense.
    """
    one = as_integer(value)
    sides = value if isinstance(value, (tuple, list)) else () if one is None else (one, one)
    pair = [side for side in map(as_integer, sides) if side is not None and side >= minimum]
    if len(sides) != 2 or len(pair) != 2:
        raise ValueError(f"{name} must be an int or a pair of ints, each at least {minimum}, got {value!r}")
    for side in pair:
        check_integer(name, side, minimum)
    return pair[0], pair[1]


@dataclass(frozen=True)
class Window:
    """A window of kernel_size taps sliding over an image, with the geometry of `torch.nn.functional.conv2d`.

    Attributes:
        kernel_size: Taps (vertical, horizontal). The centre tap is `kernel_size // 2`.
        stride: Step between output pixels.
        padding: Pixels added ((top, bottom), (left, right)).
        dilation: Step between taps.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]

    @classmethod
    def of(cls, kernel_size: IntPair, stride: IntPair = 1, padding: Padding = 0, dilation: IntPair = 1) -> Window:
        """Check conv2d-style arguments and return their window.

        Raises:
            ValueError: If an argument is out of range or beyond sense, or `padding="same"` is asked for with a stride.
        """
        kernel = as_pair("kernel_size", kernel_size, 1)
        if kernel[0] * kernel[1] > _MOST_TAPS:
            raise ValueError(f"kernel_size must have at most {_MOST_TAPS} taps in all, got {kernel_size!r}")
        steps = as_pair("stride", stride, 1)
        spread = as_pair("dilation", dilation, 1)
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f'padding must be an int, a pair of ints, "same" or "valid", got {padding!r}')
            if padding == "same" and steps != (1, 1):
                raise ValueError(f'padding="same" needs stride 1, got stride {stride!r}')
            total = [d * (k - 1) if padding == "same" else 0 for k, d in zip(kernel, spread, strict=True)]
            # As conv2d does: an odd total puts the extra pixel at the bottom and the right.
            (top, left), (bottom, right) = [t // 2 for t in total], [t - t // 2 for t in total]
        else:
            top, left = bottom, right = as_pair("padding", padding, 0)
        return cls(kernel, steps, ((top, bottom), (left, right)), spread)

    def numbers(self) -> list[int]:
        """Return the window as ten ints, the form in which torch's operator schemas carry it."""
        return [*self.kernel_size, *self.stride, *self.padding[0], *self.padding[1], *self.dilation]

    @classmethod
    def from_numbers(cls, numbers: list[int]) -> Window:
        """Undo `numbers`."""
        a, b, c, d, top, bottom, left, right, e, f = numbers
        return cls((a, b), (c, d), ((top, bottom), (left, right)), (e, f))

    @property
    def size(self) -> int:
        """Number of taps, K."""
        return self.kernel_size[0] * self.kernel_size[1]

    @property
    def centre(self) -> tuple[int, int]:
        """The tap (row, column) that an output pixel's own embedding is read from."""
        return self.kernel_size[0] // 2, self.kernel_size[1] // 2

    def taps(self) -> Iterator[tuple[int, int]]:
        """Yield the taps (row, column) in the order of `F.unfold`: row by row."""
        return ((i, j) for i in range(self.kernel_size[0]) for j in range(self.kernel_size[1]))

    def output_size(self, input: Tensor) -> tuple[int, int]:
        """Return (Ho, Wo) for an input of shape (..., H, W).

        Raises:
            ValueError: If the window does not fit into the padded input even once, or so often that what it sees of an
                image is beyond sense.
        """
        span = [d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True)]
        padded = [n + sum(p) for n, p in zip(input.shape[-2:], self.padding, strict=True)]
        if padded[0] < span[0] or padded[1] < span[1]:
            raise ValueError(
                f"a window of kernel_size {self.kernel_size} and dilation {self.dilation} spans {span[0]}x{span[1]} "
                f"pixels, but the input with its padding has only {padded[0]}x{padded[1]}"
            )
        height, width = ((n - s) // t + 1 for n, s, t in zip(padded, span, self.stride, strict=True))
        if not torch.compiler.is_compiling() and self.size * height * width > _MOST_NUMBERS:
            raise ValueError(
                f"a window of kernel_size {self.kernel_size} with padding {self.padding} has {self.size} taps at "
                f"{height}x{width} pixels of an image, more than 2^38 in all"
            )
        return height, width

    def within(self, input: Tensor) -> Window:
        """Return a window that sees the same of an input, its taps outside the image no further off than needed.

        What a window costs goes by its padding, so a tap a million pixels away must not. A window that is padded as
        "same" has all its taps but the middle one outside if the dilation is twice the length of the image.
        """
        if torch.compiler.is_compiling():  # no questions about sizes, which would fix them
            return self
        dilation, padding = list(self.dilation), list(self.padding)
        for axis, length in enumerate(input.shape[-2:]):
            taps, total, enough = self.kernel_size[axis], sum(padding[axis]), 2 * max(length, 1)
            is_same = padding[axis][0] == total // 2 and total == dilation[axis] * (taps - 1)
            if is_same and dilation[axis] > enough:
                dilation[axis] = enough
                padding[axis] = (enough * (taps - 1) // 2, enough * (taps - 1) // 2)
        return Window(self.kernel_size, self.stride, (padding[0], padding[1]), (dilation[0], dilation[1]))

    def pad(self, input: Tensor) -> Tensor:
        """Surround an input (N, C, H, W) with the window's padding of zeros."""
        (top, bottom), (left, right) = self.padding
        return F.pad(input, (left, right, top, bottom)) if top or bottom or left or right else input

    def inside(self, input: Tensor) -> Tensor:
        """Say of every tap and output pixel whether the tap lies inside the input, (K, Ho, Wo)."""
        rows, columns = (
            _inside(input, n, outputs, k, s, p[0], d)
            for n, outputs, k, s, p, d in zip(
                input.shape[-2:],
                self.output_size(input),
                self.kernel_size,
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
        )
        return (rows[:, None, :, None] & columns[:, None]).flatten(0, 1)

    def view(self, padded: Tensor, tap: tuple[int, int]) -> Tensor:
        """Return what every output pixel sees at one tap: (N, C, Ho, Wo), a view of the padded input.

        It ends as far from the other side as the taps behind this one reach: the slices are the same for every size
        of the input, which keeps exported graphs small.
        """
        rows, columns = (
            slice(t * d, -(k - 1 - t) * d or None, s)
            for t, k, d, s in zip(tap, self.kernel_size, self.dilation, self.stride, strict=True)
        )
        return padded[..., rows, columns]


def _inside(input: Tensor, length: int, outputs: int, taps: int, step: int, before: int, dilation: int) -> Tensor:
    """Say of every tap and output pixel along one axis whether it lies inside, (taps, outputs)."""
    first, tap = (torch.arange(count, device=input.device) for count in (outputs, taps))
    place = first * step + (tap * dilation - before)[:, None]
    return (place >= 0) & (place < length)
