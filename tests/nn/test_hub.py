"""Networks in folders and repositories, as the mixin of huggingface_hub reads and writes them."""

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from segaware.models import (
    DeepLabLargeFOV,
    FlowNetC,
    FlowNetS,
    ScoreRefinement,
    SegAwareFlowNetS,
    VariationalRefinement,
)
from segaware.nn import ColorEmbedding, DenseCRF, EmbeddingNet, FastEmbeddingNet
from segaware.nn.hub import Pretrained


def _embedding() -> EmbeddingNet:
    return EmbeddingNet(0.125, dim=4)


NETWORKS: dict[str, Callable[[], Pretrained]] = {
    "embedding": _embedding,
    "fast embedding": lambda: FastEmbeddingNet(0.125, dim=3),
    "plain DeepLab": lambda: DeepLabLargeFOV(3, 0.0625, batch_norm=True, trunk="vgg19"),
    "DeepLab": lambda: DeepLabLargeFOV(
        3,
        0.0625,
        segaware_layers="fc6",
        hardness=0.7,
        refinement=ScoreRefinement(3, filter_kernel_size=3, crf="segaware"),
        embedding=_embedding(),
    ),
    "DenseCRF": lambda: DeepLabLargeFOV(
        3, 0.0625, refinement=ScoreRefinement(3, dense_crf=DenseCRF([2.0, 3.0], iterations=1))
    ),
    "colours": lambda: DeepLabLargeFOV(
        3, 0.0625, refinement=ScoreRefinement(3, filter_kernel_size=3), embedding=ColorEmbedding(5.0)
    ),
    "FlowNetS": lambda: FlowNetS(0.0625, batch_norm=True),
    "FlowNetC": lambda: FlowNetC(0.0625, max_displacement=4),
    "SegAwareFlowNetS": lambda: SegAwareFlowNetS(0.0625, filter_kernel_size=3, embedding=_embedding()),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_back_from_a_folder(name: str, tmp_path: Path) -> None:
    network = NETWORKS[name]().eval()
    network.save_pretrained(tmp_path / "new/folder")
    loaded = type(network).from_pretrained(str(tmp_path / "new/folder"))
    assert loaded.config == network.config and not loaded.training
    assert str(loaded) == str(network)  # parts and their options
    images = torch.rand(2 if "Flow" in name else 1, 1, 3, 41, 50)
    with torch.no_grad():
        torch.testing.assert_close(loaded(*images), network(*images))
    assert {file.name for file in (tmp_path / "new/folder").iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
    }


def test_what_is_not_a_default_is_in_the_config() -> None:
    network = DeepLabLargeFOV(
        3, 0.0625, refinement=ScoreRefinement(3, filter_kernel_size=3), embedding=ColorEmbedding(5.0)
    )
    assert {k: network.config[k] for k in ("class", "num_classes", "width", "dropout")} == {
        "class": "DeepLabLargeFOV", "num_classes": 3, "width": 0.0625, "dropout": 0.5
    }  # fmt: skip
    assert network.config["embedding"] == {"class": "ColorEmbedding", "scale": 5.0}
    assert FlowNetS(variational=VariationalRefinement(alpha=3.0)).config["variational"]["alpha"] == 3.0


class Twice(nn.Module):
    """A module whose parts are one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = ColorEmbedding()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.first(image) + self.second(image)


def test_a_network_comes_back_after_its_embedding_was_exported(tmp_path: Path) -> None:
    torch.export.export(Twice(), (torch.rand(1, 3, 8, 8),))  # makes another class ColorEmbedding
    network = NETWORKS["colours"]()
    network.save_pretrained(tmp_path)
    assert DeepLabLargeFOV.from_pretrained(tmp_path).config == network.config


class Theirs(PyTorchModelHubMixin, EmbeddingNet):
    """What huggingface_hub's mixin makes of the network."""


def test_hub_s_own_mixin_reads_and_writes_the_same(tmp_path: Path) -> None:
    image, ours = torch.rand(1, 3, 20, 24), _embedding().eval()
    ours.save_pretrained(tmp_path / "ours")
    theirs = Theirs.from_pretrained(tmp_path / "ours")
    torch.testing.assert_close(theirs(image), ours(image))

    theirs = Theirs(0.0625, dim=5).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = EmbeddingNet.from_pretrained(tmp_path / "theirs")
    assert (loaded.dim, loaded.config["width"]) == (5, 0.0625)
    torch.testing.assert_close(loaded(image), theirs(image))


def test_saving_again_replaces_the_weights_and_keeps_the_card(tmp_path: Path) -> None:
    _embedding().save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("mine")
    network = EmbeddingNet(0.0625, dim=3)
    network.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert torch.equal(EmbeddingNet.from_pretrained(tmp_path).fuse.weight, network.fuse.weight)


def test_push_and_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Api:
        def create_repo(self, repo_id: str, private: bool | None, exist_ok: bool) -> Any:
            calls.append((repo_id, private, exist_ok))
            return SimpleNamespace(repo_id=f"owner/{repo_id}")

        def upload_folder(self, repo_id: str, folder_path: str, commit_message: str) -> str:
            calls.append((repo_id, commit_message))
            Path(folder_path).rename(tmp_path / "repository")
            Path(folder_path).mkdir()
            return "address"

    def download(repo_id: str, revision: str | None, allow_patterns: list[str]) -> str:
        calls.append((repo_id, revision, allow_patterns))
        return str(tmp_path / "repository")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    network = _embedding()
    assert network.push_to_hub("net", private=True, commit_message="first") == "address"
    loaded = EmbeddingNet.from_pretrained("owner/net", revision="v1")
    assert torch.equal(loaded.fuse.weight, network.fuse.weight)
    files = ["config.json", "model.safetensors"]
    assert calls == [("net", True, True), ("owner/net", "first"), ("owner/net", "v1", files)]


def test_a_repository_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*args: Any, **kwargs: Any) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(FileNotFoundError, match="no folder owner/net, and no repository of that name"):
        FlowNetS.from_pretrained("owner/net")


