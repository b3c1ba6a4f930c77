"""What probabilities, labels and mattes are taken for."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segaware import BilateralFilter2d, DenseCRF, SegAwareCRF, refine
from segaware.refining import refinement as refinement_module
from segaware.refining.kinds import Given, contenders, count_contenders, most_probable

PYDENSECRF = DenseCRF()  # has the options of pydensecrf's README
LAYERS: dict[str, Any] = {
    "filter": BilateralFilter2d(5, iterations=2),
    "segaware_crf": SegAwareCRF(2, kernel_size=3, dilation=1),
    "dense_crf": PYDENSECRF,
}


def photograph(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def confident() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An image, labels with isolated errors, probabilities of 1e-8 and almost 1, and pydensecrf2 1.1's marginals.

    Its unaries are those of `unary_from_softmax(probabilities)`, its options those of its README.
    """
    with np.load(Path(__file__).with_name("unary_from_softmax.npz")) as file:
        image, label, marginals = file["image"], file["label"].astype(np.int64), file["marginals"] / 65535
    probabilities = np.full((3, *label.shape), 1e-8)
    np.put_along_axis(probabilities, label[None], 1 - 2e-8, 0)
    return image, label, probabilities, marginals


def isolated(label: np.ndarray) -> int:
    """The number of pixels that are unlike all four neighbours."""
    padded = np.pad(label, 1, mode="edge")
    neighbours = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    return int(np.all([label != n for n in neighbours], 0).sum())


def test_confident_probabilities_are_clipped_as_in_pydensecrf() -> None:
    image, label, probabilities, marginals = confident()
    refined = refine(image, probabilities, PYDENSECRF, "probabilities")
    np.testing.assert_allclose(refined, marginals, atol=2e-4)
    assert isolated(label) > 25 and isolated(refined.argmax(0)) < 8
    # Without clipping no number of neighbours outvotes a pixel.
    unclipped = refine(image, probabilities, PYDENSECRF, "probabilities", clip=1e-8)
    assert isolated(unclipped.argmax(0)) == isolated(label)
    np.testing.assert_allclose(unclipped, np.exp(refine(image, np.log(probabilities), PYDENSECRF)), atol=1e-5)


@pytest.mark.parametrize("method", ["segaware_crf", "dense_crf"])
@pytest.mark.parametrize("clip", [1e-5, 0.01])
def test_a_probability_of_0_is_one_of_clip(method: Any, clip: float) -> None:
    image, label, *_ = confident()
    one_hot = np.eye(3, dtype=np.float32)[label].transpose(2, 0, 1)
    logits = np.log(np.clip(one_hot, clip, 1))
    options: dict[str, Any] = {"embedding": "color", "iterations": 2, "strength": 1}
    expected = torch.from_numpy(refine(image, logits, method, **options)).softmax(0)
    refined = refine(image, one_hot, method, "probabilities", clip=clip, **options)
    np.testing.assert_allclose(refined, expected, atol=1e-5)


def test_rounded_and_resampled_probabilities_are_probabilities() -> None:
    image, scores = photograph(24, 32), 2 * torch.randn(21, 12, 16)
    softmax = scores.softmax(0)
    eight = (softmax * 255).round() / 255
    given = [softmax.half(), softmax.bfloat16(), eight, (softmax * 255).floor() / 255]
    given += [scores.half().softmax(0), torch.full((150, 12, 16), 1 / 150).mul(255).floor() / 255]
    given.append(torch.nn.functional.interpolate(softmax[None], (24, 32), mode="bilinear")[0].half())
    for probabilities in given:
        refine(image, probabilities.float().numpy(), "dense_crf", "probabilities", iterations=1)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (torch.randn(3, 8, 9).sigmoid(), r"must sum to 1 over the classes, got sums from .* sigmoids"),
        (torch.full((2, 8, 9), 0.52), "must sum to 1 over the classes, got sums from 1.04 to 1.04"),
        (torch.zeros(150, 8, 9), "must sum to 1 over the classes, got sums from 0 to 0"),
        (torch.rand(1, 8, 9), r"at least 2 classes, got 1 channel: .* \[1 - p, p\].* 'masks'"),
        (torch.full((2, 8, 9), 127.5), r"in 0\.\.1, got values from 127.5 to 127.5: divide 0\.\.255 by 255"),
        (torch.full((2, 8, 9), 127, dtype=torch.uint8), "floating-point numbers, got torch.uint8|uint8.* scores / 255"),
        (torch.full((2, 8, 9), -0.5), r"in 0\.\.1, got values from -0.5"),
    ],
)
def test_what_are_no_probabilities_is_said(probabilities: torch.Tensor, message: str) -> None:
    for method in ("filter", "segaware_crf", "dense_crf"):
        with pytest.raises(ValueError, match=message):
            refine(torch.rand(3, 8, 9), probabilities, method, "probabilities", "color")  # type: ignore[arg-type]


