"""Recipes of every family of embedding networks: trained, started from, exported."""

from pathlib import Path

import pytest
import torch

from segaware.experiments import Workspace, train
from segaware.experiments.export import export_embedding
from segaware.experiments.run import load_network
from segaware.nn import EmbeddingNet, FastEmbeddingNet, load_embedding
from segaware.recipes.files import RecipeError

from .tiny_recipes import tiny

FAMILIES = {
    FastEmbeddingNet: "embedding={type: fast, width: 0.125, dim: 3}",
    EmbeddingNet: "embedding={type: vgg, width: 0.125, dim: 3, color: true}",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_trained_started_from_and_exported(family: type, tmp_path: Path) -> None:
    workspace, image = Workspace(tmp_path / "runs"), torch.rand(1, 3, 19, 26)
    for name, overrides in (("demo/embedding", []), ("demo/segaware", ["start.model=null"])):
        recipe = tiny(name, FAMILIES[family], *overrides)
        network, _ = load_network(name, recipe, train(name, recipe, workspace))
        export_embedding(name, recipe, workspace, tmp_path / "net.safetensors")
        exported = load_embedding(tmp_path / "net.safetensors")
        assert type(exported) is family and exported.dim == 6
        trained = network if name == "demo/embedding" else network.get_submodule("embedding")
        with torch.no_grad():
            torch.testing.assert_close(exported(image), trained(image), rtol=0.02, atol=0.02)
        export_embedding(name, recipe, workspace, tmp_path / "weighed.safetensors", hardness=3.0, colors=0.5)
        weighed = load_embedding(tmp_path / "weighed.safetensors")
        with torch.no_grad():
            expected = torch.cat([1.5 * exported(image)[:, :3], 3 * exported(image)[:, 3:]], dim=1)
            torch.testing.assert_close(weighed(image), expected, rtol=0.01, atol=0.01)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("demo/embedding", [FAMILIES[FastEmbeddingNet], "start.vgg=FILE"], "start.vgg: a FastEmbeddingNet takes no"),
        (
            "demo/filter_color",
            ["start.model=null", "start.embedding=segaware"],
            "start.embedding: no weights of a ColorEmbedding come with segaware",
        ),
        ("demo/embedding", ["start.pruned=fast"], "start.pruned: a EmbeddingNet .* from a FastEmbeddingNet"),
        ("demo/embedding", ["start.pruned=vgg"], "start.pruned: other must have the channels"),
        ("demo/embedding", [FAMILIES[FastEmbeddingNet], "start.pruned=none"], "start.pruned: .*no file none"),
    ],
)
def test_mistakes(name: str, overrides: list[str], message: str, tmp_path: Path) -> None:
    file = tmp_path / "vgg.safetensors"
    file.write_bytes(b"weights")
    recipe = tiny(name, *(override.replace("FILE", str(file)) for override in overrides))
    with pytest.raises(RecipeError, match=message):
        train(name, recipe, Workspace(tmp_path / "runs"))
