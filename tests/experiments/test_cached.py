"""Scores kept on disk: those of the network, cut along their grid, of these very weights, and asked for in vain."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from segaware.data import IGNORE_INDEX, Sample
from segaware.experiments.build import build_network, open_data
from segaware.experiments.evaluation import evaluate
from segaware.experiments.run import load_network, train
from segaware.experiments.tasks.segmentation.cached import Cache, CachedScores, cached_part
from segaware.experiments.tasks.segmentation.task import trains_on_cache
from segaware.experiments.workspace import Workspace
from segaware.models import DeepLabLargeFOV
from segaware.recipes.files import RecipeError
from segaware.recipes.segmentation import SegmentationRecipe
from segaware.training import load_weights

from .tiny_recipes import tiny

CACHED = (
    *("train_on=cached_scores", "data.crop=[33, 41]", "data.scale=[1, 1]", "data.jitter=0"),
    *("start.model=demo/baseline", "model.segaware_layers=none", "train.frozen=[embedding]"),
)

PLAIN = ("model.segaware_layers=none", "model.filter_kernel_size=0", "embedding=null", "start.embedding=null")


@pytest.fixture
def own_runs(runs: Path, tmp_path: Path) -> Path:
    """The trained recipes in a folder that may be written to."""
    return shutil.copytree(runs, tmp_path / "runs")


def _recipe(*overrides: str) -> SegmentationRecipe:
    recipe = tiny("demo/segaware", *CACHED, *overrides)
    assert isinstance(recipe, SegmentationRecipe)
    return recipe


def _network(recipe: SegmentationRecipe, seed: int = 0) -> DeepLabLargeFOV:
    torch.manual_seed(seed)
    network = build_network(recipe)
    assert isinstance(network, DeepLabLargeFOV)
    return network


def _sample(height: int = 50, width: int = 60) -> Sample:
    torch.manual_seed(1)
    return Sample(torch.rand(3, height, width), torch.zeros(height, width, dtype=torch.int64), "noise")


def test_kept_is_what_the_network_computes(tmp_path: Path) -> None:
    recipe = _recipe()
    network, sample = _network(recipe), _sample()
    scored = Cache(tmp_path, recipe, network)(sample)
    with torch.no_grad():
        scores = network.forward_unrefined(sample.image[None])[0]
        embedding = network.get_submodule("embedding")(sample.image[None])[0, :, ::2, ::2]
    assert torch.equal(scored.scores, scores)
    assert torch.equal(scored.embedding, embedding.half().float())
    assert torch.equal(scored.image, sample.image) and scored.label is sample.label and scored.name == "noise"


def test_nothing_is_computed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = _recipe()
    network, sample = _network(recipe), _sample()
    first = Cache(tmp_path, recipe, network)(sample)
    monkeypatch.setattr(DeepLabLargeFOV, "forward_unrefined", None)
    monkeypatch.setattr(network.get_submodule("embedding"), "forward", None)
    nn.init.zeros_(network.get_parameter("refinement.filter.hardness"))  # not part of what is kept
    again = Cache(tmp_path, recipe, network)(sample)
    assert torch.equal(first.scores, again.scores) and torch.equal(first.embedding, again.embedding)


@pytest.mark.parametrize("other", ["weights", "size", "precision", "masks"])
def test_other_scores_are_not_taken_for_these(other: str, tmp_path: Path) -> None:
    recipe, sample = _recipe("model.segaware_layers=fc6"), _sample()
    network = _network(recipe)
    first = Cache(tmp_path, recipe, network)(sample)
    if other == "weights":
        network = _network(recipe, seed=2)
    elif other == "size":
        sample = _sample(58, 60)
    elif other == "precision":
        recipe = _recipe("model.segaware_layers=fc6", "evaluation.precision=bf16-mixed")
    else:  # a segmentation-aware trunk depends on the embedding
        nn.init.ones_(network.get_parameter("embedding.fuse.bias"))
        nn.init.normal_(network.get_parameter("embedding.fuse.weight"))
    second = Cache(tmp_path, recipe, network)(sample)
    assert second.scores.shape != first.scores.shape or not torch.equal(second.scores, first.scores)


class _Places(Dataset[Sample]):
    """Images whose pixels say where they are."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        y, x = torch.meshgrid(torch.arange(30.0), torch.arange(90.0), indexing="ij")
        return Sample(torch.stack([y, x, y]), torch.zeros(30, 90, dtype=torch.int64), "places")