def test_scores_that_are_no_scores_are_said() -> None:
    image = photograph(8, 9)
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match="themselves, as kind 'probabilities'"):
        refine(image, np.log(np.eye(2)[np.zeros((8, 9), int)].transpose(2, 0, 1)), "dense_crf")
    with pytest.raises(ValueError, match=r"at least 2 classes for a CRF, got 1: .* \[0, x\]"):
        refine(image, np.zeros((1, 8, 9)), "dense_crf")
    for kind in ("scores", "probabilities"):
        with pytest.raises(ValueError, match=r"\(C, h, w\).* a single mask or matte is of kind 'masks'"):
            refine(image, np.zeros((8, 9)), kind=kind)


@pytest.mark.parametrize("clip", [0, -1, 0.5, 1e-50, np.nan, np.inf, None, True, "1e-5"])
def test_clip_is_a_small_number(clip: Any) -> None:
    with pytest.raises(ValueError, match=r"clip must be at least 1\.18e-38 and below 1 / 2"):
        refine(photograph(8, 9), np.full((2, 8, 9), 0.5), "dense_crf", "probabilities", clip=clip)


@pytest.mark.parametrize("method", LAYERS)
def test_neighbours_of_different_classes_are_known(method: Any) -> None:
    image = np.full((1, 2, 3), 128, np.uint8)
    for labels in ([[0, 1]], [[1, 0]], [[1, 1]], [[0, 0]]):
        label = np.array(labels, np.uint8)
        refined = refine(image, label, LAYERS[method], "labels", "color", num_classes=2)
        assert (refined < 2).all()
        if method == "filter":  # both pixels see both, equally: each keeps its own
            np.testing.assert_array_equal(refined, label)


@pytest.mark.parametrize("method", LAYERS)
def test_an_unknown_pixel_between_two_classes_takes_one_of_them(method: Any) -> None:
    image = np.full((1, 3, 3), 128, np.uint8)
    refined = refine(image, np.array([[0, 255, 1]], np.uint8), LAYERS[method], "labels", "color", num_classes=2)
    assert (refined < 2).all()
    if method != "dense_crf":  # of three pixels alone, its messages outvote the outer ones
        assert refined.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("method", ["filter", "segaware_crf"])
def test_unknown_is_what_sees_no_known_pixel(method: Any) -> None:
    label = np.full((9, 40), 255, np.uint8)
    label[:, 1], label[:, 2] = 0, 1
    layer = BilateralFilter2d(3) if method == "filter" else SegAwareCRF(2, kernel_size=3, dilation=1, iterations=1)
    reach = 1 if method == "filter" else layer.spatial_window.kernel_size[0] // 2
    refined = refine(np.full((9, 40, 3), 9, np.uint8), label, layer, "labels", "color", num_classes=2)
    assert (refined[:, : 3 + reach] < 2).all() and (refined[:, 3 + reach :] == 255).all()


