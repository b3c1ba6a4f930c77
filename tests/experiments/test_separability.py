"""What `measure_separability` says of data whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segaware.data import dataset
from segaware.experiments import measure_separability
from segaware.experiments.separability import separability_cells
from segaware.experiments.tasks.cells import NOTHING
from segaware.metrics import pairs_by_border, pairs_by_distance, separability
from segaware.nn import EmbeddingNet
from segaware.training.weights_file import save_weights


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five images of two classes: colours tell them apart in three, in one not at all, and one has a single class."""
    for kind in ("images", "labels"):
        (tmp_path / "camvid" / kind / "val").mkdir(parents=True)
    for i in range(5):
        label = np.zeros((40, 60), np.uint8)
        label[:, 25 + i :] = 0 if i == 4 else 3
        image = np.full((40, 60, 3), 90) + np.where(label == 3, 0 if i == 3 else 80, 0)[..., None]
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"camvid/images/val/{i}.png")
        Image.fromarray(label).save(tmp_path / f"camvid/labels/val/{i}.png")
    return tmp_path


def test_areas_are_means_over_the_images_that_have_pairs(root: Path) -> None:
    values = measure_separability("camvid", [], root)
    assert (values["images"], values["of"], values["control"]) == (5, 5, "color")
    (row,) = values["rows"]
    assert (row["embedding"], row["weights"]) == ("color", None)
    near, far = row["by_border_distance"][0], row["by_pixel_distance"][-1]
    assert near["images"] == 4 and near["area"] == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert near["difference"] == {"difference": 0, "low": 0, "high": 0}
    assert far == {"images": 0, "area": None, "difference": None}  # no pixels are 100 apart


def test_no_mean_over_a_few_odd_images(root: Path) -> None:
    """Of five images one has a border without a void outline, so that one alone has pixels of two regions 1 apart."""
    for i in range(1, 4):
        label = np.array(Image.open(path := root / f"camvid/labels/val/{i}.png"))
        label[:, 23 + i : 27 + i] = 255
        Image.fromarray(label).save(path)
    values = measure_separability("camvid", [], root)
    (row,) = values["rows"]
    assert [row["by_pixel_distance"][i]["images"] for i in (0, 4)] == [1, 4]
    assert separability_cells(values, border=(1,), apart=(1, 8))[1] == [["color", "87.5", NOTHING, "87.5"]]


def test_generated_regions_need_no_folder() -> None:
    values = measure_separability("flying_regions", [], images=2)
    (row,) = values["rows"]
    assert row["by_border_distance"][0]["images"] == 2 and row["by_pixel_distance"][0]["area"] > 0.8


def test_embedding_beside_colour(root: Path, tmp_path: Path) -> None:
    network = EmbeddingNet(width=0.0625, dim=4)
    save_weights(tmp_path / "mine.safetensors", network, {})
    values = measure_separability("camvid", [str(tmp_path / "mine.safetensors")], root, images=2, seed=3)
    control, row = values["rows"]
    assert values["images"] == 2 and row["embedding"] == "mine" and len(row["weights"]) == 16
    areas = []
    for index in (0, 2):  # evenly from five
        sample, generator = dataset("camvid").open("val", root)[index], np.random.default_rng([3, index])
        pairs_by_distance(sample.label, values["pixel_distances"], 1000, generator)
        pairs = pairs_by_border(sample.label, values["border_distances"], 1000, generator)
        with torch.no_grad():
            areas.append(separability(network.eval()(sample.image[None])[0], pairs[0]))
    column = row["by_border_distance"][0]
    assert column["area"] == pytest.approx(np.mean(areas))
    assert column["difference"]["difference"] == pytest.approx(
        np.mean(areas) - control["by_border_distance"][0]["area"]
    )
    again = measure_separability("camvid", [str(tmp_path / "mine.safetensors")], root, images=2, seed=3)
    assert again["rows"] == values["rows"]


def test_arguments(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="images must be at least 1, got 0"):
        measure_separability("camvid", [], root, images=0)
    with pytest.raises(ValueError, match="unknown data set for segmentation 'camvit': did you mean camvid"):
        measure_separability("camvit", [], root)
    with pytest.raises(ValueError, match="must have different names"):
        measure_separability("camvid", ["pretrained", "pretrained"], root)
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        measure_separability("camvid", [str(tmp_path / "nothing.safetensors")], root)
    network = EmbeddingNet(width=0.0625, dim=4)
    torch.nn.init.constant_(network.fuse.bias, torch.nan)
    save_weights(tmp_path / "broken.safetensors", network, {})
    with pytest.raises(ValueError, match="image '0': embedding must be finite"):
        measure_separability("camvid", [str(tmp_path / "broken.safetensors")], root)