def test_windows_of_all_parts_lie_on_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = _recipe()
    network = _network(recipe)
    monkeypatch.setattr(DeepLabLargeFOV, "forward_unrefined", lambda self, image: image[:, :, ::8, ::8])
    embedding_net = network.get_submodule("embedding")
    monkeypatch.setattr(embedding_net, "forward", lambda image, stride: image[:, :, ::stride, ::stride])
    windows = CachedScores(_Places(), Cache(tmp_path, recipe, network), crop=(33, 41), flip=0.5)
    torch.manual_seed(0)
    starts = set()
    for _ in range(50):
        image, label, _, scores, embedding = windows[0]
        assert image.shape == (3, 33, 41) and scores.shape == (3, 5, 6) and embedding.shape == (3, 17, 21)
        assert torch.equal(scores, image[:, ::8, ::8])
        assert torch.equal(embedding, image[:, ::2, ::2].half().float())
        assert (label[30:] == IGNORE_INDEX).all() and (label[:30] == 0).all()  # padded below
        starts.add((int(image[1, 0, 0]), int(image[1, 0, -1])))
    mirrored = {(right, left) for left, right in starts}
    assert starts == {(x, x + 40) for x in range(0, 49, 8)} | {(x + 40, x) for x in range(0, 49, 8)} == mirrored


def test_training_leaves_trunk_and_embedding(own_runs: Path) -> None:
    recipe = _recipe("train.hardness_multiplier=100")
    weights, _ = load_weights(train("demo/cached", recipe, Workspace(own_runs)))
    trunk, _ = load_weights(Workspace(own_runs).weights("demo/baseline"))
    embedding, _ = load_weights(Workspace(own_runs).weights("demo/embedding"))
    start = {**trunk, **{f"embedding.{name}": tensor for name, tensor in embedding.items()}}
    changed = {name for name in weights if name not in start or not torch.equal(weights[name], start[name])}
    assert changed == {"refinement.filter.hardness"}
    assert weights["refinement.filter.hardness"] != recipe.model.filter_hardness


def test_embeddings_that_are_trained_are_not_kept(own_runs: Path) -> None:
    recipe = _recipe("train.frozen=[]")
    weights, _ = load_weights(train("demo/cached_tuned", recipe, Workspace(own_runs)))
    embedding, _ = load_weights(Workspace(own_runs).weights("demo/embedding"))
    assert not torch.equal(weights["embedding.fuse.weight"], embedding["fuse.weight"])
    assert Cache(own_runs, recipe, _network(recipe)).embeddings is None
    assert Cache(own_runs, _recipe("train=null"), _network(recipe)).embeddings is not None


FEATURES = ("train_on=cached_features", "model.segaware_layers=fc6", "model.hardness=0.5")


def test_the_head_on_cached_features_is_the_network(tmp_path: Path) -> None:
    recipe = _recipe(*FEATURES)
    network, sample = _network(recipe).eval(), _sample()
    nn.init.normal_(network.get_submodule("embedding.fuse").weight)  # type: ignore[arg-type]
    scored = Cache(tmp_path, recipe, network)(sample)
    embedding = network.get_submodule("embedding")(sample.image[None], 2)[0]
    assert torch.equal(scored.embedding, embedding.half().float())
    assert torch.equal(scored.scores, network.forward_features(sample.image[None])[0].half().float())
    head, image = cached_part(recipe, network), sample.image[None]
    given = (image, network.forward_features(image), 8, embedding[None])
    assert torch.equal(head(*given), network(image))
    assert torch.equal(head.forward_scores(*given)[0], network.forward_scores(image)[0])