@pytest.mark.parametrize(("method", "stride"), list(product(["filter", "segaware_crf"], [1, 2, 4])))
def test_ties_are_decided_alike_in_tiles(method: Any, stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.full((3, 96, 128), 0.5)
    column = torch.arange(128 // stride)
    label = (column // 3 % 2).where(column % 7 > 0, 255).expand(96 // stride, -1)  # ties midway between two
    options: dict[str, Any] = {"kernel_size": 3, "iterations": 1, "num_classes": 2, "embedding": "color"}
    whole = refine(image, label, method, "labels", **options)
    tiles: list[int] = []
    monkeypatch.setattr(refinement_module, "memory_left", lambda limit, held: 3e5)
    run = refinement_module.Refinement.run
    monkeypatch.setattr(refinement_module.Refinement, "run", lambda self, *args: tiles.append(1) or run(self, *args))
    tiled = refine(image, label, method, "labels", max_memory="4GB", **options)
    assert torch.equal(tiled, whole) and whole.unique().tolist() == [0, 1] and len(tiles) >= 6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, ">i4", torch.uint8, torch.int64])
@pytest.mark.parametrize("num_classes", [None, 2, 21])
def test_labels_of_0_and_255_are_refused(dtype: Any, num_classes: int | None) -> None:
    label = np.zeros((2, 8, 9), np.int64)
    label[:, 2:5, 3:6] = 255
    given = torch.from_numpy(label).to(dtype) if isinstance(dtype, torch.dtype) else label.astype(dtype)
    images = torch.rand(2, 3, 8, 9) if isinstance(given, torch.Tensor) else photograph(8, 18).reshape(2, 8, 9, 3)
    for method in ("filter", "segaware_crf", "dense_crf"):
        for image, part in ((images, given), (images[0], given[0])):
            with pytest.raises(ValueError, match=r"0 and 255 alone.* write 0 for ground and 1 .* kind 'masks'"):
                refine(image, part, method, "labels", "color", num_classes=num_classes)  # type: ignore[arg-type]


def test_soft_mattes_are_masks() -> None:
    image = photograph(16, 32)
    matte = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(8, 32).repeat(2, 0), (16, 32))
    for kind, message in (
        ("labels", "num_classes given .* got up to 254; a soft matte of 0..255 is refined as kind 'masks'"),
        ("values", "must be floating-point numbers, got uint8: 0..255 are given as scores / 255"),
    ):
        with pytest.raises(ValueError, match=message):
            refine(image, matte, kind=kind, embedding="color")
    with pytest.raises(ValueError, match=r"num_classes given .* got up to 248"):  # a CRF has a channel for each
        refine(image, np.minimum(matte, 248).astype(np.int64), "segaware_crf", "labels", "color")
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.1 .* a soft matte"):
        refine(image, matte, kind="labels", num_classes=2)
    with pytest.raises(ValueError, match=r"must be integers, got bool: .* of kind 'masks'"):
        refine(image, matte > 99, kind="labels")
    refined = refine(image, matte / 255, kind="masks", embedding="color")
    assert refined.shape == (16, 32) and refined.min() >= 0 and refined.max() <= 1


def test_masks_are_each_refined_alone_and_come_back_as_they_were() -> None:
    image, p = photograph(16, 32), np.random.default_rng(1).random((3, 16, 32), np.float32)
    options: dict[str, Any] = {"kind": "masks", "embedding": "color"}
    each = np.stack([refine(image, np.stack([1 - m, m]), kind="probabilities", embedding="color")[1] for m in p])
    refined = refine(image, p, **options)
    np.testing.assert_allclose(refined, each, atol=1e-6)
    logits = refine(image, np.log(p / (1 - p)), **options)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), refined, atol=1e-5)
    bytes_ = (255 * p).astype(np.uint8)
    in_bytes = refine(image, bytes_, **options)
    assert in_bytes.dtype == np.uint8
    np.testing.assert_allclose(in_bytes / 255, refine(image, bytes_ / 255, **options), atol=0.5 / 255 + 1e-6)
    hard = p > 0.5
    expected = refine(image, hard.astype(np.float32), strength=1, **options) > 0.5
    for given in (hard, hard.astype(np.uint8), torch.from_numpy(hard)):
        images = image if isinstance(given, np.ndarray) else torch.from_numpy(image).permute(2, 0, 1)
        output = refine(images, given, strength=1, **options)
        assert output.dtype == given.dtype and (np.asarray(output) == expected).all() and (expected != hard).any()
    assert (refine(image, hard[0], strength=1, **options) == expected[0]).all()
    for none in (hard[:0], p[:0], bytes_[:0, ::4, ::4]):  # of a photograph without objects
        assert all(refine(image, none, strength=s, **options).shape == (0, 16, 32) for s in ("auto", 1))
    with pytest.raises(ValueError, match="masks must be bool, uint8 or floating-point numbers, got int64"):
        refine(image, hard.astype(np.int64), **options)
    with pytest.raises(ValueError, match="masks must be finite"):
        refine(image, np.where(hard, np.nan, p), **options)
    with pytest.raises(ValueError, match="method must be 'filter' for masks"):
        refine(image, p, "dense_crf", **options)


