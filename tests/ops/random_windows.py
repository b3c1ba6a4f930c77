"""Random windows for hypothesis, each with an image that it fits into."""

from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st

Pair = int | tuple[int, int]

# Shapes are random but the same in every run, so that a red test stays red.
repeatable = settings(deadline=None, derandomize=True, max_examples=150)


class RandomWindow(NamedTuple):
    """A window; `geometry` are the keyword arguments `stride`, `padding` and `dilation`."""

    kernel_size: tuple[int, int]
    geometry: dict[str, Any]
    image_size: tuple[int, int]


def pairs(low: int, high: int) -> st.SearchStrategy[Pair]:
    """An int or a pair, as every window argument may be."""
    return st.integers(low, high) | st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def random_windows(draw: st.DrawFn) -> RandomWindow:
    """Kernel 1..5, stride 1..3, padding 0..3, "same" or "valid", dilation 1..3, and the smallest images that fit."""
    kernel_size = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilation = draw(pairs(1, 3))
    padding = draw(pairs(0, 3) | st.sampled_from(["same", "valid"]))
    stride = 1 if padding == "same" else draw(pairs(1, 3))
    sizes = []
    for axis in range(2):
        spread = dilation if isinstance(dilation, int) else dilation[axis]
        span = spread * (kernel_size[axis] - 1) + 1
        pad = 0 if padding == "valid" else padding if isinstance(padding, int) else padding[axis]
        smallest = 1 if padding == "same" else max(1, span - 2 * pad)
        sizes.append(draw(st.integers(smallest, smallest + 4)))
    return RandomWindow(kernel_size, {"stride": stride, "padding": padding, "dilation": dilation}, (sizes[0], sizes[1]))
