"""dense_crf and DenseCRF against pydensecrf, recorded and live, and against a loop over all pairs of pixels."""

import inspect
import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness.plan import Settings
from segaware import use_backend
from segaware.nn.dense_crf import DenseCRF, dense_crf

RECORDED = Path(__file__).with_name("pydensecrf.npz")
OTHER: dict[str, Any] = {
    "gaussian_sxy": 2, "gaussian_compat": 2, "bilateral_sxy": 12, "bilateral_srgb": 20, "bilateral_compat": 4,
    "iterations": 5,
}  # fmt: skip


def recorded() -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Log-probabilities, an image, and what pydensecrf2 1.1 made of them with its README's options and with OTHER.

    The image has regions with noise, and noise at the bottom. Its lattice depends on how features are rounded: computed
    in float64, marginals are 0.01 off.
    """
    with np.load(RECORDED) as file:
        scores, image = torch.from_numpy(file["scores"]) / 16, torch.from_numpy(file["image"])
        marginals = {name: torch.from_numpy(file[name].astype(np.float32)) / 65535 for name in ("readme", "other")}
    return F.log_softmax(scores, 0), image, marginals


def random_arguments(classes: int, height: int, width: int, batch: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Log-probabilities and an image of a few colours with noise."""
    random = torch.Generator().manual_seed(classes * height + width)
    log_probabilities = (2 * torch.randn(*batch, classes, height, width, generator=random)).log_softmax(-3)
    coarse = torch.rand(*batch or (1,), 3, 3, 3, generator=random)
    image = F.interpolate(coarse, size=(height, width), mode="nearest").view(*batch, 3, height, width)
    return log_probabilities, (image + 0.1 * torch.rand(image.shape, generator=random)).clamp(0, 1)


def numpy_loop(log_probabilities: Tensor, image: Tensor, options: dict[str, Any]) -> np.ndarray:
    """Mean field over all pairs of pixels, one image; Eq. 5 and 6 with symmetric normalisation."""
    unary, rgb = log_probabilities.double().numpy(), 255 * image.double().numpy()
    _, height, width = rgb.shape
    pixels = list(product(range(height), range(width)))
    terms = []
    for name in ("gaussian", "bilateral"):
        kernel = np.empty((len(pixels), len(pixels)))
        for (i, (y, x)), (j, (v, u)) in product(enumerate(pixels), repeat=2):
            exponent = ((y - v) ** 2 + (x - u) ** 2) / options[f"{name}_sxy"] ** 2
            if name == "bilateral":
                exponent += ((rgb[:, y, x] - rgb[:, v, u]) ** 2).sum() / options["bilateral_srgb"] ** 2
            kernel[i, j] = math.exp(-exponent / 2)
        root = np.sqrt(kernel.sum(1))
        terms.append(options[f"{name}_compat"] * kernel / np.outer(root, root))
    unary = unary.reshape(len(unary), -1)
    marginals = np.exp(unary)
    for _ in range(options["iterations"]):
        energy = unary + sum(marginals @ term for term in terms)
        marginals = np.exp(energy) / np.exp(energy).sum(0)
    return marginals.reshape(log_probabilities.shape)


def test_pydensecrf_recorded() -> None:
    log_probabilities, image, marginals = recorded()
    for name, options in (("readme", {}), ("other", OTHER)):
        refined = dense_crf(log_probabilities, image, **options, backend="numba")
        # Recorded in 16 bits.
        torch.testing.assert_close(refined, marginals[name], rtol=0, atol=1.2e-5)
        assert (refined - log_probabilities.exp()).abs().max() > 0.5


@pytest.mark.parametrize("options", [{}, OTHER], ids=["readme", "other"])
@pytest.mark.parametrize(("classes", "height", "width"), [(2, 40, 30), (21, 90, 110), (5, 1, 50), (3, 2, 1)])
def test_pydensecrf_live(classes: int, height: int, width: int, options: dict[str, Any]) -> None:
    pytest.importorskip("pydensecrf.densecrf")
    peer = Settings().peer("pydensecrf_crf", "dense_crf")
    assert callable(peer)
    log_probabilities, image = random_arguments(classes, height, width)
    pixels = (255 * image).round().to(torch.uint8)
    expected = peer(log_probabilities, pixels, **options)
    torch.testing.assert_close(dense_crf(log_probabilities, pixels, **options), expected, rtol=0, atol=2e-5)


