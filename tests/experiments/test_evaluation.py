"""Scoring against a loop over the same images that shares no code with it but the metrics."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from segaware.data import Scenes
from segaware.experiments.build import build_network
from segaware.experiments.evaluation import evaluate
from segaware.experiments.run import load_network
from segaware.experiments.tasks.segmentation.scores import SegmentationScores
from segaware.experiments.workspace import Workspace
from segaware.metrics import BoundaryIoU, MeanIoU, TrimapIoU
from segaware.recipes.files import RecipeError, load_recipe

from .tiny_data import write_data
from .tiny_recipes import tiny


@pytest.fixture
def scores(network: nn.Module) -> SegmentationScores:
    return evaluate(tiny("demo/segaware"), network, Workspace(Path()))


def test_scores(network: nn.Module, scores: SegmentationScores) -> None:
    network.eval()
    miou, trimap, boundary = MeanIoU(6), TrimapIoU(6, (1, 3)), BoundaryIoU(6)
    scenes = Scenes(64, (48, 48), seed=1)
    chosen = [0, 21, 42]  # three of 64, evenly spread
    for index in chosen:
        image, label, _ = scenes[index]
        with torch.no_grad():
            prediction = network(image[None])[0].argmax(0)
        miou.update(prediction, label)
        trimap.update(prediction, label)
        boundary.update(prediction, label)
        row = chosen.index(index)
        for truth in range(6):
            for guess in range(6):
                count = ((label == truth) & (prediction == guess)).sum()
                assert scores.confusion[row, truth, guess] == count
    assert scores.names == ("000000", "000021", "000042")
    assert scores.half_widths == (1, 3)
    assert scores.miou == miou.compute().item()
    assert scores.trimap_miou == trimap.compute().tolist()
    assert scores.boundary_iou == boundary.compute().item()
    assert scores.boundary.shape == (3, 2, 6) and 0 < scores.boundary_iou < 1
    assert scores.confusion.sum() == 3 * 48 * 48
    assert scores.sizes.tolist() == [[48, 48]] * 3 and scores.largest == 0
    assert (scores.confusion.sum((0, 1)) > 0).sum() > 1  # classes that were predicted
    assert scores.milliseconds > 0


def test_all_images(runs: Path) -> None:
    recipe = tiny("demo/baseline", "evaluation.images=null")
    network, _ = load_network("demo/baseline", recipe, Workspace(runs).weights("demo/baseline"))
    assert evaluate(recipe, network, Workspace(Path())).names == tuple(f"{i:06d}" for i in range(64))


def test_save_and_load(scores: SegmentationScores, tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    scores.save(path)
    loaded = SegmentationScores.load(path)
    assert list(tmp_path.iterdir()) == [path]
    for name in ("sizes", "confusion", "trimap", "boundary"):
        assert torch.equal(getattr(loaded, name), getattr(scores, name)), name
    assert (loaded.names, loaded.half_widths) == (scores.names, scores.half_widths)
    assert (loaded.miou, loaded.trimap_miou) == (scores.miou, scores.trimap_miou)
    assert loaded.milliseconds == scores.milliseconds


def test_embeddings_have_no_score(runs: Path) -> None:
    recipe = tiny("demo/embedding")
    network, _ = load_network("demo/embedding", recipe, Workspace(runs).weights("demo/embedding"))
    with pytest.raises(RecipeError, match="a recipe of the embedding stage predicts nothing to score"):
        evaluate(recipe, network, Workspace(Path()))


def test_largest_image(scores: SegmentationScores) -> None:
    """The first of those with most pixels; at their own sizes, whichever way they lie."""
    sizes = torch.tensor([[30, 50], [48, 48], [64, 36], [36, 64], [99, 1]])
    assert dataclasses.replace(scores, sizes=sizes).largest == 1


def test_images_of_different_sizes(tmp_path: Path) -> None:
    root = write_data(tmp_path)
    larger = {"images": np.zeros((50, 44, 3), np.uint8), "labels": np.ones((50, 44), np.uint8)}
    for kind, suffix in (("images", "jpg"), ("labels", "png")):
        Image.fromarray(larger[kind]).save(root / "camvid" / kind / "val" / f"val1.{suffix}")
    recipe = load_recipe("camvid/baseline", ["model.width=0.0625", "train=null", "evaluation.half_widths=[1]"])
    scores = evaluate(recipe, build_network(recipe), Workspace(Path(), root))
    assert scores.sizes.tolist() == [[40, 56], [50, 44]]
    assert scores.confusion.sum((1, 2)).tolist() == [40 * 56 - 22, 50 * 44]  # less the void outline
