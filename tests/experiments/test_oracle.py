"""Networks that are told the labels: their masks are true."""

from pathlib import Path

import pytest
import torch

from segaware.data import RandomCrop
from segaware.experiments.build import build_network, open_data
from segaware.experiments.evaluation import evaluate
from segaware.experiments.run import load_network, train
from segaware.experiments.tasks.networks import build_embedding
from segaware.experiments.tasks.segmentation.oracle import LabelEmbedding
from segaware.experiments.workspace import Workspace
from segaware.ops import embedding_distance
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import LabelEmbeddingOptions

from .tiny_recipes import tiny

ORACLE = ("embedding={type: labels}", "start.embedding=null", "start.model=null", "model.hardness=20.0")


def test_distances_are_those_of_the_labels() -> None:
    label = torch.tensor([[0, 0, 1], [2, 255, 1]])
    image = torch.cat([torch.rand(3, 2, 3), label[None]])[None]
    distance = embedding_distance(LabelEmbedding(3)(image), (1, 3), padding=(0, 1))[0]
    assert distance[0].tolist() == [[0, 0, 2], [0, 1, 1]]  # to the pixel on the left, which is none at the border
    assert torch.equal(LabelEmbedding(3)(image, 2), LabelEmbedding(3)(image)[..., ::2, ::2])


@pytest.mark.parametrize("layers", ["fc6", "all"])
def test_a_training_is_told_the_labels_and_so_is_its_scoring(layers: str, tmp_path: Path) -> None:
    recipe = tiny("demo/segaware", *ORACLE, f"model.segaware_layers={layers}")
    sample = open_data(recipe, "val", None)[0]
    assert torch.equal(sample.image[3], sample.label.float())
    weights = train("oracle", recipe, Workspace(tmp_path))
    network, _ = load_network("oracle", recipe, weights)
    assert evaluate(recipe, network, Workspace(tmp_path)).confusion.sum() > 0
    told = network(sample.image[None])
    wrong = sample.image.clone()
    wrong[3] = 0
    assert not torch.equal(network(wrong[None]), told)
    with pytest.raises(ValueError, match=r"image must be colours and labels \(N, 4, H, W\)"):
        network(sample.image[None, :3])


def test_what_is_padded_is_void() -> None:
    sample = open_data(tiny("demo/segaware", *ORACLE), "val", None)[0]
    padded = RandomCrop(60, 70).pad(sample).image
    assert torch.equal(padded[:, :48, :48], sample.image)
    assert (padded[3, 48:] == 255).all() and (padded[:3, 48:, :] < 1).all()


def test_its_weights_are_those_of_the_network_that_is_not_told() -> None:
    torch.manual_seed(0)
    told = build_network(tiny("demo/segaware", *ORACLE)).state_dict()
    torch.manual_seed(0)
    network = build_network(tiny("demo/segaware")).state_dict()
    assert set(network) - set(told) == {name for name in network if name.startswith("embedding.")}
    assert all(torch.equal(told[name], network[name]) for name in told if "hardness" not in name)


def test_others_cannot_be_told() -> None:
    with pytest.raises(RecipeError, match="labels is for the stages segmentation and multiscale"):
        build_embedding(LabelEmbeddingOptions(type="labels"))
