"""The weights that a training starts from are copied exactly, or not at all."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from segaware.experiments import run
from segaware.experiments.run import train
from segaware.experiments.start import find_weights
from segaware.experiments.workspace import Workspace
from segaware.models import DeepLabLargeFOV, DeepLabV2
from segaware.nn import EmbeddingNet
from segaware.recipes.files import RecipeError, load_recipe
from segaware.recipes.schema import Recipe
from segaware.training import load_weights

from .tiny_recipes import tiny


class _StartedError(Exception):
    """Stops a training before its first step."""


def _start(name: str, recipe: Recipe, runs: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Return the weights with which a training begins."""
    tensors: dict[str, Tensor] = {}

    def look(stage: Any, *_: Any) -> None:
        tensors.update({key: tensor.clone() for key, tensor in stage.network.state_dict().items()})
        raise _StartedError

    monkeypatch.setattr(run, "fit", look)
    with pytest.raises(_StartedError):
        train(name, recipe, Workspace(runs, runs), overwrite=True)
    return tensors


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Path:
    for name in ("demo/baseline", "demo/embedding", "demo/segaware"):
        weights = Workspace(tmp_path).weights(name)
        weights.parent.mkdir(parents=True)
        weights.write_bytes(Workspace(runs).weights(name).read_bytes())
    return tmp_path


def test_model_and_embedding_are_copied(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny("demo/segaware", "model.segaware_layers=all", "model.hardness=0.75", "model.filter_hardness=1.5")
    started = _start("mine", recipe, copied, monkeypatch)
    model, _ = load_weights(Workspace(copied).weights("demo/baseline"))
    embedding, _ = load_weights(Workspace(copied).weights("demo/embedding"))
    wanted = model | {f"embedding.{key}": tensor for key, tensor in embedding.items()}
    new = {key: tensor.item() for key, tensor in started.items() if key not in wanted}
    layers = [f"conv{b}_{i}" for b, count in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)) for i in range(1, count + 1)]
    assert new == {f"{layer}.hardness": 0.75 for layer in [*layers, "fc6"]} | {"refinement.filter.hardness": 1.5}
    for key, tensor in wanted.items():
        assert torch.equal(started[key], tensor), key


def test_frozen_layers_keep_the_weights_they_start_from(copied: Path) -> None:
    layers = [f"conv{b}_{i}" for b, count in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)) for i in range(1, count + 1)]
    norms = [f"{layer}_bn" for layer in layers]
    recipe = tiny("demo/segaware", f"train.frozen=[{', '.join([*layers, *norms, 'embedding'])}]")
    trained, _ = load_weights(train("mine", recipe, Workspace(copied)))
    model, _ = load_weights(Workspace(copied).weights("demo/baseline"))
    embedding, _ = load_weights(Workspace(copied).weights("demo/embedding"))
    started = model | {f"embedding.{key}": tensor for key, tensor in embedding.items()}
    for key, tensor in started.items():
        if key.endswith(("weight", "bias")):
            assert torch.equal(trained[key], tensor) == key.startswith(("conv", "embedding")), key


