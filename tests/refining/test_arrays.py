"""What NumPy and torch hold is taken, whatever lies behind it; what no one can want is one error."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segaware import BilateralFilter2d, refine
from segaware.refining import parse_memory
from segaware.refining import refinement as refinement_module

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (24, 32, 3), np.uint8)
SCORES = RANDOM.standard_normal((3, 24, 32)).astype(np.float32)
EMBEDDING = RANDOM.standard_normal((4, 24, 32)).astype(np.float32)
GIVEN: dict[str, Any] = {
    "scores": SCORES,
    "probabilities": (np.exp(SCORES) / np.exp(SCORES).sum(0)).astype(np.float32),
    "labels": SCORES.argmax(0).astype(np.uint8),
    "values": np.where(SCORES > 1.5, np.nan, SCORES),
}


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


SAME: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "reversed": lambda x: x[..., ::-1].copy()[..., ::-1],
    "flipped": lambda x: x[:, ::-1].copy()[:, ::-1],
    "turned": lambda x: np.rot90(np.rot90(x, 2).copy(), 2),
    "strided": lambda x: x.repeat(2, -1)[..., ::2],
    "Fortran": np.asfortranarray,
    "read-only": read_only,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "little-endian": lambda x: x.astype(x.dtype.newbyteorder("<")),
    "memory-mapped": lambda x: x.view(np.memmap),
}


@pytest.mark.parametrize("method", ["filter", "dense_crf"])
@pytest.mark.parametrize("kind", GIVEN)
@pytest.mark.parametrize("way", SAME)
def test_layout_and_byte_order_change_nothing(way: str, kind: Any, method: Any) -> None:
    if kind == "values" and method == "dense_crf":
        return
    same, given = SAME[way], GIVEN[kind]
    options: dict[str, Any] = {"iterations": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for image in (IMAGE, (IMAGE / 255).astype(np.float32)):
            expected = refine(image, given, method, kind, EMBEDDING, **options)
            refined = refine(same(image), same(given), method, kind, same(EMBEDDING), **options)
            assert refined.dtype == same(given).dtype
            np.testing.assert_array_equal(refined, expected)


@pytest.mark.parametrize("embedding", ["color", torch.nn.Identity()])
@pytest.mark.parametrize("way", SAME)
def test_images_of_any_layout_are_embedded(way: str, embedding: Any) -> None:
    expected = refine(IMAGE, SCORES, embedding=embedding)
    np.testing.assert_array_equal(refine(SAME[way](IMAGE), SCORES, embedding=embedding), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.longdouble, ">f8", ">f2"])
@pytest.mark.parametrize("kind", ["scores", "probabilities", "values"])
def test_floats_of_any_size(dtype: Any, kind: Any) -> None:
    image, given, embedding = (x.astype(dtype) for x in (IMAGE / 255, GIVEN[kind], EMBEDDING))
    refined = refine(image, given, kind=kind, embedding=embedding, iterations=1)
    assert refined.dtype == np.dtype(dtype)
    inputs = [x.astype(np.float32) for x in (image, given, embedding)]
    expected = refine(inputs[0], inputs[1], kind=kind, embedding=inputs[2], iterations=1)
    np.testing.assert_array_equal(refined, expected.astype(dtype))
    refine(image, given, kind=kind, embedding=torch.nn.Identity(), iterations=1)


def test_tensors_of_any_layout_and_type() -> None:
    image, scores = torch.from_numpy(IMAGE).permute(2, 0, 1), torch.from_numpy(SCORES)
    expected = refine(image.contiguous(), scores, embedding="color", iterations=1)
    for same in (
        scores.clone().requires_grad_(),
        torch.nn.Parameter(scores),
        scores.mT.contiguous().mT,
        torch.complex(scores, -scores).conj().imag,
        torch._neg_view(-scores),
    ):
        refined = refine(image, same, embedding="color", iterations=1)
        assert not refined.requires_grad
        assert torch.equal(refined, expected)
    for dtype in (torch.float16, torch.bfloat16, torch.float8_e4m3fn):
        refined = refine(image, scores.to(dtype), embedding="color", iterations=1)
        assert refined.dtype == dtype
        rounded = refine(image, scores.to(dtype).float(), embedding="color", iterations=1)
        assert torch.equal(refined.float(), rounded.to(dtype).float())
    with torch.inference_mode():
        assert torch.equal(refine(image.clone(), scores.clone(), embedding="color", iterations=1), expected)


@pytest.mark.parametrize("num_classes", [np.int64(3), np.uint8(3), torch.tensor([3]).numpy()[0]])
def test_numpy_numbers_are_numbers(num_classes: Any) -> None:
    options: dict[str, Any] = {"kind": "labels", "embedding": "color", "iterations": 1}
    expected = refine(IMAGE, GIVEN["labels"], **options)
    numpy = refine(
        IMAGE, GIVEN["labels"], **options, num_classes=num_classes, certainty=np.float64(0.7), stride=np.int32(1)
    )
    np.testing.assert_array_equal(numpy, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": SCORES[:0]}, r"scores must have at least 1 channel, got shape \(0, 24, 32\)"),
        ({"scores": SCORES[:, :0]}, "scores must have at least one row and column"),
        ({"scores": SCORES[..., :0]}, "scores must have at least one row and column"),
        ({"image": IMAGE[:0], "scores": SCORES[:, :0]}, "image must be RGB"),
        ({"image": IMAGE[None][:0], "scores": SCORES[None][:0]}, "image must be RGB"),
        ({"scores": SCORES.astype(np.complex64)}, "floating-point numbers, got complex64"),
        ({"scores": SCORES.astype(object)}, "floating-point numbers, got object"),
        ({"scores": np.ma.masked_array(SCORES, SCORES > 1)}, r"scores must not be a masked array.* filled"),
        ({"image": np.ma.masked_array(IMAGE)}, "image must not be a masked array"),
        ({"scores": SCORES.astype(np.float64) * 1e30}, "scores must be finite and at most 1e"),
        ({"scores": SCORES * 1e10 * 1e20}, "scores must be finite and at most 1e"),
        ({"scores": SCORES.astype(np.float64) * 1e30, "kind": "values"}, "values must be finite, .* and at most 1e"),
        ({"scores": np.full((1, 24, 32), np.inf, np.float16), "kind": "values"}, "values must be finite"),
        ({"embedding": EMBEDDING.astype(np.float64) * 1e30}, "embedding must be finite and at most 1e"),
        ({"embedding": EMBEDDING * np.nan}, "embedding must be finite"),
        ({"embedding": lambda x: x.to_sparse()}, "embedding must be a dense tensor"),
        ({"kernel_size": 10**9 + 1}, "kernel_size must .*, got 1000000001"),
        ({"kernel_size": 67}, "kernel_size must be at most 64, twice the image's longer side, got 67"),
        ({"kernel_size": (3, 67)}, "kernel_size must be at most 64"),
        ({"kernel_size": 67, "method": "segaware_crf"}, "kernel_size must be at most 64"),
        ({"kernel_size": 3.5}, "kernel_size must be an int"),
        ({"stride": 10**12}, "stride must be an int of at most 32, got 1000000000000"),
        ({"stride": 0}, "stride must be an int of at least 1, got 0"),
        ({"stride": 2.0}, "stride must be an int of at least 1, got 2.0"),
        ({"stride": True}, "stride must be an int of at least 1, got True"),
        ({"method": BilateralFilter2d}, "method must be one of"),
        ({"method": None}, "method must be one of"),
        ({"method": torch.nn.Conv2d(3, 3, 1)}, "method must be one of"),
        *(
            ({"kind": "labels", "scores": GIVEN["labels"], "num_classes": n}, f"num_classes must be an int of {bound}")
            for n, bound in [(0, "at least 2"), (1, "at least 2"), (-3, "at least 2"), (2.5, "at least 2"),
                             ("3", "at least 2"), (True, "at least 2"), (256, "at most 255"), (10**12, "at most 255")]
        ),
        *(
            ({"kind": "labels", "scores": GIVEN["labels"], "certainty": c}, "certainty must be above 1 / 3")
            for c in (np.nan, np.inf, 1, 0, -1, 1 / 3, True, "0.7", None, 1e400)
        ),
        *(({"max_memory": m}, "max_memory must be") for m in ("1e400", "9" * 400, "9" * 400 + "GB", 10**400, np.nan,
                                                             np.inf, -1, 0, "nan", "inf", "", "GB", "0.1B", True)),
    ],
)  # fmt: skip
def test_what_no_one_can_want_is_one_error(
    arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refinement_module.Refinement, "run", lambda *_: pytest.fail("work was done"))
    with pytest.raises(ValueError, match=message):
        refine(**({"image": IMAGE, "scores": SCORES, "embedding": "color"} | arguments))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.from_numpy(SCORES).to_sparse(),
        torch.empty(3, 24, 32, device="meta"),
        torch.quantize_per_tensor(torch.from_numpy(SCORES), 0.1, 0, torch.qint8),
        torch.nested.nested_tensor([torch.zeros(24, 32)] * 3),
    ],
)
def test_tensors_without_dense_numbers_are_refused(tensor: Tensor) -> None:
    image = torch.from_numpy(IMAGE).permute(2, 0, 1)
    with pytest.raises(ValueError, match="scores must be a dense tensor"):
        refine(image, tensor)
    with pytest.raises(ValueError, match="image must be a dense tensor"):
        refine(tensor, torch.from_numpy(SCORES))


def test_a_window_beyond_the_machine_says_so_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refinement_module, "machine_memory", lambda: 1e6)
    with pytest.raises(MemoryError, match=r"BilateralFilter2d needs about .* GB .* 32x24, more than this machine has"):
        refine(IMAGE, SCORES, BilateralFilter2d(63), embedding="color")
    assert parse_memory("4GB") == 4_000_000_000
