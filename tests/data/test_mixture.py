import math
from collections import Counter

import numpy as np
import pytest
import torch

from segaware.data import GROUND_INDEX, Compose, DataError, Mixture, PredictedSample, RandomCrop, RandomScale
from segaware.training import shuffled_batches

from .test_everyday import write_set
from .test_predictions import write_probability

WEIGHTS = {"duts": 3.0, "coco_panoptic": 1.0}


@pytest.fixture
def root(tmp_path):
    mask = np.repeat(np.repeat(np.array([[0, 1, 255]], np.uint8), 4, axis=0), 10, axis=1)
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
        near = 3 if sample.name.startswith("regions") else 0  # pixels beside a border that may be as far off
        labels = [first] * (10 - near) + [255] * (2 * near) + [1] * (10 - 2 * near) + [255] * (10 + near)
        assert sample.label[0].tolist() == labels


def test_the_background_of_generated_regions_is_one_of_them(root):
    torch.manual_seed(0)
    transform = Compose([RandomScale(0.5, 0.5), RandomCrop(96, 96)])
    samples = [s for s in Mixture({"flying_regions": 3.0, "duts": 1.0}, root, 12, transform) if s.name.isdigit()]
    numbers = [set(sample.label.unique().tolist()) for sample in samples]
    assert len(samples) > 4 and sum(0 in some for some in numbers) > 4 and max(map(len, numbers)) > 2
    assert not any(some & {GROUND_INDEX, 255} for some in numbers)


def test_transforms_know_ground_and_void(root):
    transform = Compose([RandomScale(2.0, 2.0), RandomCrop(8, 60)])
    label = Mixture({"duts": 1.0}, root, 1, transform)[0].label
    assert label[0].tolist() == [GROUND_INDEX] * 20 + [1] * 20 + [255] * 20


def test_samples_depend_on_seed_and_epoch_alone(root):
    def names(seed, workers=0):
        return [name for batch in shuffled_batches(Mixture(WEIGHTS, root, 40), 4, seed, workers) for name in batch.name]

    assert names(0) == names(0) == names(0, workers=1) != names(1)


def test_a_region_that_would_count_as_ground_is_an_error(root):
    samples = Mixture({"coco_panoptic": 1.0}, root, 1)
    samples.parts[0]._index[0] = GROUND_INDEX
    with pytest.raises(DataError, match=r"regions_. of data set 'coco_panoptic': region 254"):
        samples[0]


def test_predictions_are_logits_of_any_object_and_unknown_elsewhere(root):
    probability = np.full((16, 16), 0.8)
    write_probability(root, "u2netp/everyday/train/duts", probability, name="object_a")
    torch.manual_seed(0)
    transform = Compose([RandomScale(2.0, 2.0), RandomCrop(8, 60)])
    samples = list(Mixture({"u2netp_duts": 1.0, "coco_panoptic": 1.0}, root, 20, transform))
    assert {type(sample) for sample in samples} == {PredictedSample}
    for sample in samples:
        wanted = math.log(4) if sample.name == "object_a" else math.nan
        np.testing.assert_allclose(sample.scores, np.full((1, 8, 60), wanted), atol=1e-4)
    assert len({sample.name for sample in samples}) == 3


@pytest.mark.parametrize(
    ("weights", "length", "message"),
    [
        ({}, 1, "at least one data set"),
        ({"duts": 1.0}, 0, "length must be at least 1, got 0"),
        ({"ducts": 1.0}, 1, "unknown data set 'ducts': did you mean duts"),
        ({"sintel_clean": 1.0}, 1, "a mixture is of labelled images, data set 'sintel_clean' is of flow"),
        ({"ecssd": 1.0}, 1, "'ecssd' is for scoring alone"),
        ({"duts": 0.0}, 1, "weight of 'duts' must be positive, got 0"),
        ({"duts": float("nan")}, 1, "weight of 'duts' must be positive"),
    ],
)
def test_mistakes_are_found_before_files_are_read(tmp_path, weights, length, message):
    with pytest.raises(ValueError, match=message):
        Mixture(weights, tmp_path, length)
