"""The Triton kernels of segaware_conv2d against its reference."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, get_args

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from segaware import segaware_conv2d
from segaware.ops._tuned_tiles import Masked, Tile
from segaware.ops.convolution import library
from segaware.ops.window import Window

from ..random_windows import RandomWindow, random_windows
from ..test_convolution import NORMALIZE, Normalize
from .comparison import DEVICE, TOLERANCES, few, positive_numbers, random_numbers, results, same_as_reference

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
SAME = {"stride": 1, "padding": "same", "dilation": 1}


def compare(tensors: list[Tensor], tolerance: float | None = None, **options: Any) -> None:
    same_as_reference(
        lambda x, t, m, b, backend: segaware_conv2d(x, t, m, b, **options, backend=backend), tensors, tolerance
    )


def arguments(
    shape: tuple[int, ...], filters: int, kernel_size: tuple[int, int] = (3, 3), groups: int = 1, **geometry: Any
) -> list[Tensor]:
    """An input, a weight, a mask and a bias."""
    window = Window.of(kernel_size, **(geometry or SAME))
    size = window.output_size(torch.empty(shape))
    return [
        random_numbers(*shape),
        random_numbers(filters, shape[1] // groups, *kernel_size, seed=2),
        positive_numbers(shape[0], window.size, *size),
        random_numbers(filters, seed=3),
    ]


Sizes: TypeAlias = tuple[int, int, int]  # channels, filters and groups
EXAMPLES = (
    (RandomWindow((3, 3), {"stride": 1, "padding": 1, "dilation": 1}, (1, 1)), "mean", torch.float32),
    (RandomWindow((5, 5), {"stride": 1, "padding": "same", "dilation": 9}, (3, 4)), "sum", torch.float32),
    (RandomWindow((3, 2), {"stride": 3, "padding": 2, "dilation": 2}, (9, 8)), "sum", torch.float64),
)


def over_random_windows(drawn: list[Sizes], *sizes_of_examples: Sizes) -> Callable[[], None]:
    """Return a test of random windows, with sizes that are drawn, and of the examples, with a size for each."""

    def test(window: RandomWindow, batch: int, sizes: Sizes, normalize: Normalize, dtype: torch.dtype) -> None:
        channels, filters, groups = sizes
        shape = batch, channels, *window.image_size
        tensors = arguments(shape, filters, window.kernel_size, groups, **window.geometry)
        compare([t.to(dtype) for t in tensors], **window.geometry, groups=groups, normalize=normalize)

    kinds = st.sampled_from(drawn), st.sampled_from(NORMALIZE), st.sampled_from(DTYPES)
    run = given(random_windows(), st.integers(1, 2), *kinds)(test)
    for (window, normalize, dtype), sizes in zip(EXAMPLES, sizes_of_examples, strict=True):
        run = example(window, 1, sizes, normalize, dtype)(run)
    return few(run)


test_random_windows = over_random_windows(
    [(1, 1, 1), (5, 17, 1), (33, 3, 1), (32, 34, 2)], (2, 2, 1), (4, 2, 1), (4, 2, 1)
)


@pytest.mark.parametrize(
    ("shape", "filters", "dilation", "groups"),
    [
        ((1, 70, 10, 13), 70, 1, 1),  # two blocks of channels and of filters, three of pixels
        ((2, 20, 9, 9), 20, 4, 1),  # rows of taps that a block of pixels does not see
        ((1, 80, 5, 7), 40, 2, 2),  # 40 channels and 20 filters in each group, none of them a whole block
        ((1, 18, 20, 21), 17, 1, 1),  # parts of the weight's gradient from several programs
    ],
)
def test_several_blocks(shape: tuple[int, ...], filters: int, dilation: int, groups: int) -> None:
    geometry = {"stride": 1, "padding": dilation, "dilation": dilation}
    compare(arguments(shape, filters, (3, 3), groups, **geometry), **geometry, groups=groups)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> Callable[[Masked], None]:
    """Tiles so small that channels, filters, pixels and shares of them all come in several; what is masked is given."""
    from segaware.ops.convolution._triton import input_gradient, output, weight_gradient

    def set_tiles(masked: Masked) -> None:
        for module in (output, input_gradient, weight_gradient):
            monkeypatch.setattr(module, "choose_tile", lambda *_: Tile(16, 16, 16, 4, 1, masked))

    return set_tiles


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", get_args(Masked))
def test_what_the_mask_is_multiplied_with(
    masked: Masked, dtype: torch.dtype, small_tiles: Callable[[Masked], None]
) -> None:
    small_tiles(masked)
    geometry = {"stride": 2, "padding": (0, 2), "dilation": 2}
    input, weight, mask, bias = (t.to(dtype) for t in arguments((2, 18, 9, 15), 20, (3, 2), **geometry))
    compare([input, weight, mask, bias], **geometry)
    # The gradient of the input alone has a form of its own.
    run = lambda x, t, backend: segaware_conv2d(x, t, mask.to(x.dtype), **geometry, backend=backend)  # noqa: E731
    same_as_reference(run, [input, weight])


def test_forms_differ_in_rounding_alone(small_tiles: Callable[[Masked], None]) -> None:
    """A product of bfloat16 is exact; a factor that has been multiplied by the mask is rounded."""
    outputs = []
    for masked in get_args(Masked):
        small_tiles(masked)
        input, weight, mask, _ = (t.bfloat16() for t in arguments((1, 18, 5, 6), 17))
        outputs.append(segaware_conv2d(input, weight, mask + 0.13, padding=1, backend="triton"))
    assert not torch.equal(*outputs)
    torch.testing.assert_close(*outputs, rtol=0, atol=TOLERANCES[torch.bfloat16] * outputs[0].abs().max().item())


def test_every_kernel_has_several_parts(small_tiles: Callable[[Masked], None], monkeypatch: pytest.MonkeyPatch) -> None:
    from segaware.ops.convolution._triton import weight_gradient

    small_tiles("product")
    grids = []
    kernel = weight_gradient._weight_gradient

    class Recorder:
        def __getitem__(self, grid: tuple[int]) -> Any:
            grids.append(grid)
            return kernel[grid]

    monkeypatch.setattr(weight_gradient, "_weight_gradient", Recorder())
    geometry = {"stride": 1, "padding": (0, 1), "dilation": 1}
    compare(arguments((2, 18, 9, 15), 20, (1, 2), **geometry), **geometry)
    # 2 x 2 blocks of channels and filters, 2 taps; 2 x 9 blocks of 16 pixels in shares of at least 8: two shares.
    assert grids == [(2 * 2 * 2 * 2,)]


def test_tf32_where_torch_s_convolutions_take_it() -> None:
    from segaware.ops import _launch

    tensor = torch.zeros(1)
    assert _launch.precision_of(tensor) == "ieee"  # the fixture has switched it off
    torch.backends.cudnn.allow_tf32 = True
    assert _launch.precision_of(tensor) == "tf32" and _launch.precision_of(tensor.half()) == "half"
    compare(arguments((1, 20, 5, 6), 17), tolerance=2e-3, padding=1)  # 10 bits of a factor


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_offsets_of_64_bits(dtype: torch.dtype, wide_offsets: Callable[[], None]) -> None:
    wide_offsets()
    compare([t.to(dtype) for t in arguments((2, 20, 7, 6), 17)], padding=1)


def test_when_offsets_are_wide() -> None:
    import triton.language as tl

    from segaware.ops._launch import index_type

    assert (index_type(5, 2**31 - 1), index_type(5, 2**31)) == (tl.int32, tl.int64)


def test_memory_layouts(relayout: Callable[[Tensor], Tensor]) -> None:
    input, weight, mask, bias = arguments((2, 18, 4, 5), 17)
    for which in (1, 6):
        tensors = [relayout(t) if which & 1 << i else t for i, t in enumerate((input, weight, mask))]
        compare([*tensors, bias], padding=1)


def test_the_output_has_the_format_that_conv2d_gives() -> None:
    last = torch.channels_last
    for formats in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        input, weight, mask, bias = arguments((2, 18, 6, 7), 17)
        input, weight = (
            t.contiguous(memory_format=last) if f else t for t, f in zip((input, weight), formats, strict=True)
        )
        output = segaware_conv2d(input, weight, mask, bias, padding=1, backend="triton")
        assert output.stride() == torch.nn.functional.conv2d(input, weight, bias, padding=1).stride()


@pytest.mark.parametrize("wanted", range(4))
def test_one_gradient_at_a_time(wanted: int) -> None:
    tensors = [t.double() for t in arguments((1, 4, 6, 7), 5)]
    tensors[wanted].requires_grad_()
    grads = []
    for backend in ("reference", "triton"):
        output = segaware_conv2d(*tensors, padding=1, backend=backend)  # type: ignore[arg-type]
        grads += torch.autograd.grad(output.square().sum(), tensors[wanted])
    torch.testing.assert_close(*grads)


def test_a_mask_that_sums_to_zero_gives_nan() -> None:
    input, weight, mask, bias = arguments((1, 2, 3, 3), 3)
    mask[0, :, 1, 1] = 0
    output = segaware_conv2d(input, weight, mask, bias, padding=1, backend="triton")
    assert output[..., 1, 1].isnan().all() and output.isnan().sum() == 3


def test_an_empty_batch() -> None:
    tensors = arguments((0, 4, 5, 6), 2)
    output, *grads = results(partial(segaware_conv2d, padding=1, backend="triton"), tensors)
    assert output.shape == (0, 2, 5, 6) and [g.shape for g in grads] == [t.shape for t in tensors]
    assert not any(g.any() for g in grads)


@pytest.mark.parametrize("normalize", ["mean", "sum"])
def test_a_mask_that_sums_to_zero_where_the_window_sees_nothing(normalize: Normalize) -> None:
    tensors = arguments((1, 2, 4, 5), 3, padding=3)
    tensors[2][0, :, 0, 0] = 0
    outcomes = [
        results(partial(segaware_conv2d, padding=3, normalize=normalize, backend=backend), tensors)
        for backend in ("triton", "reference")
    ]
    assert outcomes[0][0].isnan().sum() == 3 and outcomes[0][2].isnan().all()
    for actual, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(actual, expected, equal_nan=True)


def test_backward_keeps_no_columns(saved_bytes: Callable[[Callable[[], Tensor]], int]) -> None:
    tensors = [t.bfloat16().requires_grad_() for t in arguments((1, 8, 9, 9), 8, (5, 5), padding=2)]
    kept = saved_bytes(lambda: segaware_conv2d(*tensors, padding=2, backend="triton"))
    assert kept <= sum(t.nbytes for t in tensors)  # in half precision, too


def test_under_autocast() -> None:
    input, weight, mask, bias = arguments((1, 8, 5, 6), 4)
    with torch.autocast(DEVICE, torch.bfloat16):
        outputs = [
            segaware_conv2d(i, weight, mask, bias, padding=1, backend="triton") for i in (input, input.bfloat16())
        ]
    assert outputs[0].dtype == torch.bfloat16 and torch.equal(*outputs)
    expected = segaware_conv2d(input, weight, mask, bias, padding=1, backend="reference")
    torch.testing.assert_close(outputs[0].float(), expected, rtol=0.02, atol=0.02 * expected.abs().max().item())


def test_the_operator_is_registered_properly() -> None:
    for groups, normalize in ((1, "mean"), (2, "none")):
        tensors = [t.requires_grad_() for t in arguments((1, 4, 4, 5), 4, groups=groups)]
        window = Window.of(3, padding=1).numbers()
        torch.library.opcheck(library.conv2d, (*tensors, window, groups, normalize, "triton"))
