"""The Numba kernels of segaware_conv2d against its reference."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from segaware import segaware_conv2d
from segaware.ops.convolution import library
from segaware.ops.window import Window

from .random_windows import RandomWindow, random_windows, repeatable
from .test_convolution import NORMALIZE, Normalize, random_arguments

pytestmark = [
    pytest.mark.usefixtures("uninitialised_is_nan"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]

few = settings(repeatable, max_examples=60)


def results(tensors: list[Tensor], run: Callable[..., Tensor]) -> list[Tensor]:
    """The output and the gradients of all tensors."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    output = run(*leaves)
    grad = torch.randn(output.shape, dtype=output.dtype, generator=torch.Generator().manual_seed(1))
    return [output.detach(), *torch.autograd.grad(output, leaves, grad)]


def same_as_reference(tensors: list[Tensor], **options: object) -> None:
    expected, actual = (
        results(tensors, partial(segaware_conv2d, **options, backend=backend))  # type: ignore[arg-type]
        for backend in ("reference", "numba")
    )
    for name, a, b in zip(("output", "input", "weight", "mask", "bias"), actual, expected, strict=True):
        scale = b.abs().max().item() if b.numel() else 0
        tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}[a.dtype]
        torch.testing.assert_close(
            a, b, rtol=0, atol=tolerance * max(scale, 1), msg=lambda m, name=name: f"{name}: {m}"
        )


