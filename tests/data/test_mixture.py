from collections import Counter

import numpy as np
import pytest
import torch

from segaware.data import GROUND_INDEX, Compose, DataError, Mixture, RandomCrop, RandomScale
from segaware.training import shuffled_batches

from .test_everyday import write_set

WEIGHTS = {"duts": 3.0, "coco_panoptic": 1.0}


@pytest.fixture
def root(tmp_path):
    mask = np.repeat(np.array([[0, 1, 255]], np.uint8), 4, axis=0)
    for name in ("a", "b"):
        write_set(tmp_path, "duts", mask, name=f"object_{name}")
        write_set(tmp_path, "coco", mask, name=f"regions_{name}")
    return tmp_path


def test_images_are_drawn_by_weight_and_ground_is_no_region(root):
    torch.manual_seed(0)
    samples = list(Mixture(WEIGHTS, root, 400))
    counts = Counter(sample.name for sample in samples)
    assert sorted(counts) == ["object_a", "object_b", "regions_a", "regions_b"]
    assert counts["object_a"] + counts["object_b"] == pytest.approx(300, abs=40)
    for sample in samples[:20]:
        first = GROUND_INDEX if sample.name.startswith("object") else 0
        assert sample.label[0].tolist() == [first, 1, 255]


def test_transforms_know_ground_and_void(root):
    transform = Compose([RandomScale(2.0, 2.0), RandomCrop(8, 8)])
    label = Mixture({"duts": 1.0}, root, 1, transform)[0].label
    assert label[0].tolist() == [GROUND_INDEX] * 2 + [1, 1] + [255] * 4


def test_samples_depend_on_seed_and_epoch_alone(root):
    def names(seed, workers=0):
        return [name for batch in shuffled_batches(Mixture(WEIGHTS, root, 40), 4, seed, workers) for name in batch.name]

    assert names(0) == names(0) == names(0, workers=1) != names(1)


def test_a_region_that_would_count_as_ground_is_an_error(root):
    samples = Mixture({"coco_panoptic": 1.0}, root, 1)
    samples.parts[0]._index[0] = GROUND_INDEX
    with pytest.raises(DataError, match=r"regions_. of data set 'coco_panoptic': region 254"):
        samples[0]


@pytest.mark.parametrize(
    ("weights", "length", "message"),
    [
        ({}, 1, "at least one data set"),
        ({"duts": 1.0}, 0, "length must be at least 1, got 0"),
        ({"ducts": 1.0}, 1, "unknown data set for segmentation 'ducts': did you mean duts"),
        ({"sintel_clean": 1.0}, 1, "unknown data set for segmentation"),
        ({"ecssd": 1.0}, 1, "'ecssd' is for scoring alone"),
        ({"duts": 0.0}, 1, "weight of 'duts' must be positive, got 0"),
        ({"duts": float("nan")}, 1, "weight of 'duts' must be positive"),
    ],
)
def test_mistakes_are_found_before_files_are_read(tmp_path, weights, length, message):
    with pytest.raises(ValueError, match=message):
        Mixture(weights, tmp_path, length)
