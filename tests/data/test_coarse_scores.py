"""Coarse scores against loops over pixels."""

import numpy as np
import torch

from segaware.data import COARSE_STRIDE, IGNORE_INDEX, coarse_scores


def test_scores_are_parts_of_the_labelled_pixels_of_a_square() -> None:
    generator = np.random.default_rng(0)
    label = generator.choice([0, 1, 2, IGNORE_INDEX], (2, 21, 30), p=[0.5, 0.2, 0.1, 0.2])
    scores = coarse_scores(torch.from_numpy(label), 3, radius=5, confidence=4.0, noise=0.0).numpy()
    assert scores.shape == (2, 3, 3, 4) and scores.dtype == np.float32
    for n in range(2):
        for i in range(3):
            for j in range(4):
                y, x = COARSE_STRIDE * i, COARSE_STRIDE * j
                square = label[n, max(y - 5, 0) : y + 6, max(x - 5, 0) : x + 6]
                known = (square != IGNORE_INDEX).sum()
                for c in range(3):
                    assert abs(scores[n, c, i, j] - 4 * (square == c).sum() / known) < 1e-5


def test_nothing_labelled_scores_nothing() -> None:
    assert not coarse_scores(torch.full((1, 9, 9), IGNORE_INDEX), 2, noise=0.0).any()


def test_noise_comes_from_the_generator() -> None:
    label = torch.zeros(1, 400, 400, dtype=torch.int64)
    first, again, other = (
        coarse_scores(label, 2, noise=0.5, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert abs((first[:, 1]).std() - 0.5) < 0.03


def test_noise_of_the_cpu_goes_to_labels_on_any_device() -> None:
    label = torch.zeros(1, 50, 70, dtype=torch.int64)
    for generator in (None, torch.Generator().manual_seed(0)):
        scores = coarse_scores(label.to("meta"), 3, generator=generator)
        assert scores.device.type == "meta" and scores.shape == (1, 3, 7, 9)
    torch.manual_seed(3)
    noise = torch.randn(1, 3, 7, 9)
    torch.manual_seed(3)
    with torch.device("meta"):  # where tensors are made if nothing else is said
        assert torch.equal(coarse_scores(label, 3), coarse_scores(label, 3, noise=0.0) + noise)
