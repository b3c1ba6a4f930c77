"""Weights files: what is written is read, whole or not at all."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segaware.training import load_weights, save_weights, weights_file

DESCRIPTION = {"recipe": "demo/baseline", "values": {"seed": 3, "crop": [32, 48]}, "title": "Größe", "commit": None}


def _network() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network(torch.randn(2, 3, 8, 8))  # moves the running statistics away from their start
    return network.to(memory_format=torch.channels_last)


def test_round_trip(tmp_path: Path) -> None:
    network = _network()
    path = tmp_path / "new" / "folder" / "model.safetensors"
    save_weights(path, network, DESCRIPTION)
    tensors, description = load_weights(path)
    assert description == DESCRIPTION
    assert tensors.keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor), name


def test_failing_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, _network(), DESCRIPTION)
    old = path.read_bytes()

    def full_disk(tensors: Any, file: Path, metadata: Any) -> None:
        file.write_bytes(b"half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(weights_file, "save_file", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_weights(path, _network(), {})
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == old


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights at .*model.safetensors"):
        load_weights(tmp_path / "model.safetensors")


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, "truncated", "someone else's"])
def test_file_that_is_no_weights_file(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "model.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "truncated":
        save_weights(path, _network(), DESCRIPTION)
        path.write_bytes(path.read_bytes()[:-10])
    else:
        save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"model.safetensors is not a weights file of segaware"):
        load_weights(path)
