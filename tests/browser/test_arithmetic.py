"""What the page computes, against segaware's operators and metrics on the same int8 embedding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import segaware
from segaware.data import photograph, photograph_logits, read_image
from segaware.metrics import boundary_counts
from segaware.nn import ColorEmbedding, Embedding
from segaware.ops import attention_mask, embedding_distance, segaware_filter2d
from segaware.refining.strength import Strength
from segaware.showcase.explore.inputs import Photograph, open_sketch
from segaware.showcase.explore.page import embed, quantize, write_page
from tests.browser.conftest import result, seen_pixels, settled, until

TOLERANCE = 1e-4  # promised; 4e-6 measured


@pytest.fixture(autouse=True, scope="module")
def _reference() -> Iterator[None]:
    """Compare with the equations in plain PyTorch, which need no compilation."""
    with segaware.use_backend("reference"):
        yield


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A part of the photograph, of odd height and even width."""
    return read_image(photograph())[40:121, 100:190].copy()


def on_page(embedding: np.ndarray) -> torch.Tensor:
    """Return an embedding as a page has it."""
    content, scales = quantize(embedding)
    return torch.from_numpy(content * scales[:, None, None])[None]


def page_masks(found: dict[str, Any], kernel_size: int) -> np.ndarray:
    """Return all taps (K, h, w) of the half that a page computes."""
    height, width = found["height"], found["width"]
    half = np.array(found["planes"], np.float32)
    masks = np.zeros((kernel_size**2, height * width), np.float32)
    middle = kernel_size**2 // 2
    masks[middle] = 1
    for n, (plane, offset) in enumerate(zip(half, found["offsets"], strict=True), start=1):
        masks[middle + n] = plane
        masks[middle - n, offset:] = plane[: len(plane) - offset]
    return masks.reshape(-1, height, width)


ASK = """async (content) => {
  const channels = content.channels.map((channel) => Float32Array.from(channel));
  const {output, planes, ...rest} = await ask(filterWorker, "filter", {...content, channels});
  return {...rest, total: null, output: output.map((x) => Array.from(x)), planes: planes.map((x) => Array.from(x))};
}"""


@pytest.mark.parametrize(
    ("kernel_size", "dilation", "iterations", "hardness"),
    [(9, 1, 8, 1.0), (5, 3, 2, 2.5), (3, 8, 1, 0.0), (13, 1, 1, 1)],
)
def test_masks_and_filter_are_those_of_the_operators(
    visit: Any, fast: Embedding, pixels: np.ndarray, tmp_path: Path,
    kernel_size: int, dilation: int, iterations: int, hardness: float,
) -> None:  # fmt: skip
    write_page(tmp_path / "page.html", Photograph("part.jpg", pixels, pixels.shape[:2]), {"fast": fast})
    page = visit(tmp_path / "page.html")
    channels = torch.rand(1, 3, 41, 45, generator=torch.Generator().manual_seed(0))
    content = {"embedding": "fast", "channels": channels[0].flatten(1).tolist(), "kernelSize": kernel_size}
    found = page.evaluate(ASK, {**content, "dilation": dilation, "iterations": iterations, "hardness": hardness})
    distance = embedding_distance(on_page(embed(fast, pixels).numpy()), kernel_size, padding="same", dilation=dilation)
    mask = attention_mask(distance, hardness)
    wanted = segaware_filter2d(channels, mask, kernel_size, dilation, iterations)[0]
    output = np.array(found["output"]).reshape(wanted.shape)
    print("filter", np.abs(output - wanted.numpy()).max())
    assert np.abs(output - wanted.numpy()).max() < TOLERANCE
    inside = page_masks(found, kernel_size)
    error = np.abs(inside - mask[0].numpy())[inside > 0].max()
    print("mask", error)
    assert error < TOLERANCE
    assert (inside > 0).mean() > 0.5


