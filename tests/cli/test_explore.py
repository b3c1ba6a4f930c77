"""`segaware explore`: its files and errors; what the page does is tested in tests/browser."""

import base64
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segaware.showcase.explore.page import quantize
from tests.cli.conftest import Segaware


def payload(page: Path) -> dict[str, Any]:
    """Return what a page is made of."""
    text = page.read_text("utf-8")
    found: dict[str, Any] = json.loads(re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)[0])
    return found


def unpack(text: str, shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype).reshape(shape)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 41, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_the_page_has_scores_and_truth(segaware: Segaware, photo: Path, tmp_path: Path) -> None:
    scores = np.full((21, 8, 11), -9.0, np.float32)
    scores[0], scores[15, 2:5, 3:8], scores[7, 0, 0] = 0, 5, 5
    np.save(tmp_path / "scores.npy", scores)
    truth = np.zeros((30, 41), np.uint8)
    truth[5:9, 5:9], truth[20] = 15, 255
    truth[0, 0] = 3  # which the scores do not have
    Image.fromarray(truth).save(tmp_path / "truth.png")
    out = tmp_path / "new" / "page.html"
    done = segaware(
        "explore", photo, "--scores", tmp_path / "scores.npy", "--truth", tmp_path / "truth.png", "--out", out
    )
    assert done.exit_code == 0 and str(out) in done.output.replace("\n", "")
    data = payload(out)
    assert (data["name"], data["height"], data["width"], data["classes"]) == ("photo.png", 30, 41, [0, 7, 15, 3])
    labels = unpack(data["sketch"]["labels"], (30, 41))
    assert labels[0, 0] == 1 and labels[14, 22] == 2 and labels[-1, -1] == 0
    channels = unpack(data["sketch"]["channels"], (3, 15, 21))
    assert channels[2, 7, 11] > 250 and channels[1, 7, 11] == 0
    assert (unpack(data["truth"], (30, 41)) == np.select([truth == 15, truth == 3, truth == 255], [2, 3, 255], 0)).all()
    embedding = data["embeddings"][0]
    assert embedding["name"] == "fast" and len(embedding["scales"]) == 19
    assert unpack(embedding["content"], (19, 15, 21), np.int8).any()


def test_what_is_large_is_reduced_and_says_so(
    segaware: Segaware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segaware.showcase.explore.inputs.MOST_PIXELS", 1000)
    Image.new("RGB", (80, 50)).save(tmp_path / "photo.png")
    label = np.zeros((50, 80), np.uint8)
    label[:, 40:] = 2
    Image.fromarray(label).save(tmp_path / "label.png")
    out = tmp_path / "page.html"
    done = segaware("explore", tmp_path / "photo.png", "--scores", tmp_path / "label.png", "--out", out)
    assert "photo.png is shown reduced, from 80x50 to 40x25 pixels" in " ".join(done.output.split())
    data = payload(out)
    assert data["fileSize"] == [50, 80] and (data["height"], data["width"]) == (25, 40)
    assert (unpack(data["sketch"]["labels"], (25, 40)) == np.repeat([[0] * 20 + [1] * 20], 25, 0)).all()


def test_errors(fails: Callable[..., str], photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert "no such file" in fails("explore", tmp_path / "none.jpg", "--out", out)
    assert "--out must be an .html file, got page.png" in fails("explore", photo, "--out", "page.png")
    assert "--kind is of --scores" in fails("explore", photo, "--kind", "labels", "--out", out)
    np.save(tmp_path / "values.npy", np.zeros((30, 41)))
    error = fails("explore", photo, "--scores", tmp_path / "values.npy", "--kind", "values", "--out", out)
    assert "must be scores, probabilities, labels or a mask, got values" in error
    np.save(tmp_path / "masks.npy", np.zeros((2, 30, 41), bool))
    error = fails("explore", photo, "--scores", tmp_path / "masks.npy", "--kind", "masks", "--out", out)
    assert "the page takes one mask, got 2" in error
    np.save(tmp_path / "many.npy", np.arange(30 * 41).reshape(30, 41))
    error = fails("explore", photo, "--scores", tmp_path / "many.npy", "--out", out)
    assert "the page takes 1 to 32 classes, got" in error
    assert "--truth must be a .png" in fails("explore", photo, "--truth", tmp_path / "many.npy", "--out", out)
    assert "no file other" in fails("explore", photo, "--embedding", "other", "--out", out)
    assert not out.exists()
    out.write_text("mine")
    assert "pass --overwrite" in fails("explore", photo, "--out", out)
    assert out.read_text() == "mine"


def test_quantized_channels_keep_their_distances() -> None:
    embedding = np.random.default_rng(0).normal(5, [[[0.1]], [[3.0]]], (2, 30, 40)).astype(np.float32)
    content, scales = quantize(embedding)
    kept = content * scales[:, None, None]
    difference = (kept - kept[:, :1, :1]) - (embedding - embedding[:, :1, :1])
    assert (np.abs(difference) <= 1.001 * scales[:, None, None]).all()
    assert content.min() == -127 and content.max() == 127
    flat, _ = quantize(np.ones((1, 4, 4), np.float32))
    assert (flat == 0).all()
