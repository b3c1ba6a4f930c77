"""Weights files: what is written is read, whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
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


@pytest.mark.parametrize("description", ["", "{", "[]", "null", "3", '"text"', "[" * 100_000, "\x00", "{'a': 1}"])
def test_damaged_description(tmp_path: Path, description: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(2)}, path, {"segaware": description})
    with pytest.raises(ValueError, match=r"model.safetensors is not a weights file of segaware, or it is damaged: ."):
        load_weights(path)


def test_damage_anywhere(tmp_path: Path) -> None:
    """Cut off or changed anywhere in its header, a file is refused with one error or still whole."""
    path = tmp_path / "model.safetensors"
    save_weights(path, _network(), DESCRIPTION)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    damaged = [content[:length] for length in range(0, len(content), 7)]
    damaged += [content[:i] + bytes([content[i] ^ 0x15]) + content[i + 1 :] for i in range(header)]
    refused = 0
    for wrong in damaged:
        path.write_bytes(wrong)
        try:
            load_weights(path)
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > len(damaged) / 2


def test_description_with_a_number_that_is_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, _network(), {"miou": float("nan"), "seconds": 3})
    assert load_weights(path)[1] == {"miou": None, "seconds": 3}


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "pipe"):
        with pytest.raises(ValueError, match=f"{name}.safetensors is not a weights file of segaware, nor any file"):
            load_weights(tmp_path / f"{name}.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no weights at .*link.safetensors"):
        load_weights(tmp_path / "link.safetensors")


@contextmanager
def _without_privileges() -> Iterator[None]:
    """Be an ordinary user, whom permissions bind."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_file_that_may_not_be_read_is_not_missing(tmp_path: Path) -> None:
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    path = tmp_path / "closed/model.safetensors"
    save_weights(path, _network(), DESCRIPTION)
    path.chmod(0)
    with _without_privileges(), pytest.raises(PermissionError, match="Permission denied"):
        load_weights(path)
    path.chmod(0o644)
    path.parent.chmod(0)
    with _without_privileges(), pytest.raises(PermissionError, match="Permission denied"):
        load_weights(path)
    path.parent.chmod(0o755)
