"""`segaware export`: a trained network as ONNX, and its embeddings as safetensors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from typer.testing import Result

from segaware.experiments.build import build_network
from segaware.nn import EmbeddingNet
from segaware.recipes.files import load_recipe
from segaware.training import save_weights

Segaware = Callable[..., Result]
Fails = Callable[..., str]
NAME = "demo/embedding"
SMALL = ("embedding.width=0.0625", "embedding.dim=3")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with the weights of a recipe, as training leaves them."""
    recipe = load_recipe(NAME, SMALL)
    description = {"recipe": NAME, "values": recipe.model_dump(mode="json")}
    save_weights(tmp_path / "runs" / NAME / "model.safetensors", build_network(recipe), description)
    return tmp_path / "runs"


def test_both_kinds_of_file(segaware: Segaware, fails: Fails, runs: Path, tmp_path: Path) -> None:
    onnx, safetensors = tmp_path / "net.onnx", tmp_path / "net.safetensors"
    exported = segaware("export", NAME, onnx, *SMALL, "--runs", runs)
    assert exported.exit_code == 0, exported.output
    line, path = exported.stdout.splitlines()[-2:]
    assert line.startswith("largest difference to onnxruntime: ") and float(line.split()[-1]) < 1e-4
    assert path == str(onnx)
    assert segaware("export", NAME, safetensors, *SMALL, "--runs", runs).exit_code == 0

    image = torch.rand(1, 3, 33, 47)
    (output,) = onnxruntime.InferenceSession(onnx).run(None, {"image": image.numpy()})
    with torch.no_grad():
        expected = EmbeddingNet.from_pretrained(safetensors)(image)
    np.testing.assert_allclose(output, expected, atol=0.02)  # which is in half precision

    old = onnx.read_bytes()
    assert "net.onnx is there already; pass --overwrite" in fails("export", NAME, onnx, *SMALL, "--runs", runs)
    assert onnx.read_bytes() == old
    assert segaware("export", NAME, safetensors, *SMALL, "--runs", runs, "--overwrite").exit_code == 0


def test_colors_that_there_are_not(fails: Fails, runs: Path, tmp_path: Path) -> None:
    arguments = (*SMALL, "--runs", runs, "--colors", 0.3)
    assert "--hardness and --colors are for embeddings in .safetensors, got" in fails(
        "export", NAME, tmp_path / "a.onnx", *arguments
    )
    message = fails("export", NAME, tmp_path / "a.safetensors", *arguments)
    assert f"colors must be 1 for {NAME}, whose embeddings hold none, got 0.3" in message
    assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors", ".ONNX", ".SafeTensors"])
def test_another_checkpoint(suffix: str, segaware: Segaware, runs: Path, tmp_path: Path) -> None:
    """It is what is exported, whatever the recipe's folder holds."""
    own = runs / NAME / "model.safetensors"
    other, out = tmp_path / "other.safetensors", tmp_path / f"net{suffix}"
    own.rename(other)
    arguments = ("export", NAME, out, *SMALL, "--runs", runs, "--checkpoint", other)
    assert segaware(*arguments).exit_code == 0  # without weights in the folder
    recipe = load_recipe(NAME, SMALL)
    description = {"recipe": NAME, "values": recipe.model_dump(mode="json")}
    save_weights(own, build_network(recipe), description)
    (own.parent / "scores.npz").write_bytes(b"of the weights in the folder")
    assert segaware(*arguments, "--overwrite").exit_code == 0

    image = torch.rand(1, 3, 33, 47)
    with torch.no_grad():
        expected = EmbeddingNet.from_pretrained(other)(image)
    if suffix.lower() == ".onnx":
        (output,) = onnxruntime.InferenceSession(out).run(None, {"image": image.numpy()})
    else:
        output = EmbeddingNet.from_pretrained(out)(image).detach()
    np.testing.assert_allclose(output, expected, atol=0.02)


def test_what_cannot_be_exported(fails: Fails, runs: Path, tmp_path: Path) -> None:
    assert "must end in .onnx or .safetensors, got net.pt" in fails("export", NAME, "net.pt", "--runs", runs)
    assert "no weights at" in fails("export", "demo/baseline", tmp_path / "net.onnx", "--runs", runs)
    sharpening = "harley2017/sharpening/bilinear"
    assert "sharpens scores that it is given" in fails("export", sharpening, tmp_path / "net.onnx", "--runs", runs)
    assert "there is no folder" in fails("export", NAME, tmp_path / "none/net.onnx", *SMALL, "--runs", runs)
