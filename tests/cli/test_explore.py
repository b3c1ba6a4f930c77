"""`segaware explore`: its files and errors; what the page does is tested in tests/browser."""

import base64
import json
import re
import zlib
from collections.abc import Callable
from html import unescape
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
    assert (data["name"], data["height"], data["width"]) == ("photo.png", 30, 41)
    sketch, known = data["sketches"][0], data["truth"]
    assert (sketch["kind"], sketch["classes"], sketch["points"]) == ("scores", [0, 7, 15], [8, 11])
    channels = unpack(sketch["content"], (3, 8, 11))
    assert channels[2, 3, 4] > 250 and channels[1, 0, 0] > 250 and channels[1, 3, 4] == 0
    assert (known["kind"], known["classes"]) == ("labels", [0, 3, 15])
    wanted = np.select([truth == 3, truth == 15, truth == 255], [1, 2, 255], 0)
    assert (unpack(known["content"], (30, 41)) == wanted).all()
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
    assert (unpack(data["sketches"][0]["content"], (25, 40)) == np.repeat([[0] * 20 + [1] * 20], 25, 0)).all()


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A folder of photographs, of scores and of truth: one is right, one blurred, one wrong, one damaged."""
    rng = np.random.default_rng(0)
    for folder in ("photos", "scores", "truth"):
        (tmp_path / folder).mkdir()
    truth = np.zeros((40, 60), np.uint8)
    truth[:, 25:] = 1
    pixels = np.where(truth[..., None] > 0, 200, 50) + rng.integers(0, 9, (40, 60, 3))
    for name, shift in (("right", 0), ("a&<b>#1", 2), ("wrong", 20), ("damaged", 0)):
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / f"{name}.png")
        Image.fromarray(np.roll(truth, shift, 1)).save(tmp_path / "scores" / f"{name}.png")
        Image.fromarray(truth).save(tmp_path / "truth" / f"{name}.png")
    (tmp_path / "photos" / "damaged.png").write_bytes(b"no image")
    return tmp_path


def captions(page: Path) -> list[str]:
    return [unescape(text) for text in re.findall(r"<figcaption>(.*?)</figcaption>", page.read_text("utf-8"))]


def test_a_folder_has_an_index_and_the_worst_comes_first(segaware: Segaware, folders: Path) -> None:
    out = folders / "out"
    options = "--scores", folders / "scores", "--truth", folders / "truth", "--out", out
    done = segaware("explore", folders / "photos", *options)
    assert done.exit_code == 1 and "damaged.png: " in done.stderr and "writing pages: 4/4 pages" in done.stderr
    assert sorted(path.name for path in (out / "pages").iterdir()) == ["a&<b>#1.html", "right.html", "wrong.html"]
    found = captions(out / "index.html")
    assert [text.split(".png")[0] for text in found] == ["wrong", "a&<b>#1", "right"]
    assert found[2] == "right.png: boundary IoU 1.000 before, 1.000 now"
    before, after = map(float, re.findall(r"\d\.\d+", found[1]))
    assert before < after
    text = (out / "index.html").read_text("utf-8")
    assert 'href="pages/a%26%3Cb%3E%231.html"' in text and "<td>damaged.png</td>" in text
    assert payload(out / "pages" / "right.html")["truth"]["classes"] == [0, 1]


def test_without_truth_what_changes_most_comes_first(segaware: Segaware, folders: Path) -> None:
    (folders / "photos" / "damaged.png").unlink()
    (folders / "scores" / "wrong.png").unlink()
    out = folders / "out"
    done = segaware("explore", folders / "photos", "--scores", folders / "scores", "--out", out)
    assert done.exit_code == 1 and f"wrong.png: {folders / 'scores' / 'wrong.npy'}: no such file" in done.stderr
    found = captions(out / "index.html")
    assert found[0].startswith("a&<b>#1.png: ") and found[1] == "right.png: 0.0% of its pixels change"
    options = *("--scores", folders / "scores") * 2, "--truth", folders / "truth", "--out", folders / "two"
    assert segaware("explore", folders / "photos", *options).exit_code == 1
    found = captions(folders / "two" / "index.html")
    assert found[1] == "right.png: boundary IoU 1.000 before, 1.000 now; 1.000 before, 1.000 now"
    names = [sketch["name"] for sketch in payload(folders / "two" / "pages" / "right.html")["sketches"]]
    assert names == ["scores/right.png"] * 2


def test_a_folder_of_photographs_alone(segaware: Segaware, fails: Callable[..., str], folders: Path) -> None:
    (folders / "photos" / "damaged.png").unlink()
    out = folders / "out"
    error = fails("explore", folders / "photos", "--scores", folders / "photos" / "right.png", "--out", out)
    assert "--scores must be a folder" in error
    assert "no image" in fails("explore", folders, "--out", out)
    assert "--with-model is for the page of one" in fails("explore", folders / "photos", "--with-model", folders)
    three = ("--scores", folders / "scores") * 3
    assert "--scores may be given twice, to compare two, got 3" in fails("explore", folders / "photos", *three)
    assert not out.exists()
    assert segaware("explore", folders / "photos", "--out", out).exit_code == 0
    assert captions(out / "index.html") == ["a&<b>#1.png", "right.png", "wrong.png"]
    assert "pass --overwrite" in fails("explore", folders / "photos", "--out", out)


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
    assert "must be the folder dist/ of the npm" in fails("explore", photo, "--with-model", tmp_path, "--out", out)
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
