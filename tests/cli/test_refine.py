"""`segaware refine` on files and folders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from segaware import refine
from segaware.data import voc_palette
from segaware.data.flow.files import read_flo, read_pfm, write_flo, write_pfm
from segaware.refining import refinement

COLOR = ("--embedding", "color", "--iterations", "1", "--kernel-size", "3")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 52, 3), np.uint8)).save(path)
    return path


def expected(image: Path, scores: np.ndarray, kind: Any = "scores") -> np.ndarray:
    return refine(np.array(Image.open(image)), scores, "filter", kind, "color", kernel_size=3, iterations=1)


def test_scores_to_scores_and_to_labels(segaware: Any, tmp_path: Path, image: Path) -> None:
    scores = np.random.default_rng(1).standard_normal((5, 10, 13)).astype(np.float32)
    np.save(tmp_path / "a.npy", scores)
    np.savez(tmp_path / "a.npz", logits=scores, other=scores[:1])
    save_file({"logits": scores}, tmp_path / "a.safetensors")
    refined = expected(image, scores)
    for name, extra in (("a.npy", ()), ("a.npz", ("--key", "logits")), ("a.safetensors", ())):
        out = tmp_path / f"{name}.out.npy"
        assert segaware("refine", image, tmp_path / name, "--out", out, *COLOR, *extra).exit_code == 0
        np.testing.assert_array_equal(np.load(out), refined)
    assert segaware("refine", image, tmp_path / "a.npy", "--out", tmp_path / "a.png", *COLOR).exit_code == 0
    written = Image.open(tmp_path / "a.png")
    np.testing.assert_array_equal(np.array(written), refined.argmax(0))
    assert written.getpalette()[:15] == voc_palette(5).ravel().tolist()
    assert not list(tmp_path.glob(".*partial"))


def test_scores_of_a_padded_square(segaware: Any, tmp_path: Path, image: Path) -> None:
    scores = np.random.default_rng(1).standard_normal((3, 26, 26)).astype(np.float32)
    np.save(tmp_path / "a.npy", scores)
    where = ("--align", "corners", "--region", "0", "-6", "52", "46")
    assert segaware("refine", image, tmp_path / "a.npy", "--out", tmp_path / "out.npy", *where, *COLOR).exit_code == 0
    pixels, region = np.array(Image.open(image)), (0, -6, 52, 46)
    refined = refine(pixels, scores, embedding="color", kernel_size=3, iterations=1, align="corners", region=region)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), refined)


def test_labels_flow_and_depth(segaware: Any, tmp_path: Path, image: Path) -> None:
    rng = np.random.default_rng(2)
    label = rng.integers(0, 3, (40, 52)).astype(np.uint8)
    Image.fromarray(label).save(tmp_path / "label.png")
    flow = rng.standard_normal((40, 52, 2)).astype(np.float32)
    flow[:9] = 1666666752
    write_flo(tmp_path / "flow.flo", flow)
    write_pfm(tmp_path / "depth.pfm", flow[9:, :, 0].repeat(2, 0)[:40].copy())
    for name in ("label.png", "flow.flo", "depth.pfm"):
        assert segaware("refine", image, tmp_path / name, "--out", tmp_path / f"out_{name}", *COLOR).exit_code == 0
    refined = np.array(Image.open(tmp_path / "out_label.png"))
    np.testing.assert_array_equal(refined, expected(image, label, "labels"))
    known = np.where(flow > 1e9, np.nan, flow).transpose(2, 0, 1)
    wanted = np.nan_to_num(expected(image, known, "values"), nan=1666666752)
    assert (wanted > 1e9).any()
    np.testing.assert_array_equal(read_flo(tmp_path / "out_flow.flo"), wanted.transpose(1, 2, 0))
    depth = expected(image, read_pfm(tmp_path / "depth.pfm"), "values")
    np.testing.assert_array_equal(read_pfm(tmp_path / "out_depth.pfm"), depth)


def test_probabilities_are_clipped(segaware: Any, fails: Callable[..., str], tmp_path: Path, image: Path) -> None:
    label = np.random.default_rng(3).integers(0, 2, (40, 52))
    probabilities = np.eye(2, dtype=np.float32)[label].transpose(2, 0, 1)
    np.save(tmp_path / "p.npy", probabilities)
    options = ("--kind", "probabilities", "--method", "dense_crf", "--iterations", "1", "--out", tmp_path / "out.npy")
    for clip in ((), ("--clip", "0.1")):
        assert segaware("refine", image, tmp_path / "p.npy", *options, *clip, "--overwrite").exit_code == 0
        wanted = refine(
            np.array(Image.open(image)), probabilities, "dense_crf", "probabilities", iterations=1,
            clip=float(clip[1]) if clip else 1e-5,
        )  # fmt: skip
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), wanted)
    assert "clip must be" in fails("refine", image, tmp_path / "p.npy", *options, "--overwrite", "--clip", "0.5")


def test_goes_on_after_an_interruption(
    segaware: Any, fails: Callable[..., str], tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = np.random.default_rng(1).standard_normal((5, 40, 52)).astype(np.float32)
    np.save(tmp_path / "a.npy", scores)
    out, done = tmp_path / "out.npy", []
    monkeypatch.setattr(refinement, "memory_left", lambda limit, held: 2e5)
    run = refinement.Refinement.run

    def interrupted(self: refinement.Refinement, number: int, arrays: refinement.Arrays) -> None:
        if self.pieces > 2:  # not the small image that is refined before anything is planned
            if len(done) == 3:
                done.append(-1)
                raise KeyboardInterrupt
            done.append(number)
        run(self, number, arrays)

    monkeypatch.setattr(refinement.Refinement, "run", interrupted)
    assert "goes on" in fails("refine", image, tmp_path / "a.npy", "--out", out, *COLOR, status=130)
    assert not out.exists()
    assert segaware("refine", image, tmp_path / "a.npy", "--out", out, *COLOR).exit_code == 0
    done.remove(-1)
    assert done == list(range(max(done) + 1))  # every piece once
    np.testing.assert_allclose(np.load(out), expected(image, scores), atol=1e-5)


def test_folders_name_failures_and_skip_what_is_there(segaware: Any, tmp_path: Path, image: Path) -> None:
    images, scores, out = (tmp_path / name for name in ("images", "scores", "out"))
    images.mkdir(), scores.mkdir()
    for name in ("a", "b", "c"):
        (images / f"{name}.png").write_bytes(image.read_bytes())
        np.save(scores / f"{name}.npy", np.zeros((2, 40, 52), np.float32))
    (scores / "b.npy").write_bytes(b"no array")
    (scores / "c.npy").unlink()
    result = segaware("refine", images, scores, "--out", out, *COLOR)
    assert result.exit_code == 1 and sorted(path.name for path in out.iterdir()) == ["a.npy", "failed.csv"]
    assert [line[:20] for line in result.stderr.splitlines() if "segaware:" in line] == [
        "segaware: b.png: " + str(scores)[:3], "segaware: c.png: " + str(scores)[:3],
    ]  # fmt: skip
    before = (out / "a.npy").stat().st_mtime_ns
    for name in ("b", "c"):
        np.save(scores / f"{name}.npy", np.zeros((2, 40, 52), np.float32))
    assert segaware("refine", images, scores, "--out", out, *COLOR).exit_code == 0
    assert len(list(out.iterdir())) == 3 and (out / "a.npy").stat().st_mtime_ns == before
    assert segaware("refine", images, scores, "--out", out, *COLOR, "--overwrite").exit_code == 0
    assert (out / "a.npy").stat().st_mtime_ns > before


def test_what_does_not_fit_is_one_line(fails: Callable[..., str], tmp_path: Path, image: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 40, 52), np.float32))
    np.save(tmp_path / "flat.npy", np.zeros((40, 52), np.float32))
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    Image.fromarray(np.full((40, 52), 7, np.uint8)).save(tmp_path / "label.png")
    torch.save({}, tmp_path / "a.pth")
    there = tmp_path / "there.npy"
    there.write_bytes(b"kept")

    def message(scores: str, out: str = "out.npy", *options: str, photograph: Path = image) -> str:
        line = fails("refine", photograph, tmp_path / scores, "--out", tmp_path / out, *options, *COLOR)
        assert there.read_bytes() == b"kept" and not list(tmp_path.glob(".*partial"))
        return line

    assert "there.npy is there already; pass --overwrite" in message("a.npy", "there.npy")
    assert "no such file" in message("b.npy")
    assert "no such file" in message("a.npy", photograph=tmp_path / "none.jpg")
    assert "scores must be a file of .npy, .npz" in message("a.pth")
    assert "the output must be a file of .npy, .png" in message("a.npy", "out.tif")
    assert "a .flo holds 2 channels of values, got 3 of scores" in message("a.npy", "out.flo")
    assert "scores must be of shape (C, h, w), got (40, 52)" in message("flat.npy")
    assert "holds arrays a, b; give the name of one by --key" in message("two.npz")
    assert "got 7..7" in message("label.png", "out.png", "--num-classes", "7")
    assert "max_memory must be" in message("a.npy", "there.npy", "--overwrite", "--max-memory", "4 gigs")
    assert "needs about" in message("a.npy", "there.npy", "--overwrite", "--max-memory", "50MB")
    assert "iterations must be" in fails("refine", image, tmp_path / "a.npy", "--out", there, "--overwrite",
                                         "--iterations", "0", "--embedding", "color")  # fmt: skip