@pytest.mark.parametrize("strength", ["auto", 1])
def test_labels_are_any_integers(strength: Any) -> None:
    image = np.repeat(np.array([10, 90, 200], np.uint8), 8)[None, :, None].repeat(12, 0).repeat(3, 2)
    small = np.repeat([[0, 1, 2]], 12, 0).repeat(8, 1)
    small[:, 8] = 0  # a pixel of the second colour, and one that is not known
    small[5, 20] = 3
    ids = np.array([40_000_123, 7, -5, -1])
    options: dict[str, Any] = {"kind": "labels", "embedding": "color", "strength": strength}
    refined = refine(image, ids[small], ignore_index=-1, **options)
    assert set(np.unique(refined)) <= set(ids[:3])
    lower = np.array([0, 1, 2, 255], np.uint8)
    np.testing.assert_array_equal(refined, ids[refine(image, lower[small], **options)])
    assert (refined[:, 8] == (ids[1] if strength == 1 else ids[0])).all() and refined[5, 20] == -5
    with pytest.raises(ValueError, match=r"labels must be in 0\.\."):  # a CRF has a channel for each
        refine(image, ids[small], "dense_crf", "labels", ignore_index=-1)


def test_contenders_are_those_that_can_win_a_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    left_out = 0
    for spread in np.linspace(0.5, 6, 40):
        logits = torch.randn(12, 40, generator=generator) - spread * torch.rand(12, 1, generator=generator) * 2
        pixels = logits.softmax(0)
        weights = torch.rand(40, 500, generator=generator) ** 8  # of few pixels each
        winners = (pixels @ (weights / weights.sum(0))).argmax(0)
        winners = set(winners.tolist()) | set(pixels.argmax(0).tolist())
        kept = contenders(pixels[:, None]).tolist()
        assert winners <= set(kept) and kept == sorted(kept)
        left_out += 12 - len(kept)
    assert left_out > 40


def test_of_many_classes_few_are_contenders() -> None:
    """Each of 100 classes has a tenth somewhere, and the other two share 0.9 everywhere."""
    probabilities = torch.zeros(102, 10, 10)
    probabilities[:100].flatten(1).fill_diagonal_(0.1)
    probabilities[100], probabilities[101] = torch.linspace(0, 0.9, 10), torch.linspace(0.9, 0, 10)
    assert contenders(probabilities).tolist() == [100, 101]


def test_memory_is_planned_for_the_contenders(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.randn(60, 40, 50) - 30
    scores[3, :, :25], scores[8, :, 25:] = 0, 0
    assert count_contenders(scores.numpy, Given("scores", 60)) == len(contenders(scores.softmax(0))) == 2
    assert count_contenders(torch.randn(60, 4, 5).numpy, Given("scores", 60)) == 60
    image, options = torch.rand(3, 160, 200), {"embedding": "color", "kernel_size": 3, "iterations": 1}
    tiles: list[int] = []
    run = refinement_module.Refinement.run
    monkeypatch.setattr(refinement_module.Refinement, "run", lambda *x: (tiles.append(x[0].pieces), run(*x))[1])
    monkeypatch.setattr(refinement_module, "memory_left", lambda limit, held: 4e6)
    labels = refine(image, scores, max_memory="4GB", classify=True, **options)  # type: ignore[arg-type]
    few = tiles[-1]
    refine(image, scores, max_memory="4GB", **options)  # type: ignore[arg-type]
    assert labels.unique().tolist() == [3, 8] and tiles[-1] > 2 * few


def test_the_most_probable_class_is_the_first_of_the_highest() -> None:
    channels = torch.randint(4, (6, 30, 40), generator=torch.Generator().manual_seed(0)).float()
    assert (most_probable(channels).numpy() == channels.numpy().argmax(0)).all()


def test_one_logit_stays_a_logit() -> None:
    image = photograph(20, 30)
    logit = torch.linspace(-3, 3, 600).view(1, 20, 30)
    refined = refine(torch.from_numpy(image).permute(2, 0, 1), logit, LAYERS["filter"], embedding="color")
    both = torch.cat([torch.zeros_like(logit), logit])
    expected = refine(torch.from_numpy(image).permute(2, 0, 1), both, LAYERS["filter"], embedding="color")
    torch.testing.assert_close(refined[0], expected[1] - expected[0], atol=1e-4, rtol=0)