def test_segaware_model_goes_on_as_it_is(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny("demo/segaware", "start.model=demo/segaware", "start.embedding=null")
    started = _start("mine", recipe, copied, monkeypatch)
    wanted, _ = load_weights(Workspace(copied).weights("demo/segaware"))
    assert started.keys() == wanted.keys()
    assert all(torch.equal(started[key], wanted[key]) for key in wanted)


def test_embedding_stage_is_calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = _start("mine", tiny("demo/embedding"), tmp_path, monkeypatch)
    assert (started["feature_rms"] > 0).all() and (started["feature_rms"] != 1).all()


@pytest.mark.parametrize("name", ["vgg.safetensors", "hub:some/repository/vgg.safetensors"])
def test_vgg_weights_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    convolutions = {
        key: tensor for key, tensor in DeepLabLargeFOV(6, width=0.0625).state_dict().items() if key.startswith("conv")
    }
    save_file(convolutions, tmp_path / "vgg.safetensors")
    _hub(monkeypatch, lambda *_: str(tmp_path / "vgg.safetensors"))
    started = _start("mine", tiny("demo/baseline", f"start.vgg={name}"), tmp_path, monkeypatch)
    assert len(convolutions) == 26
    for key, tensor in convolutions.items():
        assert torch.equal(started[key], tensor), key


def test_resnet_weights_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = DeepLabV2(6, width=0.0625).trunk.state_dict()
    save_file(trunk, tmp_path / "resnet.safetensors")
    small = ["data.crop=[33, 33]", "data.length=4", "data.batch_size=2", "model.width=0.0625", "evaluation.images=1"]
    overrides = [*small, "start.model=null", "start.resnet=resnet.safetensors"]
    started = _start("mine", load_recipe("harley2017/table2/baseline", overrides, "scenes"), tmp_path, monkeypatch)
    for key, tensor in trunk.items():
        assert torch.equal(started[f"trunk.{key}"], tensor), key
    missing = load_recipe("harley2017/table2/baseline", [*overrides, "start.resnet=none.pth"], "scenes")
    with pytest.raises(RecipeError, match=r"start\.resnet: there is no file .*none.pth"):
        train("other", missing, Workspace(tmp_path, tmp_path))


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("demo/control", ["model.width=0.125"], "weights of demo/baseline do not fit .*conv1_1.weight"),
        ("demo/control", ["model.batch_norm=false"], "do not fit .*left over .*_bn"),
        ("demo/control", ["start.model=demo/segaware"], r"demo/segaware do not fit .*left over \['embedding."),
        ("demo/control", ["start.model=demo/embedding"], "demo/embedding do not fit .*size mismatch for conv1_1"),
        ("demo/segaware", ["embedding.dim=5"], "demo/embedding do not fit .*head1.weight"),
        ("demo/segaware", ["start.embedding=demo/baseline"], "demo/baseline do not fit"),
        ("demo/filter_color", ["start.embedding=demo/embedding"], "demo/embedding do not fit .*left over"),
        ("demo/control", ["start.embedding=demo/embedding"], "start.embedding is given, but embedding is null"),
    ],
)
def test_weights_that_do_not_fit(copied: Path, name: str, overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        train("mine", tiny(name, *overrides), Workspace(copied))
    assert not (copied / "mine").exists()


def test_garbage_to_start_from(copied: Path) -> None:
    Workspace(copied).weights("demo/baseline").write_bytes(b"garbage")
    with pytest.raises(ValueError, match=r"demo/baseline/model.safetensors is not a weights file of segaware"):
        train("demo/control", tiny("demo/control"), Workspace(copied))


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory "here" and a data root "data", each with a file, and one file that is in both."""
    for name in ("here/own.npz", "here/both.npz", "data/weights/theirs.npz", "data/both.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_vgg_file_as_it_is_or_below_the_data_root(places: Path) -> None:
    root = places / "data"
    assert find_weights("start.vgg", "own.npz", root).resolve() == places / "here/own.npz"
    assert find_weights("start.vgg", "both.npz", root).resolve() == places / "here/both.npz"
    assert find_weights("start.vgg", "weights/theirs.npz", root) == root / "weights/theirs.npz"
    assert find_weights("start.vgg", str(root / "both.npz"), None) == root / "both.npz"


def test_missing_vgg_file_says_where_it_was_looked_for(places: Path) -> None:
    here, root = places / "here", places / "data"
    with pytest.raises(RecipeError, match=f"there is no file {here}/weights/none.npz, nor {root}/weights/none.npz"):
        find_weights("start.vgg", "weights/none.npz", root)
    with pytest.raises(
        RecipeError, match=f"there is no file {here}/theirs.npz, and there is no data root .*--data-root"
    ):
        find_weights("start.vgg", "theirs.npz", None)


def _hub(monkeypatch: pytest.MonkeyPatch, download: Any) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))


def test_vgg_file_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    _hub(monkeypatch, lambda *arguments: asked.append(arguments) or str(tmp_path / "model.safetensors"))
    assert find_weights("start.vgg", "hub:timm/vgg16.tv_in1k/model.safetensors", None) == tmp_path / "model.safetensors"
    find_weights("start.vgg", "hub:a/b/folder/model.pth", tmp_path)
    assert asked == [("timm/vgg16.tv_in1k", "model.safetensors"), ("a/b", "folder/model.pth")]


def test_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> str:
        raise OSError("no route to host")

    _hub(monkeypatch, fail)
    with pytest.raises(RecipeError, match=r"start\.vgg=hub:a/b/c cannot be fetched.*: no route to host"):
        find_weights("start.vgg", "hub:a/b/c", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(RecipeError, match="needs huggingface_hub: pip install"):
        find_weights("start.vgg", "hub:a/b/c", None)


@pytest.mark.parametrize("vgg", ["hub:", "hub:timm", "hub:timm/vgg16", "hub:timm//file", "hub:/vgg16/file", "hub:a/b/"])
def test_incomplete_name_on_the_hub(vgg: str) -> None:
    with pytest.raises(RecipeError, match=f"start.vgg: must read hub:OWNER/NAME/FILE, got '{vgg}'"):
        find_weights("start.vgg", vgg, None)


def test_embedding_that_comes_with_segaware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = EmbeddingNet(0.125, 4)
    monkeypatch.setattr(EmbeddingNet, "from_pretrained", lambda: shipped)
    recipe = tiny("demo/segaware", "start.model=null", "start.embedding=segaware")
    started = _start("demo/segaware", recipe, tmp_path, monkeypatch)
    for name, tensor in shipped.state_dict().items():
        assert torch.equal(started[f"embedding.{name}"], tensor)