def test_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (_embedding().push_to_hub, EmbeddingNet.from_pretrained):
        with pytest.raises(ModuleNotFoundError, match=r"need huggingface_hub: pip install 'segaware\[train\]'"):
            call("owner/net")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _embedding().save_pretrained(tmp_path)
    return tmp_path


def test_missing_files_are_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*none, and a repository .* reads owner/name"):
        FlowNetS.from_pretrained(folder / "none")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors \(pickles such as pytorch_model\.bin are"):
        EmbeddingNet.from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        EmbeddingNet.from_pretrained(folder)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth"])
def test_a_pickle_is_refused(folder: Path, suffix: str) -> None:
    file = folder / f"model{suffix}"
    torch.save(_embedding().state_dict(), file)
    for network in (EmbeddingNet, FlowNetS):
        with pytest.raises(ValueError, match=rf"{file.name} may be a pickle, .*: wanted is safetensors"):
            network.from_pretrained(file)


def test_damaged_and_other_weights(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(
        ValueError, match=r"model\.safetensors is damaged, or not of the EmbeddingNet of config\.json: \w"
    ):
        EmbeddingNet.from_pretrained(folder)
    EmbeddingNet(0.125, dim=5).save_pretrained(folder / "other")
    (folder / "model.safetensors").write_bytes((folder / "other/model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"not of the EmbeddingNet of config\.json: size mismatch for head1\.weight"):
        EmbeddingNet.from_pretrained(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", r"config\.json is damaged: it does not hold constructor arguments as JSON"),
        ("[]", r"config\.json is damaged"),
        ('{"class": "FlowNetS"}', r"is of a FlowNetS, not of a EmbeddingNet: use FlowNetS\.from_pretrained"),
        ('{"depth": 3}', r"config\.json does not fit EmbeddingNet: .*'depth'"),
        ('{"dim": 0}', r"config\.json does not fit EmbeddingNet: dim must be at least 1"),
        ('{"dim": {"class": "os.system"}}', r"dim is of an unknown class, 'os\.system'"),
    ],
)
def test_a_bad_config_is_told(folder: Path, config: str, message: str) -> None:
    (folder / "config.json").write_text(config)
    with pytest.raises(ValueError, match=message):
        EmbeddingNet.from_pretrained(folder)


def test_an_unknown_embedding_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    network = DeepLabLargeFOV(
        3, 0.0625, refinement=ScoreRefinement(3, filter_kernel_size=3), embedding=nn.Conv2d(3, 4, 1)
    )
    with pytest.raises(ValueError, match="cannot be saved with embedding=Conv2d: its class is not known"):
        network.save_pretrained(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_wrong_argument_is_told_as_ever() -> None:
    with pytest.raises(TypeError, match="num_classes"):
        DeepLabLargeFOV()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="depth"):
        EmbeddingNet(depth=3)  # type: ignore[call-arg]


def test_a_copy_has_the_config(tmp_path: Path) -> None:
    network = copy.deepcopy(NETWORKS["DeepLab"]())
    network.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == NETWORKS["DeepLab"]().config
