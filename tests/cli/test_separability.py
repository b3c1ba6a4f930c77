"""`segaware separability` on a tiny CamVid."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import Result


def test_writes_json_and_plot(segaware: Callable[..., Result], camvid: Path, tmp_path: Path) -> None:
    out = tmp_path / "judged/deep"
    command = ("separability", "--data", "camvid", "--embedding", "color", "--data-root", camvid, "--out", out)
    result = segaware(*command, "--images", 2, "--seed", 5)
    assert result.exit_code == 0, result.output
    values = json.loads((out / "camvid.json").read_text())
    assert (values["separability"], values["images"], values["seed"]) == ("camvid", 2, 5)
    assert values["rows"][0]["by_border_distance"][0]["area"] > 0.95  # sky is bright and road is dark
    assert Image.open(out / "camvid.png").size == (1920, 720)
    assert "border 1 px" in result.stdout and str(out / "camvid.json") in result.stdout
    before = (out / "camvid.json").read_bytes()
    assert "pass --overwrite" in segaware(*command).stderr
    assert (out / "camvid.json").read_bytes() == before
    assert segaware(*command, "--overwrite").exit_code == 0
    assert json.loads((out / "camvid.json").read_text())["images"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--data", "camvit"), "did you mean camvid"),
        (("--data", "camvid", "--data", "sintel"), "unknown data set for segmentation 'sintel'"),
        (("--data", "camvid", "--data", "horses"), "split must be 'train' for data set 'horses'"),
        (("--data", "camvid", "--data", "bsds500"), "data set 'bsds500' wants bsds500/images"),
        (("--data", "camvid", "--embedding", "nothing.safetensors"), "no file nothing.safetensors"),
    ],
)
def test_mistakes(
    fails: Callable[..., str], camvid: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "judged"
    assert said in fails("separability", *arguments, "--data-root", camvid, "--out", out)
    assert not out.exists()