def test_rows_share_the_features_of_a_trunk(tmp_path: Path) -> None:
    masked, plain = _recipe(*FEATURES), _recipe(*FEATURES[:1], *PLAIN)
    (first, second), sample = (_network(recipe) for recipe in (masked, plain)), _sample()
    # Networks with and without an embedding draw the same weights.
    assert torch.equal(first.get_submodule("fc6").weight, second.get_submodule("fc6").weight)  # type: ignore[arg-type]
    nn.init.zeros_(first.get_submodule("fc6").weight)  # type: ignore[arg-type]
    assert Cache(tmp_path, masked, first).scores == Cache(tmp_path, plain, second).scores
    assert not Cache(tmp_path, plain, second)(sample).embedding.numel()


def test_seeds_and_data_sets_share_what_is_kept(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.below("seed1").below("voc").cache == workspace.below(None).cache == tmp_path / "cache"


def test_training_on_features_leaves_the_trunk(own_runs: Path) -> None:
    recipe = _recipe(*FEATURES, "train.hardness_multiplier=100")
    weights, _ = load_weights(train("demo/features", recipe, Workspace(own_runs)))
    trunk, _ = load_weights(Workspace(own_runs).weights("demo/baseline"))
    changed = {name.split(".")[0] for name in trunk if not torch.equal(weights[name], trunk[name])}
    assert changed == {"fc6", "fc6_bn", "fc7", "fc7_bn", "fc8"}
    assert weights["fc6.hardness"] != 0.5
    network, _ = load_network("demo/features", recipe, Workspace(own_runs).weights("demo/features"))
    assert evaluate(recipe, network, Workspace(own_runs), share=True).confusion.sum() > 0
    assert list(own_runs.rglob("*-features-*/*.npy"))


def test_scoring(network: nn.Module, tmp_path: Path) -> None:
    """By way of the cache, the first time and again, a recipe scores what it scores without."""
    recipe = tiny("demo/segaware")
    expected = evaluate(recipe, network, Workspace(Path()))
    for _ in range(2):
        scores = evaluate(recipe, network, Workspace(tmp_path), share=True)
        assert torch.equal(scores.confusion, expected.confusion) and torch.equal(scores.trimap, expected.trimap)
    assert len(list(tmp_path.rglob("*.npy"))) == 3


def test_training_and_validation_images_of_one_name_stay_apart(own_runs: Path) -> None:
    recipe = _recipe()
    train("demo/apart", recipe, Workspace(own_runs))
    network, _ = load_network("demo/apart", recipe, Workspace(own_runs).weights("demo/apart"))
    assert open_data(recipe, "train", None)[0].name == open_data(recipe, "val", None)[0].name
    scores, shared = (evaluate(recipe, network, Workspace(own_runs), share=share) for share in (False, True))
    assert torch.equal(shared.confusion, scores.confusion)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("start.model=null", "start.model"),
        ("data.scale=[0.5, 1]", "one data.scale"),
        ("data.jitter=0.1", "no data.jitter"),
        ("data.crop=[33, 40]", r"data.crop of sides 8 \* n \+ 1"),
        ("model.segaware_layers=all", "segaware_layers fc6 or none"),
        ("train.frozen=[]", "embedding in train.frozen"),
    ],
)
def test_what_does_not_fit(override: str, message: str, tmp_path: Path) -> None:
    kind = "features" if "segaware_layers" in override or "frozen" in override else "scores"
    recipe = _recipe(f"train_on=cached_{kind}", override)
    with pytest.raises(RecipeError, match=message):
        trains_on_cache(recipe)
    with pytest.raises(RecipeError, match=f"train_on=cached_{kind} wants"):
        train("demo/segaware", recipe, Workspace(tmp_path))
    assert not list(tmp_path.iterdir())