def random_tensors(
    shape: tuple[int, int, int, int], filters: int, kernel_size: int, groups: int = 1,
    dtype: torch.dtype = torch.float32, **geometry: int,
) -> list[Tensor]:  # fmt: skip
    window = Window.of(kernel_size, **geometry)
    random = torch.Generator().manual_seed(0)
    size = window.output_size(torch.empty(shape))
    weight = (filters, shape[1] // groups, kernel_size, kernel_size)
    shapes = (shape, weight, (shape[0], window.size, *size), (filters,))
    return [torch.rand(s, generator=random, dtype=dtype) + 0.1 for s in shapes]


@few
@given(
    random_windows(),
    st.integers(0, 2),
    st.integers(1, 3),
    st.sampled_from([1, 2, 5, 17, 33]),
    st.sampled_from([1, 3, 16, 35]),
    st.sampled_from(NORMALIZE),
)
@example(RandomWindow((3, 3), {"stride": 1, "padding": 1, "dilation": 1}, (1, 1)), 1, 1, 2, 2, "mean")
@example(RandomWindow((5, 5), {"stride": 1, "padding": "same", "dilation": 9}, (3, 4)), 1, 2, 2, 2, "sum")
def test_random_windows(
    window: RandomWindow, batch: int, groups: int, channels: int, filters: int, normalize: Normalize
) -> None:
    tensors = list(random_arguments(window, batch, groups, channels, filters))
    same_as_reference(tensors, **window.geometry, groups=groups, normalize=normalize)


@pytest.mark.parametrize(
    "channels, filters, size, dilation, images",
    [
        (16, 40, (40, 33), 1, 2),  # all taps at once, several blocks of pixels
        (130, 70, (15, 31), 2, 1),  # some taps at once
        (610, 40, (9, 9), 1, 1),  # one tap at once: only pixels that see the image are computed
        (610, 40, (9, 30), 7, 2),  # taps of which some see no pixel of a block
        (400, 300, (8, 8), 1, 1),  # filters split over tasks, channels over tasks
        (1, 1, (700, 3), 1, 1),  # more blocks than bands, one channel
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_sizes_that_split_differently(
    channels: int, filters: int, size: tuple[int, int], dilation: int, images: int, dtype: torch.dtype
) -> None:
    tensors = random_tensors((images, channels, *size), filters, 3, dtype=dtype, padding=dilation, dilation=dilation)
    same_as_reference(tensors, padding=dilation, dilation=dilation)


@pytest.mark.parametrize("stride, kernel_size, dilation", [(1, 3, 1), (2, 3, 2), (3, 5, 9), (1, 2, 1)])
def test_large_images_are_copied_band_by_band(stride: int, kernel_size: int, dilation: int) -> None:
    geometry = {"stride": stride, "padding": dilation, "dilation": dilation}
    tensors = random_tensors((2, 64, 190, 180), 3, kernel_size, **geometry)
    expected, actual = (
        segaware_conv2d(*tensors, **geometry, backend=backend)  # type: ignore[misc, arg-type]
        for backend in ("reference", "numba")
    )
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel_size, dilation", [(1, 1), (2, 1), (5, 3), (7, 1)])
def test_bands_of_rows_do_not_meet(stride: int, kernel_size: int, dilation: int) -> None:
    """Tall images: the gradient of the input is scattered by 16 bands, every other one at once."""
    padding = dilation * (kernel_size // 2)
    tensors = random_tensors((1, 3, 97, 5), 4, kernel_size, stride=stride, padding=padding, dilation=dilation)
    same_as_reference(tensors, stride=stride, padding=padding, dilation=dilation)


def test_memory_layouts(relayout: Callable[[Tensor], Tensor]) -> None:
    input, weight, mask, bias = random_tensors((2, 18, 20, 21), 34, 3, padding=1)
    expected = results([input, weight, mask, bias], lambda *t: segaware_conv2d(*t, padding=1, backend="reference"))
    for which in range(7):
        tensors = [relayout(t) if which & 1 << i else t for i, t in enumerate((input, weight, mask))]
        actual = results([*tensors, bias], lambda *t: segaware_conv2d(*t, padding=1, backend="numba"))
        for a, b in zip(actual, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def test_arguments_with_equal_gaps_between_their_elements() -> None:
    """Flattening such a tensor gives a view with gaps, which kernels do not know."""
    tensors = random_tensors((1, 4, 6, 7), 5, 3, padding=1)
    expected = results(tensors, lambda *t: segaware_conv2d(*t, padding=1, backend="reference"))
    gaps = [t.repeat_interleave(2, -1)[..., ::2] for t in tensors]
    actual = results(gaps, lambda *t: segaware_conv2d(*t, padding=1, backend="numba"))
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-4)


def test_the_output_has_the_format_that_conv2d_gives() -> None:
    last = torch.channels_last
    for formats in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        input, weight, mask, bias = random_tensors((2, 18, 20, 21), 34, 3, padding=1)
        input, weight = (
            t.contiguous(memory_format=last) if f else t for t, f in zip((input, weight), formats, strict=True)
        )
        output = segaware_conv2d(input, weight, mask, bias, padding=1, backend="numba")
        expected = torch.nn.functional.conv2d(input, weight, bias, padding=1)
        assert output.stride() == expected.stride()


@pytest.mark.parametrize("shape, filters", [((2, 20, 70, 41), 36), ((1, 610, 12, 12), 140)])
def test_the_number_of_threads_changes_nothing(shape: tuple[int, int, int, int], filters: int) -> None:
    tensors = random_tensors(shape, filters, 3, padding=1)
    before = torch.get_num_threads()
    try:
        outcomes = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            outcomes.append(results(tensors, lambda *t: segaware_conv2d(*t, padding=1, backend="numba")))
    finally:
        torch.set_num_threads(before)
    for other in outcomes[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outcomes[0], other, strict=True))


@pytest.mark.parametrize("wanted", range(4))
def test_one_gradient_at_a_time(wanted: int) -> None:
    tensors = random_tensors((1, 4, 6, 7), 5, 3, dtype=torch.float64, padding=1)
    tensors[wanted].requires_grad_()
    grads = []
    for backend in ("reference", "numba"):
        output = segaware_conv2d(*tensors, padding=1, backend=backend)  # type: ignore[misc, arg-type]
        grads += torch.autograd.grad(output.square().sum(), tensors[wanted])
    torch.testing.assert_close(*grads)


def test_a_mask_that_sums_to_zero_gives_nan() -> None:
    input, weight, mask, bias = random_tensors((1, 2, 3, 3), 3, 3, padding=1)
    mask[0, :, 1, 1] = 0
    output = segaware_conv2d(input, weight, mask, bias, padding=1, backend="numba")
    assert output[..., 1, 1].isnan().all() and output.isnan().sum() == 3


def test_gradcheck() -> None:
    tensors = [t.requires_grad_() for t in random_tensors((2, 4, 4, 5), 6, 3, 2, torch.float64, padding=2, dilation=2)]
    assert torch.autograd.gradcheck(
        lambda *t: segaware_conv2d(*t, padding=2, dilation=2, groups=2, backend="numba"), tensors
    )


def test_backward_keeps_no_columns(saved_bytes: Callable[[Callable[[], Tensor]], int]) -> None:
    tensors = [t.requires_grad_() for t in random_tensors((1, 8, 30, 30), 8, 5, padding=2)]
    kept = saved_bytes(lambda: segaware_conv2d(*tensors, padding=2, backend="numba"))
    assert kept <= sum(t.numel() * 4 for t in tensors)


def test_the_operator_is_registered_properly() -> None:
    for groups, normalize in ((1, "mean"), (2, "none")):
        tensors = [t.requires_grad_() for t in random_tensors((1, 4, 5, 6), 4, 3, groups, padding=1)]
        window = Window.of(3, padding=1).numbers()
        torch.library.opcheck(library.conv2d, (*tensors, window, groups, normalize, "numba"))


def test_compile_and_export_see_through_it() -> None:
    class Layer(torch.nn.Module):
        def forward(self, input: Tensor, weight: Tensor, mask: Tensor, bias: Tensor) -> Tensor:
            return segaware_conv2d(input, weight, mask, bias, padding=1).relu()

    tensors = random_tensors((2, 4, 9, 8), 6, 3, padding=1)
    compiled = torch.compile(Layer(), fullgraph=True, backend="aot_eager")
    for expected, actual in zip(results(tensors, Layer()), results(tensors, compiled), strict=True):
        torch.testing.assert_close(actual, expected)
    exported = torch.export.export(Layer(), tuple(tensors))
    assert "segaware.conv2d" in str(exported.graph)
    torch.testing.assert_close(exported.module()(*tensors), Layer()(*tensors))