def test_taps_that_no_pixel_has(visit: Any, fast: Embedding, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 3)).astype(np.uint8)
    write_page(tmp_path / "page.html", Photograph("small.jpg", pixels, (9, 13)), {"fast": fast})
    channels = torch.rand(1, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    content = {"embedding": "fast", "channels": channels[0].flatten(1).tolist(), "kernelSize": 9, "dilation": 3}
    found = visit(tmp_path / "page.html").evaluate(ASK, {**content, "iterations": 2, "hardness": 0.5})
    distance = embedding_distance(on_page(embed(fast, pixels).numpy()), 9, padding="same", dilation=3)
    wanted = segaware_filter2d(channels, attention_mask(distance, 0.5), 9, 3, 2)
    assert np.abs(np.array(found["output"]) - wanted.flatten(1).numpy()).max() < TOLERANCE


def in_full(embedding: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """Return an embedding at stride 2 so that `refine` samples it."""
    return embedding[0].repeat_interleave(2, 1).repeat_interleave(2, 2)[:, : size[0], : size[1]].numpy()


@pytest.mark.parametrize("name", ["fast", "color"])
def test_labels_are_those_of_refine(visit: Any, fast: Embedding, pixels: np.ndarray, tmp_path: Path, name: str) -> None:
    labels = np.full(pixels.shape[:2], 255, np.uint8)
    labels[20:50, 30:70], labels[60:70, 20:80], labels[5:12] = 7, 3, 1
    np.save(tmp_path / "labels.npy", labels)
    sketch = open_sketch(tmp_path / "labels.npy", pixels)
    write_page(tmp_path / "page.html", Photograph("part.jpg", pixels, pixels.shape[:2]), {"fast": fast}, [sketch])
    page = visit(tmp_path / "page.html")
    page.select_option("#embedding", name)
    settled(page)
    seen = seen_pixels(page)
    if name == "fast":
        embedding = on_page(embed(fast, pixels).numpy())
    else:
        embedding = ColorEmbedding()(torch.from_numpy(seen).permute(2, 0, 1)[None] / 255, 2)
    wanted = segaware.refine(
        seen, labels, kind="labels", strength=1, stride=2, embedding=in_full(embedding, labels.shape),
        kernel_size=9, iterations=8, hardness=1.0 if name == "fast" else 1.76,
    )  # fmt: skip
    assert (wanted != labels).mean() > 0.1
    found = np.append(np.array([1, 3, 7]), [255] * 253)[result(page)]
    assert (found != wanted).sum() == 0


@pytest.mark.parametrize(("size", "strength"), [("coarse", "auto"), ("coarse", 1), ("full", "auto")])
def test_scores_that_are_opened_are_those_of_refine(
    visit: Any, fast: Embedding, tmp_path: Path, size: str, strength: Strength
) -> None:
    image = read_image(photograph())
    write_page(tmp_path / "page.html", Photograph("cat.jpg", image, image.shape[:2]), {"fast": fast})
    scores = photograph_logits()
    if size == "full":
        scores = segaware.refine(image, scores, strength=0)[[0, 8, 12]] * 2
    np.save(tmp_path / "scores.npy", scores)
    page = visit(tmp_path / "page.html")
    page.set_input_files("#open", tmp_path / "scores.npy")
    until(page, "sketch.base.name === 'scores.npy' && results.length")
    assert page.is_checked("#auto")
    page.set_checked("#auto", strength == "auto")
    settled(page)
    embedding = in_full(on_page(embed(fast, image).numpy()), image.shape[:2])
    wanted = segaware.refine(
        seen_pixels(page), scores, embedding=embedding, classify=True, strength=strength, stride=2, iterations=8
    )
    found = np.array(page.evaluate("sketch.classes"))[result(page)]
    assert (found != wanted).sum() <= 1  # a tie


def test_iou_is_that_of_the_metrics(visit: Any, fast: Embedding, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = np.zeros((60, 90, 3), np.uint8)
    write_page(tmp_path / "page.html", Photograph("black.jpg", pixels, (60, 90)), {"fast": fast})
    truth = np.kron(rng.integers(0, 3, (6, 9)), np.ones((10, 10), int))
    prediction = np.roll(truth, (3, 2), (0, 1))
    truth[20:24], truth[:, 50] = 255, 255
    lists = {"truth": truth.ravel().tolist(), "prediction": prediction.ravel().tolist()}
    found = visit(tmp_path / "page.html").evaluate(
        """({truth, prediction}) => ask(filterWorker, "score",
             {predictions: [Uint8Array.from(prediction)], truth: Uint8Array.from(truth), count: 3})""",
        lists,
    )[0]
    intersection, union = boundary_counts(torch.from_numpy(prediction), torch.from_numpy(truth), 3).double()
    assert found["boundaryIou"] == pytest.approx((intersection / union).tolist())
    known = truth != 255
    for label in range(3):
        a, b = (prediction == label)[known], (truth == label)[known]
        assert found["iou"][label] == pytest.approx((a & b).sum() / (a | b).sum())
