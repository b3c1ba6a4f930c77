"""Sharpening recipes, and what is made of a trained one: exported embeddings and pictures of gains and losses."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from segaware.data import VOC, VOC_ANIMALS, coarse_scores, read_image, write_png
from segaware.experiments.comparison import draw_comparison, write_comparison
from segaware.experiments.evaluation import evaluate
from segaware.experiments.export import export_embedding
from segaware.experiments.run import load_network, train
from segaware.experiments.tasks import panels as drawn
from segaware.experiments.tasks.segmentation.scores import SegmentationScores
from segaware.experiments.workspace import Workspace
from segaware.metrics import mean_iou
from segaware.models import Sharpener
from segaware.nn import EmbeddingNet
from segaware.recipes.files import RecipeError, load_recipe
from segaware.recipes.schema import Recipe

from .tiny_data import SIZE, write_data

FILTER, BILINEAR, EMBEDDING = (f"harley2017/sharpening/{name}" for name in ("filter", "bilinear", "embedding"))
SMALL = ("data.crop=[33, 33]", "data.batch_size=2", "train.epochs=1", "train.steps=2", "start.vgg=null")
TINY = (*SMALL, "embedding.width=0.125", "embedding.dim=4", "evaluation.validation_images=1")


def small(name: str) -> Recipe:
    recipe = load_recipe(name)
    return recipe if recipe.train is None else load_recipe(name, TINY)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with scores of FILTER and BILINEAR."""
    folder = tmp_path_factory.mktemp("runs")
    for name in (EMBEDDING, FILTER, BILINEAR):
        recipe = small(name)
        train(name, recipe, Workspace(folder, root))
        if name != EMBEDDING:
            network, _ = load_network(name, recipe, Workspace(folder).weights(name))
            evaluate(recipe, network, Workspace(Path(), root)).save(Workspace(folder).folder(name) / "scores.npz")
    return folder


def test_training_moves_filter_and_later_layers_only(trained: Path) -> None:
    before, _ = load_network(EMBEDDING, small(EMBEDDING), Workspace(trained).weights(EMBEDDING))
    after, description = load_network(FILTER, small(FILTER), Workspace(trained).weights(FILTER))
    assert isinstance(after, Sharpener) and description["steps"] == 2
    assert after.refinement.filter is not None and after.refinement.filter.hardness != 1
    moved = {
        n
        for n, p in after.get_submodule("embedding").named_parameters()
        if not torch.equal(p, dict(before.named_parameters())[n])
    }
    assert {name.split(".")[0] for name in moved} == {
        "conv3_1",
        "conv3_2",
        "conv3_3",
        "head1",
        "head2",
        "head3",
        "fuse",
    }


def test_scores_are_those_of_the_same_coarse_scores_each_time(root: Path, trained: Path) -> None:
    for name in (FILTER, BILINEAR):
        recipe = small(name)
        network, _ = load_network(name, recipe, Workspace(trained).weights(name))
        scores = evaluate(recipe, network, Workspace(Path(), root))
        for index, (image, label, _) in enumerate(VOC(root, "val", classes=VOC_ANIMALS)):
            coarse = coarse_scores(label[None], 7, generator=torch.Generator().manual_seed(index))
            with torch.no_grad():
                right = (network(image[None], coarse, 8).argmax(1)[0] == label).sum()
            assert scores.confusion[index].diagonal().sum() == right


def test_exported_embedding_is_the_trained_one(trained: Path, tmp_path: Path) -> None:
    for name in (FILTER, EMBEDDING):
        file = tmp_path / f"{Path(name).name}.safetensors"
        description = export_embedding(name, small(name), Workspace(trained), file)
        assert ("miou" in description) == (name == FILTER)
        network, _ = load_network(name, small(name), Workspace(trained).weights(name))
        embedding = network if name == EMBEDDING else network.get_submodule("embedding")
        with safe_open(file, "pt") as tensors:
            assert {tensors.get_tensor(key).dtype for key in tensors.keys()} == {torch.float16}  # noqa: SIM118
        image = torch.rand(1, 3, 20, 30)
        torch.testing.assert_close(EmbeddingNet.from_pretrained(file)(image), embedding(image), rtol=0.02, atol=0.02)
    with pytest.raises(RecipeError, match="bilinear has no learned embeddings to export"):
        export_embedding(BILINEAR, small(BILINEAR), Workspace(trained), tmp_path / "none.safetensors")


def test_pictures_of_gains_and_losses(
    root: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, recipes = (BILINEAR, FILTER), (small(BILINEAR), small(FILTER))
    captions: list[list[str]] = []

    def panels(panels: list[tuple[str, object]]) -> object:
        captions.append([caption for caption, _ in panels])
        return side_by_side(panels)

    side_by_side = drawn.side_by_side
    monkeypatch.setattr(drawn, "side_by_side", panels)
    picture = draw_comparison(names, recipes, Workspace(trained, root), count=1)
    scores = [SegmentationScores.load(Workspace(trained).folder(name) / "scores.npz") for name in names]
    gains = mean_iou(scores[1].confusion) - mean_iou(scores[0].confusion)
    assert [row[0] for row in captions] == [f"val{int(gains.argmax())}", f"val{int(gains.argmin())}"]
    assert all(len(row) == 7 for row in captions)
    write_png(tmp_path / "picture.png", picture)
    assert (read_image(tmp_path / "picture.png") == picture).all() and picture.shape[0] > 2 * SIZE[0]
    write_comparison(tmp_path / "page.html", names, recipes, Workspace(trained, root), 1, 1)
    page = (tmp_path / "page.html").read_text()
    assert page.count("<h2>") == 2 and f"<h2>val{int(gains.argmax())}: +" in page
    assert page.count('<input type="range"') == 4 and page.count("<img") == 2 * (4 + 3 + 1)
    with pytest.raises(RecipeError, match=r"embedding holds no scores\.npz"):
        draw_comparison((BILINEAR, EMBEDDING), recipes, Workspace(trained, root), 1)


def test_a_sharpening_needs_classes(root: Path, tmp_path: Path) -> None:
    recipe = load_recipe(FILTER, [*TINY, "data.name=voc_bsds500"])
    with pytest.raises(RecipeError, match="voc_bsds500 has regions and no classes"):
        train(FILTER, recipe, Workspace(tmp_path, root))
