"""How much of what a layer makes of its input is taken."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segaware import refine
from segaware.nn import certainty_gate
from segaware.refining import refinement as refinement_module
from segaware.refining.kinds import Given
from segaware.refining.strength import transition_width

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)  # an image that tells nothing


def regions() -> np.ndarray:
    """Labels with a wire, a point, a slope and void."""
    label = np.zeros((40, 60), np.uint8)
    label[:20] = 1
    label[np.arange(40)[:, None] > np.arange(60)] = 2
    label[25:27, 30:] = 1
    label[33, 50] = 3
    label[5:9, 40:50] = 255
    return label


@pytest.mark.parametrize("method", ["filter", "segaware_crf"])
@pytest.mark.parametrize("given", ["labels", "masks", "bool", "probabilities", "scores"])
def test_what_is_sharp_stays_as_it_is(given: str, method: Any) -> None:
    label = regions()
    known = label != 255
    one_hot = np.stack([label == n for n in range(4)])
    if given == "labels":
        refined = refine(NOISE, label, method, "labels")
        assert (refined != 255).all()
    elif given in ("masks", "bool"):
        if method != "filter":
            return
        refined = refine(NOISE, one_hot if given == "bool" else one_hot.astype(np.float32), kind="masks")
        np.testing.assert_array_equal(refined, one_hot)
        return
    else:
        one_hot[0] |= ~known
        scores = one_hot.astype(np.float32) if given == "probabilities" else np.where(one_hot, 20.0, -20.0)
        refined = refine(NOISE, scores, method, given, classify=True)  # type: ignore[arg-type]
    assert (refined == label)[known].all()


def test_strength_is_a_part_of_the_way() -> None:
    p = np.random.default_rng(1).random((2, 40, 60), np.float32)
    options: dict[str, Any] = {"kind": "masks", "embedding": "color"}
    none, half, whole = (refine(NOISE, p, strength=s, **options) for s in (0, 0.5, 1))
    np.testing.assert_allclose(none, p, atol=1e-6)
    np.testing.assert_allclose(half, (p + whole) / 2, atol=1e-6)
    assert np.abs(whole - p).max() > 0.1
    coarse = p[:, ::8, ::12]
    expected = F.interpolate(torch.from_numpy(coarse.copy())[None], (40, 60), mode="bilinear")[0]
    np.testing.assert_allclose(refine(NOISE, coarse, strength=0, align="centers", **options), expected, atol=1e-6)


def test_only_what_is_unsure_changes() -> None:
    p = np.zeros((40, 60), np.float32)
    p[:, 30:] = 1
    p[:, 28:32] = [0.2, 0.4, 0.6, 0.8]
    whole, auto = (refine(NOISE, p, kind="masks", embedding="color", strength=s) for s in (1, "auto"))
    assert np.flatnonzero((auto != p).any(0)).tolist() == [28, 29, 30, 31]
    assert np.flatnonzero((whole != p).any(0)).min() < 20
    np.testing.assert_array_equal(auto[:, 28:32], whole[:, 28:32])


def test_how_unsure() -> None:
    one_hot = torch.eye(3)[:, :, None][None]  # (1, 3, 3, 1)
    assert not certainty_gate(one_hot, True).any() and not certainty_gate(one_hot, False).any()
    assert certainty_gate(torch.full((1, 3, 2, 2), 1 / 3), True).eq(1).all()
    masks = torch.tensor([0.99, 0.02, 0.9]).view(1, 3, 1, 1)
    torch.testing.assert_close(certainty_gate(masks, False)[0, :, 0, 0], torch.tensor([0.2, 0.4, 1.0]))


@pytest.mark.parametrize("kind", ["labels", "masks", "scores"])
def test_tiles_take_as_much_as_the_whole(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.rand(3, 96, 120)
    square = torch.zeros(96, 120)
    square[30:70, 40:90] = 1
    blurred = F.avg_pool2d(square[None], 9, 1, 4)
    scores = {
        "labels": square[::4, ::4].long(),
        "masks": torch.cat([blurred, square[None]]),
        "scores": torch.cat([1 - blurred, blurred]).clamp(1e-6).log(),
    }[kind]
    options: dict[str, Any] = {"kind": kind, "embedding": "color", "kernel_size": 3, "iterations": 1}
    whole = refine(image, scores, **options)
    tiles: list[Any] = []
    run = refinement_module.Refinement.run
    monkeypatch.setattr(refinement_module.Refinement, "run", lambda *x: (tiles.append(0), run(*x))[1])
    monkeypatch.setattr(refinement_module, "memory_left", lambda limit, held: 4e5)
    tiled = refine(image, scores, max_memory="4GB", **options)
    assert len(tiles) > 6
    if kind == "labels":
        assert (tiled != whole).float().mean() < 1e-4
    else:
        torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)


def test_width_of_transitions() -> None:
    step = (torch.arange(80) >= 40).float().expand(1, 50, 80)
    masks, classes = Given("masks", 1), Given("probabilities", 2)
    assert transition_width(step.numpy, masks) == 1
    assert transition_width(torch.ones(1, 50, 80).numpy, masks) == 0
    for width in (4, 10):
        ramp = ((torch.arange(80) - 39.5) / width + 0.5).clamp(0, 1).expand(1, 50, 80)
        for given, kind in ((ramp, masks), (torch.cat([1 - ramp, ramp]), classes), (ramp.mT, masks)):
            assert transition_width(given.contiguous().numpy, kind) == pytest.approx(width, rel=1e-4)
    assert transition_width((255 * step).byte().numpy, Given("masks", 1, numbers="0..255")) == 1


def test_what_was_blurred_to_the_images_size_is_filtered_as_coarse() -> None:
    image, coarse = torch.rand(3, 64, 80), torch.rand(2, 8, 10)
    full = F.interpolate(coarse[None], (64, 80), mode="bilinear")[0]
    options: dict[str, Any] = {"kind": "masks", "embedding": "color"}
    expected = refine(image, full, stride=2, iterations=8, **options)
    torch.testing.assert_close(refine(image, full, **options), expected, atol=0, rtol=0)
    sharp = (full > 0.5).float()
    four = refine(image, sharp, stride=1, iterations=4, strength=1, **options)
    torch.testing.assert_close(refine(image, sharp, strength=1, **options), four, atol=0, rtol=0)
