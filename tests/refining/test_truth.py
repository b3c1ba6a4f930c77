"""The truth of every data set, given as labels, masks or scores of the image's size, comes back."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segaware import refine
from segaware.constants import IGNORE_INDEX
from segaware.data import DataError
from segaware.data.registry import dataset, dataset_names

TAKEN = 2  # photographs of each


def truths(name: str) -> list[tuple[Tensor, Tensor]]:
    """Return images and labels, (3, H, W) in 0..1 and (H, W); of several annotators the first."""
    record = dataset(name)
    root = os.environ.get("SEGAWARE_DATA")
    if record.layout and root is None:
        pytest.skip("SEGAWARE_DATA does not point to data sets")
    try:
        samples = record.open("val" if "val" in record.splits else record.splits[0], root and Path(root))
    except DataError as error:
        pytest.skip(str(error))
    taken = [samples[i] for i in range(0, len(samples), max(len(samples) // TAKEN, 1))][:TAKEN]  # type: ignore[arg-type]
    return [(s.image, s.label if s.label.dim() == 2 else s.label[0]) for s in taken]


@pytest.mark.parametrize("name", dataset_names("segmentation"))
def test_truth_comes_back(name: str) -> None:
    for image, label in truths(name):
        known = label != IGNORE_INDEX
        refined = refine(image, label, kind="labels")
        assert (refined == label)[known].float().mean() >= 0.999
        classes = label[known].unique()[:5]
        masks = label == classes[:, None, None]
        assert torch.equal(refine(image, masks, kind="masks"), masks)
        scores = torch.where(masks, 12.0, -12.0)
        assert torch.equal(refine(image, scores, classify=True)[masks.any(0)], scores.argmax(0)[masks.any(0)])