def test_the_defaults_are_those_of_pydensecrfs_readme() -> None:
    for parameters in (inspect.signature(dense_crf).parameters, inspect.signature(DenseCRF).parameters):
        options = {name: parameters[name].default for name in parameters if name not in ("log_probabilities", "image")}
        assert options | {"backend": None} == {
            "backend": None,
            "gaussian_sxy": 3, "gaussian_compat": 3, "bilateral_sxy": 80, "bilateral_srgb": 13, "bilateral_compat": 10,
            "iterations": 10,
        }  # fmt: skip


def test_the_reference_is_the_mean_field_over_all_pairs() -> None:
    log_probabilities, image = random_arguments(3, 7, 9)
    refined = dense_crf(log_probabilities, image, **OTHER, backend="reference")
    expected = numpy_loop(log_probabilities, image, OTHER)
    torch.testing.assert_close(refined.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
    assert (refined - log_probabilities.exp()).abs().max() > 0.3


def test_the_lattice_comes_near_the_reference() -> None:
    """But for a few pixels among noise, which go over to another class."""
    log_probabilities, image, _ = recorded()
    for options in ({}, OTHER):
        exact, lattice = (
            dense_crf(log_probabilities, image, **options, backend=backend)  # type: ignore[arg-type]
            for backend in ("reference", "numba")
        )
        assert (exact - lattice).abs().mean() < 0.006
        assert (exact.argmax(0) == lattice.argmax(0)).float().mean() > 0.99


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_worked_example(backend: Any) -> None:
    """One pixel far from two equal ones: these have the kernel [[1, 1], [1, 1]] / 2, the far one has 1."""
    log_probabilities = torch.tensor([[[0.8, 0.3, 0.3]], [[0.2, 0.7, 0.7]]]).log()
    image = torch.tensor([0.0, 0.0, 1.0]).expand(3, 1, 3)
    options = {"gaussian_compat": 0, "bilateral_sxy": 1e5, "bilateral_srgb": 1, "bilateral_compat": 2.0}
    refined = dense_crf(log_probabilities, image, **options, iterations=1, backend=backend)
    messages = torch.tensor([[0.55, 0.55, 0.3], [0.45, 0.45, 0.7]])
    expected = (log_probabilities[:, 0] + 2 * messages).softmax(0)
    torch.testing.assert_close(refined[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_images_of_a_batch_are_independent() -> None:
    log_probabilities, image = random_arguments(4, 12, 15, (3,))
    refined = dense_crf(log_probabilities, image, **OTHER)
    for i in range(3):
        assert torch.equal(refined[i], dense_crf(log_probabilities[i], image[i], **OTHER))
    assert dense_crf(log_probabilities[:0], image[:0]).shape == (0, 4, 12, 15)


def test_bytes_and_floats_are_the_same_image() -> None:
    log_probabilities, image, _ = recorded()
    assert torch.equal(dense_crf(log_probabilities, image), dense_crf(log_probabilities, image / 255))


def test_deviations_may_differ_by_direction_and_color() -> None:
    log_probabilities, image = random_arguments(3, 12, 15)
    options = {"gaussian_sxy": (2, 5), "bilateral_sxy": [4, 9], "bilateral_srgb": (10, 20, 40)}
    refined = dense_crf(log_probabilities, image, **options)
    turned = {"gaussian_sxy": (5, 2), "bilateral_sxy": (9, 4), "bilateral_srgb": (40, 20, 10)}
    other = dense_crf(log_probabilities.mT, image.mT.flip(0), **turned, backend="reference").mT
    torch.testing.assert_close(dense_crf(log_probabilities, image, **options, backend="reference"), other)
    assert (refined - other).abs().mean() < 0.05
    same = {"gaussian_sxy": (3, 3), "bilateral_sxy": (80, 80), "bilateral_srgb": (13, 13, 13)}
    assert torch.equal(dense_crf(log_probabilities, image, **same), dense_crf(log_probabilities, image))


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_no_iterations_or_no_weights_give_back_the_probabilities(backend: Any) -> None:
    log_probabilities, image = random_arguments(3, 5, 6)
    for options in ({"iterations": 0}, {"gaussian_compat": 0, "bilateral_compat": 0}):
        torch.testing.assert_close(
            dense_crf(log_probabilities, image, **options, backend=backend), log_probabilities.exp()
        )


def test_a_weight_of_0_leaves_a_filter_out() -> None:
    log_probabilities, image = random_arguments(3, 12, 15)
    for off in ("gaussian_compat", "bilateral_compat"):
        nearly = dense_crf(log_probabilities, image, **{**OTHER, off: 1e-9})
        torch.testing.assert_close(dense_crf(log_probabilities, image, **{**OTHER, off: 0}), nearly)
    without = dense_crf(log_probabilities, image, gaussian_compat=3, bilateral_compat=0)
    assert torch.equal(without, dense_crf(log_probabilities, 1 - image, gaussian_compat=3, bilateral_compat=0))


def test_dtypes() -> None:
    log_probabilities, image = random_arguments(3, 12, 15)
    expected = dense_crf(log_probabilities, image)
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.bfloat16, 0.05)):
        refined = dense_crf(log_probabilities.to(dtype), image.to(dtype))
        assert refined.dtype == dtype
        torch.testing.assert_close(refined.float(), expected, rtol=0, atol=tolerance)


def test_inputs_are_left_as_they_are() -> None:
    log_probabilities, image = random_arguments(3, 5, 6)
    before = log_probabilities.clone(), image.clone()
    for backend in ("numba", "reference"):
        with use_backend(backend):  # type: ignore[arg-type]
            dense_crf(log_probabilities, image)
            DenseCRF()(log_probabilities, image)
    assert torch.equal(log_probabilities, before[0]) and torch.equal(image, before[1])


def test_the_module_refines_scores_to_log_marginals() -> None:
    scores, image = random_arguments(3, 12, 15, (2,))
    scores = 3 * scores + 5
    crf = DenseCRF(**OTHER)
    refined = crf(scores, image)
    torch.testing.assert_close(refined.exp(), dense_crf(scores.log_softmax(1), image, **OTHER))
    torch.testing.assert_close(crf(scores[0], image[0]), refined[0])
    assert crf(scores.bfloat16(), image).dtype == torch.bfloat16
    assert not list(crf.parameters()) and not crf.state_dict()
    assert not crf(scores.requires_grad_(), image).requires_grad


def test_the_modules_logarithms_are_finite() -> None:
    scores, image = random_arguments(3, 12, 15)
    refined = DenseCRF()(1e4 * scores, image)
    assert refined.min() >= math.log(torch.finfo(torch.float32).tiny) - 1e-3 and refined.max() <= 0


def test_a_compiled_module_does_the_same() -> None:
    scores, image = random_arguments(3, 12, 15)
    compiled = torch.compile(DenseCRF(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(scores, image), DenseCRF()(scores, image))


def test_repr() -> None:
    assert repr(DenseCRF(gaussian_sxy=(2, 3), iterations=5)) == (
        "DenseCRF(gaussian_sxy=(2, 3), gaussian_compat=3.0, bilateral_sxy=80.0, bilateral_srgb=13.0, "
        "bilateral_compat=10.0, iterations=5)"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gaussian_sxy": 0}, r"^gaussian_sxy must be a positive number or such a pair, \(x, y\), got 0"),
        ({"bilateral_sxy": (3, -1)}, r"^bilateral_sxy must be .*got \(3, -1\)"),
        ({"bilateral_sxy": (3, 3, 3)}, r"^bilateral_sxy must be .*got \(3, 3, 3\)"),
        ({"bilateral_srgb": -13}, r"^bilateral_srgb must be .*triple, \(r, g, b\), got -13"),
        ({"bilateral_srgb": math.nan}, "^bilateral_srgb must be .*got nan"),
        ({"bilateral_srgb": "13"}, "^bilateral_srgb must be .*got '13'"),
        ({"gaussian_compat": math.inf}, "^gaussian_compat must be a finite number, got inf"),
        ({"bilateral_compat": torch.ones(3)}, "^bilateral_compat must be a finite number, got tensor"),
        ({"iterations": -1}, "^iterations must be an int of at least 0, got -1"),
        ({"iterations": 2.5}, "^iterations must be .*got 2.5"),
        ({"iterations": True}, "^iterations must be .*got True"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dense_crf(*random_arguments(3, 5, 6), **options)
    with pytest.raises(ValueError, match=message):
        DenseCRF(**options)


SCORES, IMAGE = random_arguments(3, 5, 6)


@pytest.mark.parametrize(
    ("log_probabilities", "image", "message"),
    [
        (SCORES[0], IMAGE, r"^log_probabilities must be .*\(N, C, H, W\) or \(C, H, W\), got .*\(5, 6\)"),
        (SCORES.long(), IMAGE, "^log_probabilities must be a floating-point.*got torch.int64"),
        (torch.zeros(1, 5, 6), IMAGE, r"^log_probabilities must have at least 2 classes.*got shape \(1, 5, 6\)"),
        (SCORES[:, :0], IMAGE[:, :0], r"^log_probabilities must have .*1 pixel, got shape \(3, 0, 6\)"),
        (SCORES * math.nan, IMAGE, "^log_probabilities must be finite, got values from nan"),
        (SCORES.clone().index_fill_(0, torch.tensor(1), -math.inf), IMAGE, "^log_probabilities must be finite.*-inf"),
        (
            2 * SCORES,
            IMAGE,
            r"^log_probabilities .*logsumexp is up to .*away from 0: pass F.log_softmax\(scores, dim\)",
        ),
        (100 * SCORES.abs(), IMAGE, r"^log_probabilities .*got values whose logsumexp .*F.log_softmax"),
        (SCORES - 0.002, IMAGE, r"^log_probabilities .*logsumexp is up to 0.002 away"),
        (SCORES.exp(), IMAGE, r"^log_probabilities must be logarithms, got what look like probabilities: .*log\(\)"),
        (SCORES, IMAGE[:, :, 1:], r"^image must be .*shape \(3, 5, 6\), as log_probabilities .*got .*\(3, 5, 5\)"),
        (SCORES, IMAGE[:1], r"^image must be .*RGB.*\(3, 5, 6\).*got .*\(1, 5, 6\)"),
        (SCORES, IMAGE[None], r"^image must be .*\(3, 5, 6\).*got .*\(1, 3, 5, 6\)"),
        (SCORES[None], IMAGE, r"^image must be .*\(1, 3, 5, 6\).*got .*\(3, 5, 6\)"),
        (SCORES, IMAGE.long(), "^image must be .*uint8.*got torch.int64"),
        (SCORES, 255 * IMAGE, r"^image must be RGB in 0..1, or uint8 in 0..255, got torch.float32 values from .* to 2"),
        (SCORES, IMAGE - 0.5, "^image must be RGB in 0..1.*got torch.float32 values from -0.[0-9]+ to 0.5"),
        (SCORES, IMAGE * math.inf, "^image must be finite"),
    ],
)
def test_bad_data_is_named(log_probabilities: Tensor, image: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dense_crf(log_probabilities, image)


def test_bad_scores_of_the_module_are_named() -> None:
    with pytest.raises(ValueError, match=r"^scores must be finite, got values from nan to nan$"):
        DenseCRF()(SCORES * math.nan, IMAGE)
    with pytest.raises(ValueError, match=r"^image must be .*as scores of shape \(3, 5, 6\)"):
        DenseCRF()(SCORES, IMAGE[:, 1:])
    with pytest.raises(ValueError, match=r"^scores must have at least 2 classes"):
        DenseCRF()(SCORES[:1], IMAGE)
