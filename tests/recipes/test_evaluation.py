"""Scoring against a loop over the same images that shares no code with it but the metrics."""

from pathlib import Path

import pytest
import torch
from torch import nn

from segaware.data import Scenes
from segaware.metrics import MeanIoU, TrimapIoU
from segaware.recipes.evaluation import Scores, evaluate
from segaware.recipes.files import RecipeError
from segaware.recipes.run import load_network, weights_path

from .tiny_recipes import tiny


@pytest.fixture
def scores(network: nn.Module) -> Scores:
    return evaluate(tiny("demo/segaware"), network, None)


def test_scores(network: nn.Module, scores: Scores) -> None:
    network.eval()
    miou, trimap = MeanIoU(6), TrimapIoU(6, (1, 3))
    scenes = Scenes(64, (48, 48), seed=1)
    chosen = [0, 21, 42]  # three of 64, evenly spread
    for index in chosen:
        image, label, _ = scenes[index]
        with torch.no_grad():
            prediction = network(image[None])[0].argmax(0)
        miou.update(prediction, label)
        trimap.update(prediction, label)
        row = chosen.index(index)
        for truth in range(6):
            for guess in range(6):
                count = ((label == truth) & (prediction == guess)).sum()
                assert scores.confusion[row, truth, guess] == count
    assert scores.names == ("000000", "000021", "000042")
    assert scores.half_widths == (1, 3)
    assert scores.miou == miou.compute().item()
    assert scores.trimap_miou == trimap.compute().tolist()
    assert scores.confusion.sum() == 3 * 48 * 48
    assert (scores.confusion.sum((0, 1)) > 0).sum() > 1  # classes that were predicted
    assert scores.milliseconds > 0


def test_all_images(runs: Path) -> None:
    recipe = tiny("demo/baseline", "evaluation.images=null")
    network, _ = load_network("demo/baseline", recipe, weights_path(runs, "demo/baseline"))
    assert evaluate(recipe, network, None).names == tuple(f"{i:06d}" for i in range(64))


def test_save_and_load(scores: Scores, tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    scores.save(path)
    loaded = Scores.load(path)
    assert list(tmp_path.iterdir()) == [path]
    assert torch.equal(loaded.confusion, scores.confusion) and torch.equal(loaded.trimap, scores.trimap)
    assert (loaded.names, loaded.half_widths) == (scores.names, scores.half_widths)
    assert (loaded.miou, loaded.trimap_miou) == (scores.miou, scores.trimap_miou)
    assert loaded.milliseconds == scores.milliseconds


def test_embeddings_have_no_score(runs: Path) -> None:
    recipe = tiny("demo/embedding")
    network, _ = load_network("demo/embedding", recipe, weights_path(runs, "demo/embedding"))
    with pytest.raises(RecipeError, match="an embedding recipe has no score of its own"):
        evaluate(recipe, network, None)
